"""Writing a snapshot archive: one pass, every size known beforehand, nothing held but one piece."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..format.snapshot import SUMS, sums_text
from ..format.tar import END, encode_header, padding
from .beside import Beside, Done
from .bulk import BulkWriter
from .files import Buffer
from .gzip_members import GzipWriter
from .hash_beside import HashBeside

Piece = Buffer | NDArray[Any]


class Sink(Protocol):
    """Where the tar goes."""

    def write(self, data: Piece) -> None:
        """Append; ``data`` may be reused on return."""

    def cut(self) -> None:
        """What comes next can be read without what came before."""

    def finish(self) -> None:
        """Hand on everything that is held back."""


class PlainSink:
    """The tar as it is."""

    def __init__(self, out: BulkWriter) -> None:
        self.write = out.write

    def cut(self) -> None:
        """Any place of a plain file can be read by itself."""

    def finish(self) -> None:
        """Nothing is held back."""


class ArchiveWriter:
    """Writes members in the order given, then ``SHA256SUMS``. One thread; blocks. Not durable: ``out`` is closed by
    its owner.

    ``mtime``: seconds since 1970, of every member. Raises ``OSError``, and ValueError for content of the wrong size.
    """

    def __init__(self, out: BulkWriter, *, mtime: int, submit: Beside | None = None, beside: Beside = Done) -> None:
        """``submit``: compress, on threads of that executor; None: do not compress. ``beside``: hash by means of it."""
        self._beside = beside
        self._sink: Sink = PlainSink(out) if submit is None else GzipWriter(out, submit)
        self._mtime = mtime
        self._sums: dict[str, str] = {}
        self.size = 0
        """Bytes of the tar so far, before compression."""

    def add(self, name: str, size: int, pieces: Iterable[Piece]) -> None:
        """Append one member. Its pieces must stay as they are until it is complete."""
        self._write(encode_header(name, size, self._mtime))
        digest = HashBeside(self._beside)
        written = 0
        for piece in pieces:
            data = np.ascontiguousarray(piece).reshape(-1).view(np.uint8) if isinstance(piece, np.ndarray) else piece
            digest.update(data.data if isinstance(data, np.ndarray) else data)
            self._write(data)
            written += len(data)
        if written != size:
            raise ValueError(f"{written} bytes for {name}, a member of {size}")
        self._write(bytes(padding(size)))
        self._sums[name] = digest.hexdigest()

    def finish(self) -> str:
        """Append the sums and the end of the archive; returns the SHA-256 of the sums, which stands for the content."""
        text = sums_text(self._sums)
        self._sink.cut()
        self._write(encode_header(SUMS, len(text), self._mtime) + text + bytes(padding(len(text))) + END)
        self._sink.finish()
        return hashlib.sha256(text).hexdigest()

    def _write(self, data: Piece) -> None:
        self._sink.write(data)
        self.size += len(data)
