"""Gzip in many members: written in parallel pieces, read as one stream with every checksum checked.

Any gunzip reads such a file as one. Cutting it into members of a few MiB lets threads compress at the same time, and
lets the last member be decompressed without the others.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

from .beside import Beside, Done, Pending
from .files import Buffer
from .gzip_member import compress

CHUNK_BYTES = 4 << 20
MAX_RATIO = 1040
"""No deflate stream expands further."""
MAGIC = b"\x1f\x8b"
_GZIP = 31
"""The window parameter that makes zlib expect a gzip header and check the trailer."""


class Output(Protocol):
    """Where compressed bytes go."""

    def write(self, data: Buffer | NDArray[Any]) -> None:
        """Append."""


class Input(Protocol):
    """Where compressed bytes come from."""

    def read(self, count: int) -> Buffer:
        """At most ``count`` bytes, none at the end."""


class GzipWriter:
    """Compresses into members of ``CHUNK_BYTES``, in order. One thread writes, ``submit`` compresses."""

    def __init__(self, out: Output, submit: Beside = Done, *, at_once: int = 3) -> None:
        self._out = out
        self._submit = submit
        self._at_once = at_once
        self._free: list[memoryview] = []
        self._chunk = memoryview(bytearray(CHUNK_BYTES))
        self._gathered = 0
        self._pending: deque[tuple[Pending, memoryview]] = deque()

    def write(self, data: Buffer | NDArray[Any]) -> None:
        """Append; ``data`` may be reused on return."""
        source = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data if isinstance(data, np.ndarray) else data
        position = 0
        while position < len(source):
            taken = min(CHUNK_BYTES - self._gathered, len(source) - position)
            self._chunk[self._gathered : self._gathered + taken] = source[position : position + taken]
            self._gathered += taken
            position += taken
            if self._gathered == CHUNK_BYTES:
                self.cut()

    def cut(self) -> None:
        """End the member: what comes next begins another."""
        if not self._gathered:
            return
        content = self._chunk[: self._gathered]
        self._pending.append((self._submit(lambda: compress(content)), self._chunk))
        while len(self._pending) >= self._at_once:
            self._write_first()
        self._chunk = self._free.pop() if self._free else memoryview(bytearray(CHUNK_BYTES))
        self._gathered = 0

    def finish(self) -> None:
        """End the last member and write everything that is still being compressed."""
        self.cut()
        while self._pending:
            self._write_first()

    def _write_first(self) -> None:
        compressed, chunk = self._pending.popleft()
        self._out.write(compressed.result())
        self._free.append(chunk)


class GzipReader:
    """The bytes of a gzip file, decompressed only as far as they are asked for.

    Raises ValueError with a reason where the file is damaged, cut short, or followed by something else.
    """

    def __init__(self, source: Input, *, piece: int = 1 << 20) -> None:
        self._source = source
        self._piece = piece
        self._waiting = b""
        self._member: Any = None

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes, b"" at the end of the last member."""
        while True:
            if not self._waiting:
                self._waiting = bytes(self._source.read(self._piece))
            if not self._waiting and self._member is None:
                return b""
            at_end = not self._waiting
            data = self._decompress(count)
            if data:
                return data
            if at_end and self._member is not None:
                raise ValueError("the file ends inside a gzip member: it is cut short")

    def _decompress(self, count: int) -> bytes:
        if self._member is None:
            while len(self._waiting) < len(MAGIC) and (more := self._source.read(self._piece)):
                self._waiting += more
            if not self._waiting.startswith(MAGIC):
                raise ValueError("something follows the last gzip member that is no gzip")
            self._member = isal_zlib.decompressobj(_GZIP)
        try:
            data: bytes = self._member.decompress(self._waiting, count)
        except igzip_lib.IsalError as error:  # type: ignore[misc]  # the stub takes the class for an instance
            raise ValueError(f"the gzip data is damaged: {error}") from None
        if self._member.eof:
            self._waiting, self._member = self._member.unused_data, None
        else:
            self._waiting = self._member.unconsumed_tail
        return data
