"""What the in-process peers share: their own process is the one that stores."""

from __future__ import annotations

from benchmarks import process


class InProcess:
    """A store inside the measuring process."""

    def bytes_written(self) -> int:
        """Bytes that this process has sent to the disk."""
        return process.bytes_written()

    def memory(self) -> int:
        """Anonymous memory as it is now: the measuring process does not watch itself while it writes.

        It holds the chunk of rows being written as well.
        """
        return process.anonymous_memory()
