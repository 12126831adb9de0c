"""The one writer of large files: checkpoint, compaction, snapshot and restore all go through it.

Space is reserved first, the page cache is bypassed where the file system allows it, and every piece waits for ``pace``:
unpaced buffered bulk writes would hold up foreground commits for tens of milliseconds. A large file is written behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..format.checksum import crc32c
from ..format.npy import NPY_ALIGN, npy_header
from ..format.segment import FileInfo
from ..format.urls import is_object_url
from .beside import Pending
from .files import Buffer, ByteArray, FileSystem
from .write_behind import WriteBehind
from .write_buffer import whole_blocks, write_buffer

PIECE_BYTES = 256 * 1024
LARGE_PIECE_BYTES = 1 << 20
LARGEST_PIECE_BYTES = 4 << 20
"""For restores and compressed snapshots, whose threads wait for one another: by single MiB they take a fifth longer."""
LARGE_BYTES = 4 << 20
"""From this size on a file is written behind, in large pieces."""

Pace: TypeAlias = Callable[[int], None]
"""Called with the number of bytes before each write of a piece; it may block, to leave the disk to the foreground."""
Quiet: TypeAlias = Callable[[], bool]
"""Says whether nobody is in the foreground for whom a piece on its way to the disk could be too large."""


def unpaced(count: int) -> None:
    """The pace of an idle store: at once."""


def never() -> bool:
    """There may always be somebody."""
    return False


class BulkWriter:
    """Writes one new file from its beginning to its end. One thread; blocks; durable when ``close`` returns.

    ``reserve``: bytes of disk space to allocate first, so that a full disk is noticed before anything is written.
    ``large``: it will be a large file, though nothing is reserved. ``piece_bytes``: what goes to the disk at once of a
    large one, whole blocks; while it is ``quiet``, up to ``LARGEST_PIECE_BYTES`` of these. ``sha256``: compute that as
    well. Leaving the ``with`` block before ``close`` removes the file. Raises ``OSError``.
    """

    def __init__(
        self,
        fs: FileSystem,
        path: str,
        reserve: int,
        *,
        large: bool = False,
        piece_bytes: int = LARGE_PIECE_BYTES,
        pace: Pace = unpaced,
        quiet: Quiet = never,
        sha256: bool = False,
    ) -> None:
        self._fs = fs
        self._path = path
        self._file = fs.create(path, reserve, direct=True)
        self._pace = pace
        large = large or reserve >= LARGE_BYTES
        self._piece_bytes = piece_bytes if large else min(PIECE_BYTES, whole_blocks(reserve) or PIECE_BYTES)
        # An object store takes its bytes in order, and has several parts of its own on their way.
        alone = not large or is_object_url(path)
        self._quiet = never if alone else quiet
        most = self._piece_bytes if self._quiet is never else LARGEST_PIECE_BYTES // piece_bytes * piece_bytes
        self._staging = write_buffer(most)
        self._behind = None if alone else WriteBehind(self._file, fs.beside, lambda: write_buffer(most))
        self._filled = 0
        self._offset = 0
        self._crc = 0
        self._sha256 = hashlib.sha256() if sha256 else None
        self._open = True

    def __enter__(self) -> BulkWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self.abort()

    @property
    def size(self) -> int:
        """Bytes taken so far."""
        return self._offset + self._filled

    @property
    def sha256(self) -> bytes:
        """The digest of the file; of a writer made with ``sha256=True``, after ``close``."""
        if self._sha256 is None:
            raise ValueError(f"the writer of {self._path} does not compute a SHA-256")
        return self._sha256.digest()

    def write(self, data: Buffer | NDArray[Any]) -> None:
        """Append; ``data`` may be reused on return."""
        source = _as_bytes(data)
        position = 0
        while position < len(source):
            taken = min(self._piece_bytes - self._filled % self._piece_bytes, len(source) - position)
            self._staging[self._filled : self._filled + taken] = source[position : position + taken]
            self._filled += taken
            position += taken
            if self._filled % self._piece_bytes == 0 and not self._may_grow():
                self._flush()

    def _may_grow(self) -> bool:
        """Whether another piece may join those that go to the disk at once."""
        return self._filled < len(self._staging) and self._quiet()

    def close(self) -> FileInfo:
        """Write the rest, set the exact size, sync. The file's content is durable on return, its name is not."""
        if self._filled:
            self._flush()
        self._settle()
        self._open = False
        self._file.close()
        return FileInfo(self._offset, self._crc)

    def close_beside(self) -> tuple[FileInfo, Pending]:
        """The same beside the caller: durable once the second has a result. After an error the file is still there."""
        if self._filled:
            self._flush()
        self._open = False
        return FileInfo(self._offset, self._crc), self._fs.beside(self._finish)

    def _finish(self) -> None:
        try:
            self._settle()
        finally:
            if self._behind:
                self._behind.abandon()
            self._file.close()

    def _settle(self) -> None:
        if self._behind:
            self._behind.drain()
        self._file.truncate(self._offset)
        self._file.sync()

    def abort(self) -> None:
        """Close and remove the file."""
        self._open = False
        if self._behind:
            self._behind.abandon()
        self._file.close()
        with contextlib.suppress(OSError):
            self._fs.unlink(self._path)

    def _flush(self) -> None:
        count, padded = self._filled, whole_blocks(self._filled)
        piece = self._staging[:count]
        self._crc = crc32c(piece, crc=self._crc)
        if self._sha256:
            self._sha256.update(piece.data)
        self._staging[count:padded] = 0
        self._pace(padded)
        if self._behind:
            self._staging = self._behind.put(self._staging, padded, self._offset)
        else:
            self._file.pwrite([self._staging[:padded].data], self._offset)
        self._offset += count
        self._filled = 0


def write_npy(
    fs: FileSystem,
    path: str,
    dtype: DTypeLike,
    shape: tuple[int, ...],
    chunks: Iterable[Buffer | NDArray[Any]],
    *,
    align: int = NPY_ALIGN,
    pace: Pace = unpaced,
) -> FileInfo:
    """Write an array, given as consecutive chunks in C order, as an npy file. Content durable on return, name not.

    Chunks are bytes, or arrays of exactly ``dtype``. Raises ValueError when they do not add up to ``shape``, and
    ``OSError``; no file is left then.
    """
    kind = np.dtype(dtype)
    header = npy_header(kind, shape, align=align)
    total = len(header) + kind.itemsize * math.prod(shape)
    with BulkWriter(fs, path, total, pace=pace) as out:
        out.write(header)
        for chunk in chunks:
            if isinstance(chunk, np.ndarray) and chunk.dtype != kind:
                raise ValueError(f"a chunk of {chunk.dtype} for {path}, an array of {kind}")
            out.write(chunk)
        if out.size != total:
            raise ValueError(f"{out.size} bytes for {path}, an array of {total}")
        return out.close()


def write_document(fs: FileSystem, path: str, data: bytes) -> FileInfo:
    """Write a small new file. Content durable on return, name not. Raises ``OSError``; no file is left then."""
    with BulkWriter(fs, path, len(data)) as out:
        out.write(data)
        return out.close()


def _as_bytes(data: Buffer | NDArray[Any]) -> ByteArray:
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)
