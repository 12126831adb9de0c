"""A clock and randomness that tests steer."""

from __future__ import annotations

import random
import uuid


class ManualClock:
    """Time that moves only when told to, or by ``step_us`` at each look at the wall clock."""

    def __init__(self, now_us: int = 1_700_000_000_000_000, step_us: int = 1) -> None:
        self.wall_us = now_us
        self.step_us = step_us
        self.elapsed_ns = 0
        self.slept: list[float] = []

    def now_us(self) -> int:
        self.advance_us(self.step_us)
        return self.wall_us

    def monotonic_ns(self) -> int:
        self.elapsed_ns += self.step_us * 1000
        return self.elapsed_ns

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance_us(int(seconds * 1_000_000))

    def advance_us(self, microseconds: int) -> None:
        """Let time pass on both clocks."""
        self.wall_us += microseconds
        self.elapsed_ns += microseconds * 1000

    def jump_us(self, microseconds: int) -> None:
        """Move the wall clock alone, in either direction, as an administrator would."""
        self.wall_us += microseconds


class SeededRandomness:
    """The same values for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)

    def uuid4(self) -> uuid.UUID:
        return uuid.UUID(int=self.random.getrandbits(128), version=4)

    def u64(self) -> int:
        return self.random.getrandbits(64)
