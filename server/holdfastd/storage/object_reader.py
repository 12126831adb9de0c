"""Reading an object from its beginning to its end, or anywhere, over connections that break.

Bytes come in ranges that grow, so that a look at the beginning costs little and a long reading few requests. A broken
connection is taken up again at the byte where it broke. All of it is one object: one that takes its place is refused.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..format.urls import split_url
from .files import copy_into
from .object_stores import ObjectStores
from .store_errors import StoreError, StoreProblem

if TYPE_CHECKING:
    from obstore import GetOptions

FIRST_RANGE_BYTES = 64 << 10
LARGEST_RANGE_BYTES = 64 << 20
PIECE_BYTES = 1 << 20
ATTEMPTS = 5
"""At a place where nothing comes any more."""
FIRST_PAUSE_SECONDS = 0.1


class ObjectReader:
    """One object. One thread; blocks. Opening asks for its size. Raises FileNotFoundError and StoreError.

    Holds two pieces at most.
    """

    def __init__(self, stores: ObjectStores, url: str) -> None:
        self._stores = stores
        self._library = stores.library(url)
        self._store = stores.of(url)
        self._url = url
        self._key = split_url(url).key
        with stores.asking(url):
            found = self._library.head(self._store, self._key)
        self.size: int = found["size"]
        self._e_tag: str | None = found["e_tag"]
        self._position = 0
        self._range_end = 0
        self._range_bytes = FIRST_RANGE_BYTES
        self._coming: Iterator[bytes] = iter(())
        self._waiting = memoryview(b"")

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset``, fewer at the end of the object."""
        if offset != self._position:
            self._go_to(offset)
            self._range_bytes = FIRST_RANGE_BYTES
        wanted = min(length, max(0, self.size - offset))
        pieces, missing = [], wanted
        while missing > 0:
            if not self._waiting:
                self._waiting = memoryview(self._next_piece())
            taken, self._waiting = self._waiting[:missing], self._waiting[missing:]
            pieces.append(taken)
            missing -= len(taken)
            self._position += len(taken)
        return b"".join(pieces)

    def read_into(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset``; returns how many bytes there were, fewer at the end of the object."""
        return copy_into(buffer, self.read(offset, len(buffer)))

    def _go_to(self, offset: int) -> None:
        self._position = self._range_end = offset
        self._waiting, self._coming = memoryview(b""), iter(())

    def _next_piece(self) -> bytes:
        """The bytes at the position, which is before the end of the object."""
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            if self._position == self._range_end:
                self._ask()
            try:
                return self._piece()
            except StoreError as error:
                if not error.is_passing or attempt == ATTEMPTS:
                    raise
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _piece(self) -> bytes:
        """What comes next of the range. Once it breaks, another one has to be asked for."""
        try:
            with self._stores.asking(self._url):
                piece = next(self._coming, b"")
        except OSError:
            self._go_to(self._position)
            raise
        if not piece:
            self._go_to(self._position)
            raise StoreError(StoreProblem.UNREACHABLE, self._url, "the connection ended early")
        return bytes(piece)

    def _ask(self) -> None:
        """Begin the next range. What the library cannot get within its patience is not asked for again."""
        end = min(self._position + self._range_bytes, self.size)
        options: GetOptions = {"range": (self._position, end)}
        if self._e_tag is not None:
            options["if_match"] = self._e_tag
        with self._stores.asking(self._url):
            result = self._library.get(self._store, self._key, options=options)
        self._coming = iter(result.stream(min_chunk_size=PIECE_BYTES))
        self._range_end = end
        self._range_bytes = min(self._range_bytes * 4, LARGEST_RANGE_BYTES)
