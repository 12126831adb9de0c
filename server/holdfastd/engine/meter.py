"""How far long work on archives has come: counted piece by piece, reported now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from .operations import Work

REPORT_SECONDS = 0.05
"""Nobody sees more of it, and each report wakes whoever watches."""

Advance: TypeAlias = Callable[[int, int], None]
"""Called with bytes and vectors done since the last call; may raise Cancelled."""


class Meter:
    """Counts for one operation. Belongs to the thread that does the work."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._bytes = self._vectors = 0
        self._silent_until = 0.0

    def begin(self, phase: str, total_bytes: int = 0, total_vectors: int = 0) -> None:
        """A new phase, of which nothing is done. Raises Cancelled."""
        self._bytes = self._vectors = 0
        self._work.report(
            phase=phase, done_bytes=0, done_vectors=0, total_bytes=total_bytes, total_vectors=total_vectors
        )

    def advance(self, count: int, vectors: int) -> None:
        """So many bytes and vectors more are done. Raises Cancelled."""
        self._bytes += count
        self._vectors += vectors
        self._work.check_cancelled()
        now = self._work.seconds()
        if now >= self._silent_until:
            self._silent_until = now + REPORT_SECONDS
            self._work.report(done_bytes=self._bytes, done_vectors=self._vectors)
