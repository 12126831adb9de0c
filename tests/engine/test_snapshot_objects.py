"""Snapshots in an object store, as the engine makes, finds and loses them: the real adapter over a store in memory.

A crash is every moment at which the disk or the store has changed: the next start finds the disk as it was then, the
store's complete objects, and nothing of an upload that was not.
"""

from __future__ import annotations

from typing import Any

import pytest

from holdfastd.engine.disk_errors import disk_errors_of
from holdfastd.engine.engine import Engine
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.snapshot_context import disk_error
from holdfastd.engine.snapshots import PruneRequest
from holdfastd.engine.store_refusals import store_refusal
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import (
    AlreadyExists,
    Corruption,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from holdfastd.storage.files import Cache, FileFacts
from holdfastd.storage.store_errors import StoreError, StoreProblem
from tests.support.engines import CALLER
from tests.support.memfs import MemFileSystem
from tests.support.object_memory import MemoryPlaces, Objects
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit

PLACE = "s3://bucket/shop"
IDS = ["a", "b", "c"]


def kit_on(places: MemoryPlaces, seed: int = 7) -> SnapshotKit:
    return SnapshotKit(places, seed=seed)  # type: ignore[arg-type]  # it has what a kit uses of one


@pytest.fixture
def places() -> MemoryPlaces:
    return MemoryPlaces()


@pytest.fixture
def kit(places: MemoryPlaces) -> SnapshotKit:
    kit = kit_on(places)
    kit.create("c")
    kit.upsert(["a", "b"], 1, 2)
    return kit


def paths(engine: Engine, **look: Any) -> list[tuple[str, str]]:
    return [(info.path, info.state) for info in engine.snapshots.list(**look)]


@pytest.mark.parametrize("compress", [False, True])
def test_a_snapshot_and_its_increment_in_a_store_are_as_good_as_on_a_disk(
    kit: SnapshotKit, places: MemoryPlaces, compress: bool
) -> None:
    base = kit.snapshot(path=PLACE, compress=compress)
    kit.upsert(["c"], 3)
    kit.delete("a")
    top = kit.later(path=PLACE, incremental=True, compress=compress)
    suffix = "gz" if compress else "snap"
    assert base["path"] == f"{PLACE}/{base['snapshot_id']}.{suffix}"
    made = {path.removeprefix("s3://bucket/") for path in (base["path"], top.path)}
    assert set(places.stores.objects()) == made
    assert kit.verify(top.path)["valid"]
    assert kit.diff("latest")["identical"]
    [expected] = kit.engine.collections.list()
    kit.delete("b", "c")
    kit.restore("latest", overwrite=True)
    [restored] = kit.engine.collections.list()
    assert (restored.vectors, restored.digest) == (expected.vectors, expected.digest)
    assert restored.vectors == 2
    with pytest.raises(FailedPrecondition, match="is the base of"):
        kit.engine.snapshots.delete(base["snapshot_id"])
    for id in (top.id, base["snapshot_id"]):
        kit.engine.snapshots.delete(id)
    assert (places.stores.objects(), kit.ids()) == ({}, [])


def crashes(places: MemoryPlaces) -> list[tuple[int, Objects]]:
    """Each moment: operations of the disk, and what the store held then; between two of them as after the first."""
    found = []
    following = [ops for ops, _ in places.states[1:]] + [places.ops]
    for (first, objects), last in zip(places.states, following, strict=True):
        found += [(ops, objects) for ops in range(first, last + 1)]
    return found


@pytest.mark.crash
def test_a_crash_at_any_moment_leaves_a_whole_snapshot_or_none(kit: SnapshotKit, places: MemoryPlaces) -> None:
    kit.snapshot(path=PLACE)
    kit.upsert(["c"], 3)
    before, start = observe(kit.engine, IDS).restarted(), places.ops
    made = kit.later(path=PLACE, incremental=True)
    outcomes = set()
    cuts = [(ops, objects) for ops, objects in crashes(places) if ops >= start]
    assert len(cuts) > 20
    for ops, objects in cuts:
        after = MemoryPlaces(MemFileSystem(places.disk.kill_disk_at(ops)), dict(objects))
        found = kit_on(after, seed=1000 + ops)
        assert observe(found.engine, IDS) == before
        found.engine.snapshots.list()
        listed = found.engine.snapshots.listing(PLACE)
        assert [warning for warning in listed.warnings if "was being written" in warning] == []
        assert [info.state for info in listed.snapshots] == ["ready"] * len(listed.snapshots)
        assert not [key for key in after.stores.objects() if key.endswith(".part")]
        assert {info.path.removeprefix("s3://bucket/") for info in listed.snapshots} == set(after.stores.objects())
        is_there = made.id in [info.id for info in listed.snapshots]
        outcomes.add(is_there)
        assert is_there or (ops, objects) != cuts[-1]
        assert found.engine.snapshots.listing().warnings == []
        assert found.verify("latest")["valid"]
    assert outcomes == {True, False}


def test_a_start_asks_no_store_and_says_what_it_does_not_know(kit: SnapshotKit, places: MemoryPlaces) -> None:
    made = kit.snapshot(path=PLACE)
    ops, objects = next(
        (ops, objects) for ops, objects in places.states if any(key.endswith(".part") for key in objects)
    )
    after = MemoryPlaces(MemFileSystem(places.disk.kill_disk_at(ops)), dict(objects))
    asked, reached = [], after.stores.of

    def asking(url: str) -> Any:
        asked.append(url)
        return reached(url)

    after.stores.of = asking  # type: ignore[method-assign]
    found = kit_on(after, seed=99)
    [warning] = found.engine.snapshots.listing().warnings
    assert asked == []
    assert made["snapshot_id"] in warning
    assert f"snapshot list --path {PLACE}" in warning
    assert found.engine.snapshots.listing(PLACE).warnings == []
    assert asked != []
    assert (after.stores.objects(), found.engine.snapshots.listing().warnings) == ({}, [])


def test_a_bucket_is_a_place_without_a_prefix(kit: SnapshotKit, places: MemoryPlaces) -> None:
    made = kit.snapshot(path="s3://bucket")
    assert paths(kit.engine, path="s3://bucket") == [(made["path"], "ready")]
    assert list(places.stores.objects()) == [f"{made['snapshot_id']}.snap"]
    kit.engine.snapshots.delete(made["path"])
    assert places.stores.objects() == {}


def test_a_failure_leaves_nothing_in_the_store(kit: SnapshotKit, places: MemoryPlaces) -> None:
    places.objects.rename = failing  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="the snapshot was not made: s3://bucket/shop") as caught:
        kit.later(path=PLACE)
    assert caught.value.reason == "STORE_UNREACHABLE"
    assert places.stores.objects() == {}
    del places.objects.rename
    assert kit.later(path=PLACE).state == "ready"


def test_what_a_store_that_went_away_keeps_is_settled_when_it_is_back(kit: SnapshotKit, places: MemoryPlaces) -> None:
    reached = places.stores.of

    def away(url: str) -> Any:
        raise StoreError(StoreProblem.UNREACHABLE, url)

    def leaving(source: str, target: str) -> None:
        places.stores.of = away  # type: ignore[method-assign]
        failing(source, target)

    places.objects.rename = leaving  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        kit.snapshot(path=PLACE)
    [warning] = kit.engine.snapshots.listing().warnings
    assert f"snapshot list --path {PLACE}" in warning
    with pytest.raises(Unavailable, match="the store does not answer"):
        kit.engine.snapshots.listing(PLACE)
    places.stores.of = reached  # type: ignore[method-assign]
    del places.objects.rename
    assert list(places.stores.objects()) != []
    assert kit.engine.snapshots.listing(PLACE).warnings == []
    assert (places.stores.objects(), kit.engine.snapshots.listing().warnings) == ({}, [])
    assert kit.later(path=PLACE).state == "ready"


def failing(source: str, target: str) -> None:
    raise StoreError(StoreProblem.UNREACHABLE, target)


def test_two_stores_that_share_a_place_never_touch_each_others_files(kit: SnapshotKit, places: MemoryPlaces) -> None:
    other = MemoryPlaces()
    other.objects._stores = places.stores  # type: ignore[assignment]
    there = kit_on(other, seed=8)
    there.create("d")
    real = other.objects.create

    def raced(path: str, size: int = 0, *, direct: bool = False) -> Any:
        """The first store is quicker, after the second has looked which ids are taken."""
        other.objects.create = real  # type: ignore[method-assign]
        kit.snapshot(path=PLACE)
        return real(path, size, direct=direct)

    other.objects.create = raced  # type: ignore[method-assign]
    made = there.snapshot(path=PLACE)
    assert made["snapshot_id"].endswith("-2")
    found = paths(kit.engine, path=PLACE)
    assert [state for _, state in found] == ["ready", "ready"]
    assert all(kit.verify(path)["valid"] for path, _ in found)
    assert not [key for key in places.stores.objects() if key.endswith(".part")]


@pytest.mark.crash
def test_a_crash_while_one_is_deleted_leaves_it_whole_or_forgotten(kit: SnapshotKit, places: MemoryPlaces) -> None:
    made = kit.snapshot(path=PLACE)
    start = places.ops
    kit.engine.snapshots.delete(made["snapshot_id"])
    outcomes, warned = set(), False
    for ops, objects in [(ops, objects) for ops, objects in crashes(places) if ops >= start]:
        after = MemoryPlaces(MemFileSystem(places.disk.kill_disk_at(ops)), dict(objects))
        found = kit_on(after, seed=1000 + ops)
        said = found.engine.snapshots.listing().warnings
        warned = warned or any("was being deleted" in each and f"list --path {PLACE}" in each for each in said)
        listed = found.engine.snapshots.listing(PLACE)
        assert ([info.state for info in listed.snapshots], listed.warnings) == (["ready"] * len(objects), [])
        assert (len(found.ids()), found.engine.snapshots.listing().warnings) == (len(objects), [])
        outcomes.add(len(objects))
    assert (outcomes, warned) == ({0, 1}, True)


def test_a_deletion_that_lost_the_store_stays_noted_until_it_is_back(kit: SnapshotKit, places: MemoryPlaces) -> None:
    made = kit.snapshot(path=PLACE)

    def away(path: str) -> None:
        raise StoreError(StoreProblem.UNREACHABLE, path)

    places.objects.unlink = away  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        kit.engine.snapshots.delete(made["snapshot_id"])
    [warning] = kit.engine.snapshots.listing().warnings
    assert "was being deleted" in warning
    del places.objects.unlink
    assert paths(kit.engine, path=PLACE) == [(made["path"], "ready")]
    assert kit.engine.snapshots.listing().warnings == []
    kit.engine.snapshots.delete(made["snapshot_id"])
    assert (places.stores.objects(), kit.ids()) == ({}, [])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("level", range(5))
def test_what_lies_in_a_store_is_verified_at_every_level(
    kit: SnapshotKit, places: MemoryPlaces, level: int, compress: bool
) -> None:
    kit.snapshot(path=PLACE, compress=compress)
    kit.upsert(["c"], 3)
    top = kit.later(path=PLACE, incremental=True, compress=compress)
    result = kit.verify(top.id, level=level)
    assert (result["valid"], result["reached"], result["receipt_kept"]) == (True, level, True)
    [info, _] = kit.engine.snapshots.list(PLACE)
    assert info.standing is not None
    assert info.standing.level == level


def test_a_list_believes_receipts_and_a_look_proves_them(kit: SnapshotKit, places: MemoryPlaces) -> None:
    made = kit.snapshot(path=PLACE)
    kit.verify(made["snapshot_id"])
    told = places.objects.facts

    def rewritten(path: str) -> dict[str, FileFacts]:
        return {name: FileFacts(each.size, each.modified_ns + 1) for name, each in told(path).items()}

    places.objects.facts = rewritten  # type: ignore[method-assign]
    places.objects.modified_ns = failing_to_tell  # type: ignore[method-assign]
    assert [info.standing is not None for info in kit.engine.snapshots.list()] == [True]
    assert [info.standing for info in kit.engine.snapshots.list(PLACE)] == [None]


def failing_to_tell(path: str) -> int:
    raise StoreError(StoreProblem.UNREACHABLE, path)


def test_a_store_that_refuses_to_be_read_is_no_damage(kit: SnapshotKit, places: MemoryPlaces) -> None:
    made = kit.snapshot(path=PLACE)
    open_ = places.objects.reader

    class Refused:
        def __init__(self, path: str, *cache: Cache) -> None:
            self._reader = open_(path, *cache)
            self.size, self._path = self._reader.size, path

        def read(self, offset: int, length: int) -> bytes:
            if offset > self.size // 2:
                raise StoreError(StoreProblem.OTHER, self._path, "HTTP 418")
            return self._reader.read(offset, length)

    places.objects.reader = Refused  # type: ignore[assignment, method-assign]
    with pytest.raises(FailedPrecondition, match="HTTP 418") as caught:
        kit.verify(made["snapshot_id"])
    assert caught.value.reason == "STORE_ERROR"
    del places.objects.reader
    assert paths(kit.engine, path=PLACE) == [(made["path"], "ready")]
    assert kit.verify(made["snapshot_id"])["valid"]


@pytest.mark.parametrize("path", [PLACE, None])
def test_pruning_looks_before_it_counts_on_what_lies_in_a_store(
    kit: SnapshotKit, places: MemoryPlaces, path: str | None
) -> None:
    old, kept, gone = kit.later(path=PLACE), kit.later(path=PLACE), kit.later(path=PLACE)
    places.objects.unlink(gone.path)
    pruned = kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=1), path))
    assert [info.id for info in pruned.going] == [old.id]
    assert {each.info.id: each.reasons for each in pruned.decisions if each.reasons} == {
        gone.id: ("missing",),
        kept.id: ("last",),
    }
    assert paths(kit.engine, path=PLACE) == [(gone.path, "missing"), (kept.path, "ready")]


def test_an_object_that_is_gone_shows_when_somebody_looks(kit: SnapshotKit, places: MemoryPlaces) -> None:
    made = kit.snapshot(path=PLACE)
    places.objects.unlink(made["path"])
    assert paths(kit.engine) == [(made["path"], "ready")]
    assert paths(kit.engine, path=PLACE) == [(made["path"], "missing")]
    with pytest.raises(NotFound):
        kit.restore(made["snapshot_id"], overwrite=True)
    kit.engine.snapshots.delete(made["snapshot_id"])
    assert kit.ids() == []


def test_a_base_that_cannot_be_read_now_is_not_called_damaged(kit: SnapshotKit, places: MemoryPlaces) -> None:
    base = kit.snapshot(path=PLACE)
    kit.upsert(["c"], 3)
    top = kit.later(incremental=True)

    def away(path: str, *cache: Cache) -> Any:
        raise StoreError(StoreProblem.UNREACHABLE, path)

    places.objects.reader = away  # type: ignore[method-assign]
    for read in (kit.verify, lambda id: kit.restore(id, overwrite=True)):
        with pytest.raises(Unavailable, match=f"{PLACE}/{base['snapshot_id']}.snap: the store does not answer"):
            read(top.id)
    del places.objects.reader
    assert kit.restore(top.id, overwrite=True)["status"] == "completed"
    assert kit.verify(top.id)["valid"]


def test_what_needs_a_disk_is_refused(kit: SnapshotKit) -> None:
    with pytest.raises(InvalidArgument, match="the log is synced with every write"):
        kit.engine.wal.enable(WalChanges(path=f"{PLACE}/wal"), caller=CALLER)
    base = kit.snapshot()
    kit.upsert(["c"], 3)
    kit.later(path=PLACE, incremental=True)
    with pytest.raises(FailedPrecondition, match="lies in an object store") as caught:
        kit.consolidate(base["snapshot_id"])
    assert caught.value.reason == "SNAPSHOT_IN_OBJECT_STORE"


def test_a_base_in_a_store_can_be_consolidated_away_from_increments_on_a_disk(
    kit: SnapshotKit, places: MemoryPlaces
) -> None:
    base = kit.snapshot(path=PLACE)
    kit.upsert(["c"], 3)
    top = kit.later(incremental=True)
    kit.consolidate(base["snapshot_id"])
    assert (places.stores.objects(), kit.ids()) == ({}, [top.id])
    assert kit.verify(top.id)["valid"]


def test_each_trouble_with_a_store_has_one_status_and_says_what_to_do() -> None:
    kinds = {problem: type(store_refusal(StoreError(problem, PLACE), "x")) for problem in StoreProblem}
    assert kinds[StoreProblem.ACCESS_DENIED] is PermissionDenied
    assert kinds[StoreProblem.NO_BUCKET] is NotFound
    assert kinds[StoreProblem.BUSY] is kinds[StoreProblem.UNREACHABLE] is Unavailable
    assert not {AlreadyExists, Corruption} & set(kinds.values())
    for problem in StoreProblem:
        error = StoreError(problem, f"{PLACE}/x", "HTTP 418")
        with pytest.raises(HoldfastError) as caught, disk_errors_of("listing"):
            raise error
        for said in (caught.value, disk_error(error, "listing", "/elsewhere")):
            assert (said.hint, said.metadata["path"], said.metadata["bucket"]) == (
                problem.hint,
                f"{PLACE}/x",
                "s3://bucket",
            )
            assert "HTTP 418" in said.message
