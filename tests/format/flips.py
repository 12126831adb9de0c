"""Damage, exhaustively."""

from __future__ import annotations

from collections.abc import Callable, Iterator


def bit_flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Every way to flip one bit of ``data``: (bit number, damaged copy)."""
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(damaged)


def unnoticed_flips(decode: Callable[[bytes], object], data: bytes) -> list[int]:
    """The bits of ``data`` that can be flipped without ``decode`` raising ValueError; any other exception passes."""
    unnoticed = []
    for bit, damaged in bit_flips(data):
        try:
            decode(damaged)
        except ValueError:
            continue
        unnoticed.append(bit)
    return unnoticed
