"""Locks on WAL directories outside the data directory, whose own lock does not cover them (RULES 34)."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import DataDirectoryLocked
from ..storage.files import FileSystem, Lock
from ..storage.names import Layout

LOCK_NAME = "LOCK"


class WalLocks:
    """Holds one lock per outside directory. Used by one thread at a time: the opening, committing or checkpointing."""

    def __init__(self, fs: FileSystem, layout: Layout) -> None:
        self._fs = fs
        self._layout = layout
        self._held: dict[str, Lock] = {}

    def hold(self, directories: Iterable[str]) -> None:
        """Lock these directories (absolute) where that is needed; those that are missing are left out.

        Raises DataDirectoryLocked when another daemon holds one.
        """
        for directory in directories:
            if self._is_outside(directory) and directory not in self._held and self._fs.exists(directory):
                self._held[directory] = self._lock(directory)

    def keep_only(self, directories: Iterable[str]) -> None:
        """Release the locks of all other directories."""
        wanted = set(directories)
        for directory in self._held.keys() - wanted:
            self._held.pop(directory).release()

    def release(self) -> None:
        """Release every lock; again is allowed."""
        self.keep_only(())

    def _is_outside(self, directory: str) -> bool:
        return self._layout.relative(directory).startswith("/")

    def _lock(self, directory: str) -> Lock:
        try:
            return self._fs.lock(f"{directory}/{LOCK_NAME}")
        except DataDirectoryLocked as error:
            raise DataDirectoryLocked(
                f"the WAL directory {directory} is in use by another daemon: {error.message}",
                reason="WAL_DIRECTORY_LOCKED",
                hint="stop that daemon, or give this store a WAL directory of its own",
                path=directory,
            ) from error
