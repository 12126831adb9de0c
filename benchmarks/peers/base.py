"""What the in-process peers share: their own process is the one that stores."""

from __future__ import annotations

from benchmarks import process


class InProcess:
    """A store inside the measuring process."""

    def __init__(self) -> None:
        self._peak = 0

    def bytes_written(self) -> int:
        """Bytes that this process has sent to the disk."""
        return process.bytes_written()

    def memory(self) -> int:
        """Anonymous memory seen so far at most; holds the chunk of rows being written as well."""
        self._peak = max(self._peak, process.anonymous_memory())
        return self._peak
