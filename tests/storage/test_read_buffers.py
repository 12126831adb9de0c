"""Memory that is lent again once nobody looks at it, and never before."""

from __future__ import annotations

import numpy as np

from holdfastd.storage.read_buffers import MOST_KEPT, ReadBuffers
from holdfastd.storage.write_buffer import BLOCK_BYTES

SIZE = 3 * BLOCK_BYTES


def address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)


def test_it_is_lent_again_when_it_was_given_back() -> None:
    buffers = ReadBuffers(SIZE)
    first = buffers.take(SIZE)
    place = address(first)
    assert place % BLOCK_BYTES == 0
    del first
    assert address(buffers.take(100)) == place


def test_whoever_holds_a_part_of_it_keeps_it_as_it_is() -> None:
    buffers = ReadBuffers(SIZE)
    parts = []
    for number in range(3 * MOST_KEPT):
        view = buffers.take(SIZE)
        view[:] = bytes([number]) * SIZE
        # As a record's payload is cut out, and as an array is made of that.
        parts.append(np.frombuffer(view[8:16].toreadonly()[2:], np.uint8))
    del view
    assert [part.tolist() for part in parts] == [[number] * 6 for number in range(3 * MOST_KEPT)]


def test_what_is_kept_for_good_does_not_add_up() -> None:
    buffers = ReadBuffers(SIZE)
    kept = [buffers.take(SIZE) for _ in range(3 * MOST_KEPT)]
    assert len(buffers._lent) == MOST_KEPT
    newest = address(kept[-1])
    kept.clear()
    assert newest in {address(buffers.take(SIZE)) for _ in range(MOST_KEPT)}


def test_more_than_usual_is_given_as_well() -> None:
    buffers = ReadBuffers(SIZE)
    assert len(buffers.take(SIZE + 1)) == SIZE + 1
    assert len(buffers.take(1)) == 1
