"""Two contenders run in turns, because a disk's speed drifts: only neighbours in time may be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of some readings."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Pairs(Generic[T]):
    """The runs of both, in step: ours[i] and other[i] are neighbours in time."""

    ours: list[T]
    other: list[T]

    def ratios(self, value: Callable[[T], float]) -> Spread:
        """Ours divided by the other, pair by pair."""
        return spread([value(a) / value(b) for a, b in zip(self.ours, self.other, strict=True)])


def alternate(ours: Callable[[], T], other: Callable[[], T], pairs: int) -> Pairs[T]:
    """Runs `pairs` pairs one after the other, and changes who begins from pair to pair."""
    result: Pairs[T] = Pairs([], [])
    for number in range(pairs):
        turn = [(ours, result.ours), (other, result.other)]
        for run, kept in turn if number % 2 == 0 else reversed(turn):
            kept.append(run())
    return result


def spread(readings: Sequence[float]) -> Spread:
    """The spread of at least one reading."""
    return Spread(median(readings), min(readings), max(readings))
