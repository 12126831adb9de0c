"""Which snapshots' files are being read, and which are being deleted: no file is both.

What deletes one may wait for a network, and holds no lock meanwhile: whoever wants that very file waits, and nobody
else does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Holds:
    """See the module. Any thread. ``lock``: what the owner holds while it decides by what is held here."""

    def __init__(self, lock: threading.Lock) -> None:
        # Guarded by the lock.
        self._changed = threading.Condition(lock)
        self._readers: dict[str, int] = {}
        self._leaving: set[str] = set()

    @contextmanager
    def in_use(self, *paths: str) -> Iterator[None]:
        """Keep the snapshots at these paths from being deleted or replaced while the block reads them.

        Waits for the end of a deletion that has begun.
        """
        with self._changed:
            self.wait_for_deletions(*paths)
            for path in paths:
                self._readers[path] = self._readers.get(path, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                for path in paths:
                    self._readers[path] -= 1
                    if not self._readers[path]:
                        del self._readers[path]

    def is_in_use(self, *paths: str, own: int = 1) -> bool:
        """Whether somebody but the caller, who has them in use ``own`` times, reads one of them."""
        with self._changed:
            return any(self.readers(path) > own for path in paths)

    @contextmanager
    def leaving(self, path: str) -> Iterator[None]:
        """Let nobody begin to read a file, nor delete it as well, while the block deletes it."""
        with self._changed:
            self.wait_for_deletions(path)
            self._leaving.add(path)
        try:
            yield
        finally:
            with self._changed:
                self._leaving.discard(path)
                self._changed.notify_all()

    # With the lock --------------------------------------------------------------------------------------------------

    def readers(self, path: str) -> int:
        """How many read the file. With the lock."""
        return self._readers.get(path, 0)

    def is_leaving(self, path: str) -> bool:
        """Whether the file is being deleted. With the lock."""
        return path in self._leaving

    def wait_for_deletions(self, *paths: str) -> None:
        """Wait until none of these files is being deleted. With the lock, which is let go meanwhile."""
        while not self._leaving.isdisjoint(paths):
            self._changed.wait()
