"""What a decoder of log bytes answers when it has no value to give; only the caller knows what that means where.

Incomplete or damaged bytes at the end of the last WAL segment are a torn tail, anywhere else they are corruption.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incomplete:
    """The bytes end before the value does, or were never written."""

    reason: str


@dataclass(frozen=True, slots=True)
class Damaged:
    """The bytes are there and cannot be what was written."""

    reason: str
