"""The handover between two threads: in order, bounded, and it lets go of either side when the other leaves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from holdfastd.errors import Unavailable
from holdfastd.rpc.handoff import Handoff


def nothing() -> None:
    """Waiting on is all right."""


def test_items_arrive_in_order() -> None:
    handoff: Handoff[int] = Handoff(3, on_idle=nothing)

    def produce() -> None:
        for item in range(100):
            assert handoff.put(item)
        handoff.finish()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(produce)
        assert list(handoff) == list(range(100))
        done.result(10)


def test_it_holds_no_more_than_its_limit() -> None:
    handoff: Handoff[int] = Handoff(3, on_idle=nothing)
    for item in range(3):
        handoff.put(item)
    with ThreadPoolExecutor(1) as pool:
        fourth = pool.submit(handoff.put, 3)
        items = iter(handoff)
        assert next(items) == 0
        assert not fourth.done()
        assert next(items) == 1
        assert fourth.result(10)


def test_the_producers_error_reaches_the_consumer_behind_the_items() -> None:
    handoff: Handoff[int] = Handoff(3, on_idle=nothing)
    handoff.put(1)
    handoff.fail(OSError("gone"))
    items = iter(handoff)
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_a_consumer_that_leaves_frees_the_producer(taken: int) -> None:
    handoff: Handoff[int] = Handoff(2, on_idle=nothing)
    handoff.put(0)
    handoff.put(1)
    with ThreadPoolExecutor(1) as pool:
        items = iter(handoff)
        for _ in range(taken):
            next(items)
        waiting = pool.submit(lambda: [handoff.put(item) for item in range(2, 9)])
        handoff.close()
        assert waiting.result(10)[-1] is False


def test_one_place_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two"):
        Handoff(1, on_idle=nothing)


def test_a_consumer_without_items_may_give_up() -> None:
    def give_up() -> None:
        raise Unavailable("stopping")

    with pytest.raises(Unavailable, match="stopping"):
        next(iter(Handoff(2, on_idle=give_up, idle_seconds=0.001)))


def test_the_producers_own_unavailable_is_no_idleness() -> None:
    handoff: Handoff[int] = Handoff(2, on_idle=nothing, idle_seconds=0.001)
    handoff.fail(Unavailable("the committer stops"))
    with pytest.raises(Unavailable, match="the committer stops"):
        next(iter(handoff))
