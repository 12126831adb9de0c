"""Incremental snapshots: what changed since the base and nothing else, whatever happened to the store in between.

Each is judged by what a restore of it gives, and by what its file holds.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Corruption, FailedPrecondition, InvalidArgument
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.snapshots import SnapshotKit

Step = Callable[[SnapshotKit], object]


@pytest.fixture
def kit() -> SnapshotKit:
    """A store with a collection of six points in a segment, and a full snapshot of everything."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(list("abcdef"), payloads=[b'{"n":1}', None, b"{}", None, None, None])
    kit.engine.checkpoint()
    tick(kit)
    kit.snapshot()
    tick(kit)
    return kit


def tick(kit: SnapshotKit) -> None:
    """Let a snapshot that follows have an id of its own, and be younger."""
    kit.clock.advance_us(2_000_000)


def increment(kit: SnapshotKit, **request: object) -> dict[str, object]:
    tick(kit)
    return kit.snapshot(incremental=True, **request)


def assert_gives_it_back(kit: SnapshotKit, snapshot: object, **request: object) -> None:
    """A restore of the snapshot over what became of its collections makes them what they are now."""
    expected = observe(kit.engine)
    for name in kit.engine.snapshots.get(str(snapshot)).collections:
        kit.engine.points.truncate(name, caller=CALLER)
    kit.restore(str(snapshot), overwrite=True, verify=True, **request)
    assert observe(kit.engine) == expected
    kit.reopen()
    assert observe(kit.engine) == expected


def rewrite(kit: SnapshotKit) -> None:
    kit.upsert(["a", "c"], 10, 30, payloads=[None, b'{"n":3}'])


def delete(kit: SnapshotKit) -> None:
    kit.delete("b", "f")


def delete_and_write_again(kit: SnapshotKit) -> None:
    kit.delete("a", "b")
    kit.upsert(["b"], 20)


def born_and_dead(kit: SnapshotKit) -> None:
    kit.upsert(["x", "y"], 7, 8)
    kit.delete("x")


def delete_everything(kit: SnapshotKit) -> None:
    kit.engine.points.truncate("c", caller=CALLER)


def delete_by_filter(kit: SnapshotKit) -> None:
    kit.engine.points.delete_where("c", "n IS NULL", caller=CALLER)


def nothing(_: SnapshotKit) -> None:
    """Nothing changes."""


CHANGES: list[tuple[Step, int, int]] = [
    (rewrite, 2, 0),
    (delete, 0, 2),
    (delete_and_write_again, 1, 1),
    (born_and_dead, 1, 0),
    (delete_everything, 0, 6),
    (delete_by_filter, 0, 5),
    (nothing, 0, 0),
]
"""What happens, how many rows an increment then has, and how many ids it says are gone."""
BETWEEN: dict[str, Step] = {
    "nothing": nothing,
    "a checkpoint": lambda kit: kit.engine.checkpoint(),
    "a kill": lambda kit: kit.reopen(),
    "a stop": lambda kit: kit.restart(),
}


@pytest.mark.parametrize("after", BETWEEN.values(), ids=[f"{name} after" for name in BETWEEN])
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize(("change", "rows", "gone"), CHANGES, ids=[row[0].__name__ for row in CHANGES])
def test_it_holds_what_was_written_and_what_is_gone(
    kit: SnapshotKit, change: Step, rows: int, gone: int, compress: bool, after: Step
) -> None:
    (base,) = kit.ids()
    change(kit)
    after(kit)
    made = increment(kit, compress=compress)
    assert (made["type"], made["base_id"], made["vectors"], made["deleted"]) == ("incremental", base, rows, gone)
    info = kit.engine.snapshots.get(str(made["snapshot_id"]))
    (member,) = info.record.members
    assert (member.whole, member.total_vectors) == (False, kit.engine.points.count("c"))
    assert kit.engine.snapshots.get(base).dependents == (info.id,)
    assert_gives_it_back(kit, made["snapshot_id"])


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_a_chain_of_increments_adds_up(kit: SnapshotKit, between: Step) -> None:
    states = []
    for step in (rewrite, delete, born_and_dead, delete_and_write_again, delete_by_filter):
        step(kit)
        between(kit)
        states.append((increment(kit)["snapshot_id"], kit.values()))
    for snapshot, values in states:
        result = kit.restore(str(snapshot), collection="copy", overwrite=True)
        assert result["chain"][-1] == snapshot
        assert kit.values("copy") == values
    assert len(kit.restore("latest", collection="last")["chain"]) == 6
    assert kit.verify("latest")["chain"] == kit.restore("latest", collection="again")["chain"]
    assert_gives_it_back(kit, "latest")


def test_rows_of_one_segment_are_told_apart_by_their_sequence(kit: SnapshotKit) -> None:
    """Those before the base and those after it, in a segment that one checkpoint wrote of both."""
    kit.upsert(["before"], 5)
    tick(kit)
    kit.snapshot()
    kit.upsert(["after"], 6)
    kit.engine.checkpoint()
    assert increment(kit)["vectors"] == 1
    assert_gives_it_back(kit, "latest")


def test_what_was_deleted_before_the_base_is_in_no_increment(kit: SnapshotKit) -> None:
    kit.delete("a")
    tick(kit)
    kit.snapshot()
    assert increment(kit)["deleted"] == 0


def test_a_collection_that_is_dropped_made_anew_or_new_is_told_by_its_uuid(kit: SnapshotKit) -> None:
    kit.create("gone")
    kit.create("new")
    kit.upsert(["p"], 1, name="gone")
    tick(kit)
    kit.snapshot()
    kit.engine.collections.drop("gone", caller=CALLER)
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("c", dimensions=3)
    kit.upsert(["a"], 9)
    kit.upsert(["q"], 2, name="new")
    made = increment(kit)
    assert made["collections"] == ["c", "new"]
    members = {member.name: member.whole for member in kit.engine.snapshots.get("latest").record.members}
    assert members == {"c": True, "new": False}
    assert made["warnings"] == [f"c is whole in it: {made['base_id']} does not hold it, or a later snapshot does"]
    assert_gives_it_back(kit, "latest")


def test_aliases_are_those_of_its_own_moment(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.engine.collections.create_alias("x", "c", caller=CALLER)
    tick(kit)
    kit.snapshot()
    kit.engine.collections.switch_alias("x", "d", caller=CALLER)
    increment(kit)
    kit.engine.collections.delete_alias("x", caller=CALLER)
    kit.restore("latest", overwrite=True)
    assert list(kit.engine.collections.aliases()) == [("x", "d")]


def test_what_was_restored_is_whole_since_it_is_another_collection(kit: SnapshotKit) -> None:
    kit.restore("latest", overwrite=True)
    kit.upsert(["z"], 26)
    made = increment(kit)
    assert made["vectors"] == 7
    assert kit.engine.snapshots.get("latest").record.members[0].whole
    assert_gives_it_back(kit, "latest")


def test_a_memory_collection_is_whole(kit: SnapshotKit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["p", "q"], 1, 2, name="m")
    tick(kit)
    kit.snapshot()
    kit.upsert(["p"], 3, name="m")
    assert increment(kit)["vectors"] == 2
    assert kit.restore("latest", collection="copy", from_collection="m")["vectors_restored"] == 2
    assert kit.values("copy") == {"p": 3.0, "q": 2.0}


def test_one_collection_builds_on_a_snapshot_of_all(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.upsert(["p"], 1, name="d")
    (base,) = kit.ids()
    rewrite(kit)
    made = increment(kit, collection="c")
    assert (made["base_id"], made["collections"], made["vectors"]) == (base, ["c"], 2)
    delete(kit)
    assert increment(kit, collection="c")["base_id"] == made["snapshot_id"]
    assert kit.restore("latest", collection="copy")["chain"] == [base, made["snapshot_id"], kit.ids()[0]]
    assert kit.values("copy") == kit.values()


def test_all_after_a_later_snapshot_of_one_has_that_one_whole(kit: SnapshotKit) -> None:
    """What died before the later snapshot may be forgotten, so that the older base is none for this collection."""
    (base,) = kit.ids()
    delete(kit)
    tick(kit)
    kit.snapshot(collection="c")
    rewrite(kit)
    made = increment(kit)
    assert (made["base_id"], made["vectors"], made["deleted"]) == (base, 4, 0)
    assert_gives_it_back(kit, "latest")


# The base -------------------------------------------------------------------------------------------------------------


def assert_no_base(kit: SnapshotKit, why: str, **request: object) -> None:
    before = kit.ids()
    with pytest.raises(FailedPrecondition, match=f"no snapshot that an incremental one could build on{why}") as caught:
        increment(kit, **request)
    assert caught.value.reason == "NO_BASE"
    assert "without --incremental" in caught.value.hint
    assert kit.ids() == before


def test_without_a_snapshot_there_is_no_base() -> None:
    kit = SnapshotKit()
    kit.create("c")
    assert_no_base(kit, "$")


def test_a_snapshot_of_one_is_no_base_for_all_nor_for_another(kit: SnapshotKit) -> None:
    kit.engine.snapshots.delete(kit.ids()[0])
    kit.create("d")
    kit.snapshot(collection="c")
    assert_no_base(kit, "$")
    assert_no_base(kit, "$", collection="d")


def test_the_newest_is_the_base_unless_another_is_named(kit: SnapshotKit) -> None:
    (first,) = kit.ids()
    rewrite(kit)
    tick(kit)
    second = kit.snapshot()["snapshot_id"]
    assert increment(kit)["base_id"] == second
    with pytest.raises(InvalidArgument, match=f"{first} cannot be the base of this snapshot") as caught:
        increment(kit, collection="c", base_id=first)
    assert (caught.value.reason, caught.value.field) == ("NO_BASE", "base_id")
    assert increment(kit, base_id=second)["base_id"] == second


def test_a_base_that_is_missing_is_passed_over_with_the_reason(kit: SnapshotKit) -> None:
    info = kit.engine.snapshots.get("latest")
    kit.fs.rename(info.path, "/elsewhere.snap")
    assert_no_base(kit, rf" \({info.id} is missing: {info.path}\)")
    kit.fs.rename("/elsewhere.snap", info.path)
    assert increment(kit)["base_id"] == info.id


def test_a_base_whose_end_is_damaged_is_found_before_anything_is_written(kit: SnapshotKit) -> None:
    info = kit.engine.snapshots.get("latest")
    kit.fs.damage(info.path, info.record.size_bytes - 1024 - 700, b"#")
    with pytest.raises(Corruption, match="SHA256SUMS"):
        increment(kit)
    assert len(kit.ids()) == 1


def test_another_stores_snapshot_is_no_base(kit: SnapshotKit) -> None:
    other = SnapshotKit(seed=99)
    other.create("c")
    other.clock.advance_us(9_000_000)
    path = str(other.snapshot()["path"])
    kit.engine.snapshots.delete(kit.ids()[0])
    kit.put(path, other.fs.read(path))
    assert_no_base(kit, "$")
    with pytest.raises(InvalidArgument, match="was made by another store"):
        increment(kit, base_id=path)


def test_after_a_newer_snapshot_is_deleted_an_older_one_is_no_base(kit: SnapshotKit) -> None:
    (first,) = kit.ids()
    rewrite(kit)
    tick(kit)
    kit.snapshot(collection="c")
    kit.engine.snapshots.delete(kit.ids()[0])
    assert_no_base(kit, rf" \({first} is older than what the store remembers of deletions\)", collection="c")


def test_history_that_was_not_kept_is_noticed(kit: SnapshotKit) -> None:
    """The proof by digests: were a death forgotten, no increment would be written."""
    rewrite(kit)
    collection = kit.engine._applier.catalog.resolve("c")
    (segment,) = collection.segments
    killed = segment.killed
    assert killed is not None
    killed[killed != 0] = 1
    collection.publish()
    with pytest.raises(Corruption, match="follow from the base and what changed since"):
        increment(kit)
    assert len(kit.ids()) == 1


# History that was cut -------------------------------------------------------------------------------------------------


def lossy() -> SnapshotKit:
    """A store whose log is synced when the system likes, with a snapshot and unsynced writes behind it."""
    kit = SnapshotKit(sync_mode=SyncMode.ASYNC)
    kit.create("c")
    kit.upsert(list("abc"))
    kit.snapshot()
    tick(kit)
    kit.upsert(["lost"], 9)
    kit.delete("a")
    return kit


def power_cut(kit: SnapshotKit) -> SnapshotKit:
    return SnapshotKit(kit.fs.crash(random.Random(3)), sync_mode=kit.sync_mode, seed=11)


def test_a_base_from_before_a_power_cut_is_one_as_long_as_its_moment_is_history(kit: SnapshotKit) -> None:
    again = power_cut(lossy())
    assert (again.engine.timeline, again.values()) == (2, {"a": 1.0, "b": 2.0, "c": 3.0})
    again.clock.advance_us(60_000_000)
    again.upsert(["b", "new"], 20, 4)
    made = increment(again)
    assert (made["vectors"], made["timeline"]) == (2, 2)
    assert_gives_it_back(again, "latest")


def test_a_base_beyond_what_a_power_cut_left_is_none() -> None:
    """A snapshot is never beyond its own store's log; one brought back from elsewhere may be."""
    kit = lossy()
    kit.sync_log()
    path = str(kit.snapshot()["path"])
    image = kit.fs.read(path)
    kit = power_cut(lossy())
    kit.put(path, image)
    kit.clock.advance_us(60_000_000)
    beyond = kit.engine.snapshots.get(path).id
    assert increment(kit)["base_id"] != beyond
    with pytest.raises(InvalidArgument, match="history was cut before"):
        increment(kit, base_id=path)


def test_without_a_log_a_base_is_one_after_a_kill(kit: SnapshotKit) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["x"], 8)
    tick(kit)
    base = kit.snapshot()["snapshot_id"]
    kit.upsert(["lost"], 9)
    kit.reopen()
    assert "lost" not in kit.values()
    kit.upsert(["y"], 10)
    made = increment(kit)
    assert (made["base_id"], made["vectors"]) == (base, 1)
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    assert_gives_it_back(kit, "latest")
