"""A hash computed beside is the hash of what was given, in the order in which it was."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.storage.beside import Beside, Done
from holdfastd.storage.hash_beside import HashBeside


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
