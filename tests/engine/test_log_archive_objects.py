"""Archives in object stores: rounds as on a disk, two daemons that meet in one bucket, and what a kill leaves there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfastd.storage.store_errors import StoreError, StoreProblem
from tests.support.archives import SEGMENT, ArchiveKit, Operations, read_archive
from tests.support.memfs import MemFileSystem
from tests.support.object_memory import MemoryObjects, MemoryPlaces

BUCKET = "s3://bucket/wal"


def on_objects(places: MemoryPlaces | None = None, seed: int = 7, segment_size: int = SEGMENT) -> ArchiveKit:
    return ArchiveKit(places or MemoryPlaces(), archive_path=BUCKET, seed=seed, segment_size=segment_size)


def twins(segment_size: int = SEGMENT) -> tuple[ArchiveKit, ArchiveKit]:
    """A daemon, and one on a copy of its data directory, which archive into one bucket."""
    kit = on_objects(segment_size=segment_size)
    kit.create()
    kit.write(4)
    kit.round()
    places: MemoryPlaces = kit.fs  # type: ignore[assignment]
    disk = places.disk
    copy = MemoryPlaces(MemFileSystem(disk.kill_disk_at(disk.ops)))
    copy.stores = places.stores
    copy.objects = copy._objects = MemoryObjects(places.stores)  # type: ignore[assignment]
    other = on_objects(copy, seed=8, segment_size=segment_size)
    other.clock.advance_us(1_000_000)
    return kit, other


def history(kit: ArchiveKit) -> Operations:
    return kit.logged()


def test_rounds_go_on_over_restarts() -> None:
    kit = on_objects()
    kit.create()
    for _ in range(4):
        kit.write(3)
        kit.round()
        assert kit.archived() == kit.logged()
        places: MemoryPlaces = kit.fs  # type: ignore[assignment]
        places.disk.locked.clear()
        kit.engine = kit._open()
    kit.round()
    assert kit.archived() == kit.logged()
    assert len(kit.whole()) > 2
    assert kit.codes() == []


def test_what_a_kill_leaves_in_the_bucket_is_removed_by_the_next_first_round() -> None:
    kit = on_objects()
    kit.create()
    kit.write(9)
    kit.round()
    places: MemoryPlaces = kit.fs  # type: ignore[assignment]
    kit.write(9)
    begun = len(places.states)
    kit.round()
    assert len(places.states) - begun > 6
    for ops, objects in places.states[begun:]:
        after = MemoryPlaces(MemFileSystem(places.disk.kill_disk_at(ops)), objects)
        archived = read_archive(after, kit.engine.store_id, BUCKET)  # type: ignore[arg-type]
        assert archived == kit.logged()[: len(archived)]
        next_one = on_objects(after)
        next_one.round()
        assert next_one.archived() == kit.logged()
        assert not [name for name in next_one.names() if name.endswith(".part")]


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=12))
def test_of_two_daemons_that_meet_one_goes_on_and_the_other_is_told(steps: list[tuple[bool, int]]) -> None:
    kits = twins()
    for second, count in steps:
        kits[second].write(count)
        kits[second].archiver.round()
        archived = kits[0].archived()
        assert any(archived == history(kit)[: len(archived)] for kit in kits)
    for kit in kits:
        kit.write(5)
        kit.archiver.round()
    assert sorted(["ARCHIVE_FOREIGN" in kit.codes() for kit in kits]) == [False, True]
    owner = next(kit for kit in kits if "ARCHIVE_FOREIGN" not in kit.codes())
    assert owner.archived() == history(owner)


def during(kit: ArchiveKit, change: int, then: Callable[[], object]) -> None:
    """Do something else when the bucket has changed so many times from now on."""
    places: MemoryPlaces = kit.fs  # type: ignore[assignment]
    before, left = places.objects.on_change, [change]

    def on_change() -> None:
        before()
        left[0] -= 1
        if left[0] == 0:
            then()

    places.objects.on_change = on_change


@pytest.mark.parametrize("change", range(1, 12))
@pytest.mark.parametrize("count", [1, 9])
@pytest.mark.parametrize("segment_size", [SEGMENT, 8192], ids=["whole files", "pieces"])
def test_two_rounds_at_the_same_time_leave_no_mixture(change: int, count: int, segment_size: int) -> None:
    first, second = twins(segment_size)
    first.write(count)
    second.write(count + 1)
    during(first, change, second.archiver.round)
    first.archiver.round()
    for _ in range(2):
        for kit in (first, second):
            kit.write()
            kit.archiver.round()
    archived = first.archived()
    assert any(archived == history(kit)[: len(archived)] for kit in (first, second))
    assert sorted(["ARCHIVE_FOREIGN" in kit.codes() for kit in (first, second)]) == [False, True]


@pytest.mark.parametrize("problem", [StoreProblem.UNREACHABLE, StoreProblem.ACCESS_DENIED, StoreProblem.NO_BUCKET])
@pytest.mark.parametrize("method", ["facts", "create", "rename", "unlink", "read"])
def test_a_store_that_refuses_is_an_alarm_and_no_more(
    problem: StoreProblem, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = on_objects()
    kit.create()
    kit.write(2)
    kit.round()
    kit.write(9)
    places: MemoryPlaces = kit.fs  # type: ignore[assignment]

    def refuse(*_: object, **__: object) -> None:
        raise StoreError(problem, BUCKET)

    with monkeypatch.context() as patched:
        patched.setattr(places.objects, method, refuse)
        assert kit.archiver.round() is not None
    assert kit.codes() == ["ARCHIVE_FAILING"]
    assert problem.text in kit.text("ARCHIVE_FAILING")
    assert kit.upsert(["x"]).durable
    kit.round()
    assert kit.archived() == kit.logged()
    assert kit.codes() == []
    assert not [name for name in kit.names() if name.endswith(".part")]
