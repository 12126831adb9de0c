"""Space for the next WAL segment, allocated ahead of the rotation that will need it. Any thread."""

from __future__ import annotations

from contextlib import AbstractContextManager

from .clock import Randomness
from .files import FileSystem
from .wal_active import StagedFile, discard, prepare_file
from .wal_errors import refusal


class Spare:
    """At most one staged file. ``lock`` is its own, and is never held during a system call."""

    def __init__(self, fs: FileSystem, rng: Randomness, lock: AbstractContextManager[object], size: int) -> None:
        self._fs = fs
        self._rng = rng
        self._size = size
        self._lock = lock
        self._staged: StagedFile | None = None
        self._busy = False

    def prepare(self, directory: str) -> bool:
        """Allocate, unless that is done or under way: then False. Raises ResourceExhausted or FailedPrecondition."""
        with self._lock:
            if self._staged or self._busy:
                return False
            self._busy = True
        staged = None
        try:
            staged = prepare_file(self._fs, directory, self._size, token=self._rng.u64())
        except OSError as error:
            raise refusal(f"no room for the next WAL segment in {directory}", error) from error
        finally:
            with self._lock:
                self._staged, self._busy = staged, False
        return True

    def resize(self, size: int) -> None:
        """Allocate ``size`` bytes from the next time on; what is staged may turn out too small, and is freed then."""
        with self._lock:
            self._size = size

    def take(self) -> StagedFile | None:
        """The staged file, which is the caller's from now on."""
        with self._lock:
            staged, self._staged = self._staged, None
            return staged

    def give_back(self) -> None:
        """Free the space. What is being allocated meanwhile is removed at the next start."""
        staged = self.take()
        if staged is not None:
            discard(self._fs, staged)
