"""An object store that hangs, is away, or denies: whoever does not ask it does not wait for it, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import obstore
import pytest

from holdfastd.engine.history import Ending
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.operations import OperationState
from holdfastd.engine.snapshot_holds import Holds
from holdfastd.engine.snapshots import Marks, PruneRequest, SnapshotRequest
from holdfastd.errors import FailedPrecondition, NotFound, PermissionDenied, Unavailable
from holdfastd.storage.files import Cache
from holdfastd.storage.store_errors import StoreError, StoreProblem
from tests.support.engines import CALLER
from tests.support.object_memory import MemoryPlaces
from tests.support.snapshots import SnapshotKit

PLACE = "s3://bucket/shop"
LIMIT_SECONDS = 60.0


@pytest.fixture
def places() -> MemoryPlaces:
    return MemoryPlaces()


@pytest.fixture
def kit(places: MemoryPlaces) -> SnapshotKit:
    kit = SnapshotKit(places, seed=7)  # type: ignore[arg-type]  # it has what a kit uses of one
    kit.create("c")
    kit.upsert(["a", "b"], 1, 2)
    return kit


class Hanging:
    """The calls of one method of a store that do not come back before they are let go."""

    def __init__(self, places: MemoryPlaces, method: str, when: Callable[[str], bool] = lambda path: True) -> None:
        self.reached, self._go = threading.Event(), threading.Event()
        self.was_waited_for = False
        real = getattr(places.objects, method)

        def hangs(path: str, *more: Any, **named: Any) -> Any:
            if when(path):
                self.reached.set()
                self.was_waited_for |= not self._go.wait(LIMIT_SECONDS)
            return real(path, *more, **named)

        setattr(places.objects, method, hangs)

    def let_go(self) -> None:
        self._go.set()


@contextmanager
def meanwhile(hanging: Hanging, do: Callable[[], object]) -> Iterator[list[BaseException]]:
    """Runs ``do`` until it hangs, then the block, then lets it go on to its end; yields what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert hanging.reached.wait(LIMIT_SECONDS)
    try:
        yield raised
    finally:
        hanging.let_go()
        thread.join()
    assert not hanging.was_waited_for


def works_on_disks(kit: SnapshotKit, on_disk: str) -> None:
    """Whatever has nothing to do with the store."""
    snapshots = kit.engine.snapshots
    assert snapshots.listing().snapshots
    assert snapshots.get("latest")
    made = kit.later()
    assert kit.verify(made.id)["valid"]
    snapshots.mark(made.id, Marks(description="kept"), caller=replace(CALLER, request_id=f"mark {made.id}"))
    pruned = snapshots.prune(
        PruneRequest(RetentionPolicy(last=1), on_disk), caller=replace(CALLER, request_id=f"prune {made.id}")
    )
    assert len(pruned.order) == 1


def begun(kit: SnapshotKit) -> None:
    """Make a snapshot in the store, and wait for its end."""
    kit.engine.operations.wait(kit.engine.snapshots.start_create(SnapshotRequest(path=PLACE), caller=CALLER).id)


HANGING: dict[str, tuple[str, Callable[[SnapshotKit], object]]] = {
    "an id is looked for": ("listdir", begun),
    "an upload is completed": ("rename", begun),
    "one is deleted": (
        "unlink",
        lambda kit: kit.engine.snapshots.delete(kit.ids()[-1], caller=replace(CALLER, request_id="delete")),
    ),
    "somebody looks": ("facts", lambda kit: kit.engine.snapshots.listing(PLACE)),
}


@pytest.mark.parametrize("what", HANGING)
def test_a_store_that_hangs_holds_up_nobody_else(kit: SnapshotKit, places: MemoryPlaces, what: str) -> None:
    method, do = HANGING[what]
    kit.later(path=PLACE)
    on_disk = kit.engine.snapshots.get(kit.later().id).path.rpartition("/")[0]
    with meanwhile(Hanging(places, method), lambda: do(kit)) as raised:
        works_on_disks(kit, on_disk)
    assert raised == []


def test_what_is_cleaned_up_in_a_store_that_hangs_holds_up_nobody(kit: SnapshotKit, places: MemoryPlaces) -> None:
    on_disk = kit.later().path.rpartition("/")[0]

    def failing(source: str, target: str) -> None:
        raise StoreError(StoreProblem.UNREACHABLE, target)

    places.objects.rename = failing  # type: ignore[method-assign]
    with meanwhile(Hanging(places, "unlink"), lambda: begun(kit)):
        works_on_disks(kit, on_disk)
    assert (places.stores.objects(), kit.engine.snapshots.listing().warnings) == ({}, [])


def test_what_is_settled_in_a_store_that_hangs_holds_up_nobody(kit: SnapshotKit, places: MemoryPlaces) -> None:
    on_disk = kit.later().path.rpartition("/")[0]
    lost(kit, places)
    hanging = Hanging(places, "exists", lambda path: path.endswith(".part"))
    with meanwhile(hanging, lambda: kit.engine.snapshots.listing(PLACE)) as raised:
        works_on_disks(kit, on_disk)
        # Whoever looks there as well leaves what is in other hands alone.
        assert kit.engine.snapshots.listing(PLACE).warnings == []
    assert (raised, places.stores.objects()) == ([], {})


def lost(kit: SnapshotKit, places: MemoryPlaces) -> None:
    """A snapshot that was being written when the store went away: it leaves its claim, and a note."""
    reached, rename = places.stores.of, places.objects.rename

    def away(url: str) -> Any:
        raise StoreError(StoreProblem.UNREACHABLE, url)

    def leaving(source: str, target: str) -> None:
        places.stores.of = away  # type: ignore[method-assign]
        raise StoreError(StoreProblem.UNREACHABLE, target)

    places.objects.rename = leaving  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        kit.snapshot(path=PLACE)
    places.stores.of = reached  # type: ignore[method-assign]
    places.objects.rename = rename  # type: ignore[method-assign]
    assert list(places.stores.objects()) != []


def test_whoever_wants_what_is_being_deleted_waits_for_its_end(kit: SnapshotKit, places: MemoryPlaces) -> None:
    base = kit.later(path=PLACE)
    kit.upsert(["c"], 3)
    with meanwhile(Hanging(places, "unlink"), lambda: kit.engine.snapshots.delete(base.id)) as raised:
        begun = kit.engine.snapshots.start_create(SnapshotRequest(incremental=True), caller=CALLER)
    ended = kit.engine.operations.wait(begun.id)
    assert raised == []
    # Its base is gone: it is refused, and builds on nothing that is not there.
    assert ended.state is OperationState.FAILED
    with pytest.raises(NotFound):
        kit.engine.snapshots.mark(base.id, Marks(pinned=True))
    assert (kit.ids(), places.stores.objects()) == ([], {})


@pytest.mark.parametrize("wanted", ["in_use", "leaving"])
def test_nobody_begins_to_read_or_to_delete_what_is_being_deleted(wanted: str) -> None:
    holds, order = Holds(threading.Lock()), []

    def want() -> None:
        with getattr(holds, wanted)("x"):
            order.append("wanted")

    thread = threading.Thread(target=want)
    with holds.leaving("x"):
        thread.start()
        end = time.monotonic() + LIMIT_SECONDS
        while not holds._changed._waiters:  # type: ignore[attr-defined]
            assert time.monotonic() < end
            time.sleep(0.001)
        with holds.in_use("y"):
            assert (holds.is_in_use("y", own=0), holds.is_in_use("x", own=0)) == (True, False)
        order.append("gone")
    thread.join()
    assert order == ["gone", "wanted"]


# Away ----------------------------------------------------------------------------------------------------------------


def test_pruning_everywhere_leaves_what_lies_in_a_store_that_is_away(kit: SnapshotKit, places: MemoryPlaces) -> None:
    base = kit.later()
    kit.upsert(["c"], 3)
    above = kit.later(path=f"{PLACE}/one", incremental=True)
    old, new = kit.later(), kit.later()
    newest = kit.later(path=f"{PLACE}/two")
    asked: list[str] = []

    def away(path: str) -> Any:
        asked.append(path)
        raise StoreError(StoreProblem.UNREACHABLE, path)

    places.objects.facts = away  # type: ignore[method-assign]
    pruned = kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=1)))
    # The newest of those that are seen is kept, and what an increment out of sight builds on.
    assert [info.id for info in pruned.going] == [old.id]
    assert {each.info.id: each.reasons for each in pruned.decisions if each.reasons} == {
        newest.id: ("not to be seen",),
        new.id: ("last",),
        above.id: ("not to be seen",),
        base.id: (f"base of {above.id}",),
    }
    assert sum(f"{PLACE}/one cannot be looked into: the store does not answer" in each for each in pruned.warnings) == 1
    assert sum(f"{PLACE}/two cannot be looked into" in each for each in pruned.warnings) == 1
    # One bucket is waited for once.
    assert asked == [f"{PLACE}/one"]
    with pytest.raises(Unavailable):
        kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=1), f"{PLACE}/one"))
    del places.objects.facts
    pruned = kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=1)))
    assert {info.id for info in pruned.going} == {base.id, above.id, new.id}
    assert kit.ids() == [newest.id]


def test_a_store_that_denies_deleting_leaves_no_note_for_ever(kit: SnapshotKit, places: MemoryPlaces) -> None:
    def denied(path: str) -> None:
        raise StoreError(StoreProblem.ACCESS_DENIED, path, "HTTP 403")

    def failing(source: str, target: str) -> None:
        raise StoreError(StoreProblem.BUSY, target)

    places.objects.unlink, real = denied, places.objects.rename  # type: ignore[method-assign]
    places.objects.rename = failing  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        kit.snapshot(path=PLACE)
    assert kit.engine.snapshots.listing().warnings == []
    places.objects.rename = real  # type: ignore[method-assign]
    made = kit.later(path=PLACE)
    with pytest.raises(PermissionDenied, match="access is denied"):
        kit.engine.snapshots.delete(made.id)
    assert [info.state for info in kit.engine.snapshots.list(PLACE)] == ["ready"]
    assert kit.engine.snapshots.listing().warnings == []


def test_a_base_is_not_deleted_beside_an_object_that_nobody_may_read(kit: SnapshotKit, places: MemoryPlaces) -> None:
    base = kit.later(path=PLACE)
    kit.upsert(["c"], 3)
    above = kit.later(path=PLACE, incremental=True)
    other = MemoryPlaces()
    other.objects._stores = places.stores  # type: ignore[assignment]
    real = other.objects.reader

    def denied(path: str, *cache: Cache) -> Any:
        if path == above.path:
            raise StoreError(StoreProblem.ACCESS_DENIED, path, "HTTP 403, InvalidObjectState")
        return real(path, *cache)

    other.objects.reader = denied  # type: ignore[method-assign]
    there = SnapshotKit(other, seed=8)  # type: ignore[arg-type]
    assert [info.id for info in there.engine.snapshots.list(PLACE)] == [base.id]
    with pytest.raises(PermissionDenied, match=f"{above.id}.*InvalidObjectState"):
        there.engine.snapshots.delete(base.path)
    other.objects.reader = real  # type: ignore[method-assign]
    with pytest.raises(FailedPrecondition, match="is the base of"):
        there.engine.snapshots.delete(base.path)


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_of_what_has_the_name_after_a_failure_only_ones_own_is_removed(
    kit: SnapshotKit, places: MemoryPlaces, whose: str
) -> None:
    real = places.objects.rename

    def unheard(source: str, target: str) -> None:
        """The upload has become an object, or one of another daemon was quicker; the answer is lost."""
        if whose == "its own":
            real(source, target)
        else:
            other = MemoryPlaces()
            there = SnapshotKit(other, seed=8)  # type: ignore[arg-type]
            there.create("d")
            made = there.snapshot(path=PLACE)["path"].partition("bucket/")[2]
            obstore.put(places.stores.store, target.partition("bucket/")[2], other.stores.objects()[made])
        raise StoreError(StoreProblem.UNREACHABLE, target)

    places.objects.rename = unheard  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        kit.snapshot(path=PLACE)
    assert len(places.stores.objects()) == (0 if whose == "its own" else 1)
    assert [(info.foreign, info.state) for info in kit.engine.snapshots.list(PLACE)] == (
        [] if whose == "its own" else [(True, "ready")]
    )


@pytest.mark.parametrize("compressed", [False, True])
def test_a_moment_is_reached_by_what_lies_on_a_disk_while_the_store_is_away(
    kit: SnapshotKit, places: MemoryPlaces, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    on_disk = kit.later()
    kit.upsert(["a"], 3)
    in_store = kit.later(path=PLACE, compress=compressed)
    kit.upsert(["a"], 4)
    asked: dict[str, Any] = {"from_collection": "c", "ending": Ending(kit.engine.sequence)}

    def unreachable(url: str) -> Any:
        raise StoreError(StoreProblem.UNREACHABLE, url)

    monkeypatch.setattr(places.stores, "of", unreachable)
    for number, ending in enumerate((asked["ending"], Ending(time_us=kit.clock.now_us()))):
        found = kit.restore("latest", collection=f"copy-{number}", **asked | {"ending": ending})
        assert found["chain"] == [on_disk.id]
        (warning,) = found["warnings"]
        assert warning.startswith(f"{in_store.id} would have been nearer, and was passed over: {in_store.path}: ")
        assert kit.engine.collections.stats(f"copy-{number}").digest == kit.engine.collections.stats("c").digest
    with pytest.raises(Unavailable, match="the store does not answer"):
        kit.restore(in_store.id, collection="copy", **asked)
    with pytest.raises(Unavailable, match="the store does not answer") as caught:
        kit.restore("latest", collection="copy")
    to = in_store.record.sequence
    assert str(caught.value.hint).endswith(f"`holdfast storage snapshot restore latest --to {to}`")
    kit.engine.snapshots.delete(on_disk.id)
    with pytest.raises(Unavailable, match="the store does not answer"):
        kit.restore("latest", collection="copy", **asked)
