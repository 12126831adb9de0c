"""A hash computed beside is the hash of what was given, in the order in which it was."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.storage.beside import Beside, Done
from holdfastd.storage.hash_beside import AT_ONCE_BYTES, HashBeside


@pytest.fixture(scope="module", params=["threads", "at once"])
def submit(request: pytest.FixtureRequest) -> Iterator[Beside]:
    with ThreadPoolExecutor(2) as threads:
        yield threads.submit if request.param == "threads" else Done


@given(st.lists(st.integers(0, 200_000), max_size=12), st.integers())
def test_it_is_the_hash_of_all_pieces_in_order(submit: Beside, sizes: list[int], seed: int) -> None:
    rng, plain, beside = random.Random(seed), hashlib.sha256(), HashBeside(submit)
    for size in sizes:
        piece = rng.randbytes(size)
        plain.update(piece)
        beside.update(piece)
    assert beside.hexdigest() == plain.hexdigest()


def test_what_was_given_may_change_once_it_is_waited_for(submit: Beside) -> None:
    piece, beside = bytearray(b"a" * 1_000_000), HashBeside(submit)
    for _ in range(3):
        beside.update(piece)
        beside.wait()
        piece[:] = b"b" * len(piece)
        piece[:] = b"a" * len(piece)
    assert beside.hexdigest() == hashlib.sha256(b"a" * 3_000_000).hexdigest()


def test_small_pieces_are_handed_over_together_and_few_at_a_time() -> None:
    handed: list[int] = []

    def count(work: Callable[[], object]) -> Done:
        handed.append(1)
        return Done(work)

    beside = HashBeside(count)
    for _ in range(40):
        beside.update(bytes(AT_ONCE_BYTES // 10))
    assert len(handed) == 40 // 11, "ten of them do not quite add up"
    assert beside.hexdigest() == hashlib.sha256(bytes(40 * (AT_ONCE_BYTES // 10))).hexdigest()
