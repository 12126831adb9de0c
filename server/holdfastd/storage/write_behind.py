"""Writing behind: large pieces go to the disk while the next ones are put together.

A disk reached past the page cache is kept busy only by several writes at a time, and whoever computes checksums between
two writes leaves it idle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from .beside import Beside, Pending
from .files import ByteArray, File

DEPTH = 2
"""Pieces on their way at a time."""


class WriteBehind:
    """See the module. One thread gives pieces and takes buffers; ``new_buffer`` makes one. Raises ``OSError``.

    What a write in the background raises is raised by a later call.
    """

    def __init__(self, file: File, beside: Beside, new_buffer: Callable[[], ByteArray]) -> None:
        self._file = file
        self._beside = beside
        self._new_buffer = new_buffer
        self._on_their_way: deque[tuple[Pending, ByteArray]] = deque()

    def put(self, buffer: ByteArray, count: int, offset: int) -> ByteArray:
        """Write the first ``count`` bytes of ``buffer``, which is ours from now on; returns another. Blocks for one."""
        made = self._new_buffer() if len(self._on_their_way) < DEPTH else self._settle()
        written = self._beside(lambda: self._file.pwrite([buffer[:count].data], offset))
        self._on_their_way.append((written, buffer))
        return made

    def drain(self) -> None:
        """Wait for all of it."""
        while self._on_their_way:
            self._settle()

    def abandon(self) -> None:
        """Wait for what is on its way, whatever becomes of it."""
        while self._on_their_way:
            with suppress(OSError):
                self._settle()

    def _settle(self) -> ByteArray:
        written, buffer = self._on_their_way.popleft()
        written.result()
        return buffer
