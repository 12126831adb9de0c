"""A part of something large, chosen so that many small readings come to one whole: `3/7`, or a random `10%`.

`n/t` is the n-th of t slices of about as many bytes each, in the order in which they lie on the disk: a unit belongs to
the slice that its middle falls into, so 1/t to t/t together hold each unit exactly once, whoever asks and whenever.
A percentage takes units in an order that a seed decides, until they are as many bytes; the same seed chooses the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidArgument

MAX_SLICES = 100
_SLICE = re.compile(r"([0-9]{1,4})/([0-9]{1,4})")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")


@dataclass(frozen=True, slots=True)
class Subset:
    """``number`` of ``of`` slices, or ``percent`` of the bytes by ``seed`` where ``of`` is 0."""

    number: int = 0
    of: int = 0
    percent: float = 0.0
    seed: int = 0

    @property
    def text(self) -> str:
        """As it is asked for."""
        return f"{self.number}/{self.of}" if self.of else f"{self.percent:g}%"

    def choose(self, units: Sequence[tuple[str, int]]) -> frozenset[int]:
        """The indexes of the chosen units, each a name and a size in bytes."""
        return self._slice(units) if self.of else self._share(units)

    def _slice(self, units: Sequence[tuple[str, int]]) -> frozenset[int]:
        total, start = sum(size for _, size in units), 0
        chosen: list[int] = []
        for index, (_, size) in enumerate(units):
            at = min((2 * start + size) * self.of // (2 * total), self.of - 1) if total else 0
            if at == self.number - 1:
                chosen.append(index)
            start += size
        return frozenset(chosen)

    def _share(self, units: Sequence[tuple[str, int]]) -> frozenset[int]:
        wanted, taken = sum(size for _, size in units) * self.percent / 100, 0
        chosen: list[int] = []
        for index in sorted(range(len(units)), key=lambda index: _drawn(self.seed, units[index][0])):
            if chosen and taken >= wanted:
                break
            chosen.append(index)
            taken += units[index][1]
        return frozenset(chosen)


def parse_subset(text: str, seed: int) -> Subset:
    """The subset that ``1/7`` or ``10%`` means; ``seed`` is for the latter. Raises InvalidArgument."""
    if (slice_ := _SLICE.fullmatch(text)) is not None:
        number, of = int(slice_[1]), int(slice_[2])
        if 1 <= number <= of <= MAX_SLICES:
            return Subset(number=number, of=of)
    elif (share := _PERCENT.fullmatch(text)) is not None and 0 < float(share[1]) <= 100:
        return Subset(percent=float(share[1]), seed=seed)
    raise InvalidArgument(
        f"{text[:40]!r} names no subset",
        field="subset",
        hint=f"write 1/7 for the first of seven slices (at most {MAX_SLICES}), or 10% for a random tenth",
    )


def _drawn(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()
