"""Writing an object: in order, in parts, unseen until it is complete.

The store keeps the parts apart from its objects until the upload is completed, in one step; that is what a rename is
to a file. Until then it can be given up without a trace.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence

from ..format.urls import split_url
from .files import Buffer
from .object_stores import ObjectStores
from .store_errors import StoreError

MIB = 1 << 20
PART_BYTES = 8 * MIB
MOST_PARTS = 9_000
"""A store takes 10,000; what is compressed may come out a little larger than announced."""
AT_ONCE = 2
"""Parts on their way at a time; with the one that is being filled, that is all that is held."""


def part_bytes(size: int) -> int:
    """How large the parts of an object of about ``size`` bytes are: whole MiB."""
    least = -(-size // MOST_PARTS)
    return max(PART_BYTES, -(-least // MIB) * MIB)


class ObjectFile:
    """An upload. ``path``: where it is named until it is complete; ``url``: what it becomes.

    One thread; blocks for the network. The last bytes written are held back: ``truncate`` may take some of them away.
    """

    def __init__(self, stores: ObjectStores, path: str, url: str, size: int) -> None:
        self._stores = stores
        self._path = path
        self._url = url
        with stores.asking(url):
            self._writer = stores.library(url).open_writer(
                stores.of(url), split_url(url).key, buffer_size=part_bytes(size), max_concurrency=AT_ONCE
            )
        self._held = b""
        self._sent = 0

    @property
    def path(self) -> str:
        return self._path

    def pwrite(self, buffers: Sequence[Buffer], offset: int) -> int:
        if offset != self.size():
            raise OSError(errno.ESPIPE, "an object is written in order", self._path)
        self._send()
        self._held = b"".join(buffers)
        return len(self._held)

    def sync(self) -> None:
        """Wait until every part that is full is in the store."""
        self._send()
        with self._stores.asking(self._url):
            self._writer.flush()

    def truncate(self, size: int) -> None:
        if not self._sent <= size <= self.size():
            raise OSError(errno.EINVAL, "what has been sent cannot be taken back", self._path)
        self._held = self._held[: size - self._sent]

    def allocate(self, size: int) -> None:
        """An object store has no space to reserve."""

    def size(self) -> int:
        return self._sent + len(self._held)

    def close(self) -> None:
        """The upload goes on until it is completed or given up."""

    def complete(self) -> None:
        """Make it an object, all at once; durable on return. Raises StoreError: it may be one all the same."""
        self.sync()
        with self._stores.asking(self._url):
            self._writer.close()

    def give_up(self) -> None:
        """Have the store forget the parts. What it cannot be told now, a rule of the bucket's life cycle removes."""
        gone = StopIteration()
        with contextlib.suppress(StoreError), self._stores.asking(self._url):
            self._writer.__exit__(StopIteration, gone, None)

    def _send(self) -> None:
        if self._held:
            with self._stores.asking(self._url):
                self._writer.write(self._held)
            self._sent += len(self._held)
            self._held = b""
