"""Time and randomness as constructor arguments: the Protocols and the real ones."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_us(self) -> int:
        """Wall time in microseconds since 1970-01-01 UTC; may jump either way."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since some fixed moment; never goes back, and goes on while the machine is suspended."""

    def sleep(self, seconds: float) -> None:
        """Block the calling thread."""


class Randomness(Protocol):
    """Where unpredictable values come from."""

    def uuid4(self) -> uuid.UUID:
        """A new random identifier."""

    def u64(self) -> int:
        """A uniform integer from 0 to 2**64 - 1."""


class SystemClock:
    """The machine's clock. Any thread."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemRandomness:
    """The kernel's random numbers. Any thread."""

    def uuid4(self) -> uuid.UUID:
        return uuid.uuid4()

    def u64(self) -> int:
        return secrets.randbits(64)
