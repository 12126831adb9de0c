"""The oracles of the kill -9 loop bite: each notices a loss, an invention, and a half of what should be whole."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.torture import WIDE, Architect, Photographer, PointWriter, Streamer


def record(id: str, value: float, version: int = 1, payload: object = None, width: int = 2) -> Any:
    return SimpleNamespace(id=id, vector=array.array("f", [value] * width), version=version, payload=payload)


def store(records: list[Any]) -> Any:
    """What a client sees of a store in which every collection holds ``records``."""
    collection = SimpleNamespace(get=lambda ids: records, export=lambda: records)
    return SimpleNamespace(collection=lambda name: collection)


def test_sequences_must_rise() -> None:
    writer = PointWriter("w")
    writer.acknowledge(5)
    assert writer.problem is None
    writer.acknowledge(5)
    assert writer.problem == "w: sequence 5 was acknowledged after 5"


def point(value: float, version: int = 1, payload_value: float | None = None) -> Any:
    shown = value if payload_value is None else payload_value
    return record("w-0", value, version, {"owner": "w", "value": shown})


@pytest.mark.parametrize("found", [[point(2.0, 2)], [point(3.0, 3)]])
def test_a_writer_accepts_what_was_acknowledged_and_what_was_in_flight(found: list[Any]) -> None:
    writer = PointWriter("w")
    writer.acknowledged, writer.pending = {"w-0": (2.0, 2)}, {"w-0": (3.0, 3)}
    writer.check(store(found))
    assert writer.acknowledged == writer.pending == {"w-0": (found[0].vector[0], found[0].version)}


@pytest.mark.parametrize(
    "found",
    [[], [point(1.0, 1)], [point(4.0, 4)], [point(2.0, 3)], [point(2.0, 2, payload_value=3.0)]],
    ids=["lost", "an older write", "never asked for", "written twice", "half of a write"],
)
def test_a_writer_notices(found: list[Any]) -> None:
    writer = PointWriter("w")
    writer.acknowledged, writer.pending = {"w-0": (2.0, 2)}, {"w-0": (3.0, 3)}
    with pytest.raises(AssertionError):
        writer.check(store(found))


def streamed(batches: int, *, without: int = 0) -> list[Any]:
    """The points after so many batches, the last ``without`` of them left out."""
    streamer, state = Streamer("s"), dict[str, float]()
    for number in range(1, batches + 1):
        state.update(dict.fromkeys(streamer._ids(number), float(number)))
    return [record(id, value, width=WIDE) for id, value in list(state.items())[: len(state) - without]]


def sent(batches: int, answered: int) -> Streamer:
    streamer = Streamer("s")
    streamer.sent = [float(number) for number in range(1, batches + 1)]
    streamer.answered = answered
    return streamer


@pytest.mark.parametrize("found", [3, 4, 5])
def test_a_stream_accepts_every_prefix_from_the_last_acknowledged_batch_on(found: int) -> None:
    sent(5, 3).check(store(streamed(found)))


@pytest.mark.parametrize(("found", "without"), [(2, 0), (6, 0), (4, 1), (0, 0)])
def test_a_stream_notices_a_loss_an_invention_and_half_a_batch(found: int, without: int) -> None:
    with pytest.raises(AssertionError, match="no prefix of 5 batches, 3 of them acknowledged"):
        sent(5, 3).check(store(streamed(found, without=without)))


def test_a_stream_of_which_nothing_was_acknowledged_may_have_left_nothing() -> None:
    sent(2, 0).check(store([]))


def catalog(*names: str, **aliases: str) -> Any:
    listed = [SimpleNamespace(alias=alias, collection=name) for alias, name in aliases.items()]
    return SimpleNamespace(
        collections=SimpleNamespace(
            list=lambda: [SimpleNamespace(name=name) for name in names], aliases=SimpleNamespace(list=lambda: listed)
        )
    )


def test_an_architect_accepts_before_and_after() -> None:
    for found in (catalog("hall"), catalog("hall", favourite="hall")):
        architect = Architect("a")
        architect.acknowledged, architect.pending = {"hall": ""}, {"hall": "", "favourite": "hall"}
        architect.check(found)


@pytest.mark.parametrize("found", [catalog(), catalog("hall", "tower"), catalog("hall", favourite="tower")])
def test_an_architect_notices(found: Any) -> None:
    architect = Architect("a")
    architect.acknowledged, architect.pending = {"hall": ""}, {"hall": "", "favourite": "hall"}
    with pytest.raises(AssertionError):
        architect.check(found)


def archives(*ids: str, valid: bool = True) -> Any:
    return SimpleNamespace(
        snapshots=SimpleNamespace(
            list=lambda: [SimpleNamespace(id=id) for id in ids],
            verify=lambda id: SimpleNamespace(valid=valid),
            delete=lambda id: None,
        )
    )


def test_a_photographer_keeps_the_newest() -> None:
    photographer = Photographer("p")
    photographer.acknowledged = ["one", "two"]
    photographer.check(archives("three", "two", "one"))
    assert photographer.acknowledged == ["three"]


@pytest.mark.parametrize(
    "found", [archives("one"), archives("five", "four", "two", "one"), archives("two", "one", valid=False)]
)
def test_a_photographer_notices(found: Any) -> None:
    photographer = Photographer("p")
    photographer.acknowledged = ["one", "two"]
    with pytest.raises(AssertionError):
        photographer.check(found)
