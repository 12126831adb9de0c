"""Comparing snapshots with each other and with the live store: what is told, what is read for it, what is refused."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from holdfastd.engine import row_candidates, row_diff, snapshot_pairs
from holdfastd.engine.operations import OperationState
from holdfastd.engine.snapshot_diff import sample_of
from holdfastd.engine.snapshot_stage import staged_to_read
from holdfastd.engine.snapshots import DiffRequest
from holdfastd.errors import Corruption, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from holdfastd.format import hashing
from holdfastd.model import Metric
from tests.support.chains import chained, filled
from tests.support.diffs import SAMPLE, assert_diff
from tests.support.engines import CALLER, rows
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.segment_damages import file_of, kit_with_two_segments, lose, start
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return filled()


@pytest.fixture
def stagings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids of the chains that were put together."""
    found: list[list[str]] = []

    @contextmanager
    def staged(context: Any, chain: Any, *rest: Any) -> Iterator[Any]:
        found.append(chain.ids)
        with staged_to_read(context, chain, *rest) as read:
            yield read

    monkeypatch.setattr(snapshot_pairs, "staged_to_read", staged)
    return found


@contextmanager
def nothing_left(kit: SnapshotKit) -> Iterator[None]:
    """The block leaves the store and its directories as they were."""
    before, names = observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR)
    yield
    assert (observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR)) == (before, names)


def one(found: dict[str, Any]) -> dict[str, Any]:
    """The only collection of a comparison."""
    (entry,) = found["collections"]
    return dict(entry)


def counts(found: dict[str, Any]) -> tuple[int, ...]:
    entry = one(found)
    return tuple(entry[key] for key in ("added", "removed", "vector_changed", "payload_changed", "unchanged"))


def elsewhere(kit: SnapshotKit, path: str, **request: Any) -> SnapshotKit:
    """Another store, into which a snapshot of this one was restored."""
    other = SnapshotKit(seed=99)
    other.put("/carried.snap", kit.fs.read(path))
    other.restore("/carried.snap", **request)
    return other


# What is told ---------------------------------------------------------------------------------------------------------


def test_rows_count_in_each_way_in_which_they_differ(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    kit.upsert(["e", "f"], 5, 6, payloads=[b'{"n":5}', None])
    made = kit.later()
    kit.upsert(["a", "b", "e"], 1, 20, -5, payloads=[b'{"n":9}', None, b"{}"])
    kit.upsert(["c", "z"], 3, 26, payloads=[b"{}", None])
    kit.delete("d")
    found = kit.diff(made.id)
    assert (found["first"], found["second"], found["identical"]) == (made.id, "live", False)
    assert (found["first_sequence"], found["second_sequence"]) == (made.record.sequence, kit.engine.sequence)
    assert one(found) == {
        "collection": "c",
        "change": "changed",
        "first_count": 6,
        "second_count": 6,
        "added": 1,
        "removed": 1,
        "changed": 3,
        "vector_changed": 2,
        "payload_changed": 2,
        "unchanged": 2,
        "added_ids": ["z"],
        "removed_ids": ["d"],
        "vector_changed_ids": ["b", "e"],
        "payload_changed_ids": ["a", "e"],
        "drift_count": 2,
        "largest_drift": pytest.approx(2.0),
        "mean_drift": pytest.approx(1.0),
        "notes": [],
    }
    assert stagings == []


def test_what_was_written_again_as_it_was_has_not_changed(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    made = kit.later()
    kit.upsert(["b", "d"], 2, 4)
    kit.delete("a")
    kit.upsert(["a"], 1, payloads=[b'{"n":1}'])
    found = kit.diff(made.id)
    assert (found["identical"], one(found)["change"]) == (True, "none")
    kit.upsert(["b"], 200)
    assert counts(kit.diff(made.id)) == (0, 0, 1, 0, 3)
    assert stagings == []


def test_vectors_differ_bit_for_bit(kit: SnapshotKit) -> None:
    kit.upsert(["b"], 0.0)
    made = kit.later()
    kit.upsert(["b"], -0.0)
    assert counts(kit.diff(made.id)) == (0, 0, 1, 0, 3)


def test_a_vector_without_a_direction_has_changed_and_has_no_drift(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.upsert(["b"], 0.0)
    entry = one(kit.diff(made.id))
    assert (entry["vector_changed"], entry["drift_count"], entry["largest_drift"], entry["mean_drift"]) == (
        1,
        0,
        None,
        None,
    )


def test_other_dimensions_and_settings_are_told(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.engine.collections.create("c", 3, metric=Metric.DOT, caller=CALLER)
    kit.engine.points.upsert("c", ["a", "b"], rows(1, 2, dimensions=3), b"", caller=CALLER)
    with nothing_left(kit):
        entry = one(kit.diff(made.id))
    assert (entry["removed"], entry["vector_changed"], entry["payload_changed"], entry["drift_count"]) == (2, 2, 1, 0)
    assert entry["notes"] == [
        "not the same collection, but one of the same name: made again, restored, or of another store; rows were "
        "matched by their ids",
        "2 dimensions on the first side, 3 on the second: every vector differs, and no drift can be told",
        "the metric is cosine on the first side, dot on the second",
    ]


def test_settings_alone_are_a_difference(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.engine.collections.create("c", 2, metric=Metric.DOT, caller=CALLER)
    kit.upsert(list("abcd"), payloads=[b'{"n":1}', None, b"{}", None])
    found = kit.diff(made.id)
    assert (found["identical"], one(found)["change"], one(found)["unchanged"]) == (False, "changed", 4)


def test_a_collection_of_one_side_only_is_told_whole_and_not_read(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    made = kit.later()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("d")
    kit.upsert(["x", "y"], name="d")
    found = kit.diff(made.id)
    shown = [(each["collection"], each["change"], each["added"], each["removed"]) for each in found["collections"]]
    assert shown == [("c", "removed", 0, 4), ("d", "added", 2, 0)]
    assert [each["added_ids"] + each["removed_ids"] for each in found["collections"]] == [[], []]
    assert stagings == []


def test_aliases_that_lead_elsewhere_are_told(kit: SnapshotKit) -> None:
    kit.create("d")
    for alias, name in (("gone", "c"), ("moved", "c"), ("kept", "d")):
        kit.engine.collections.create_alias(alias, name, caller=CALLER)
    made = kit.later()
    kit.engine.collections.delete_alias("gone", caller=CALLER)
    kit.engine.collections.switch_alias("moved", "d", caller=CALLER)
    kit.engine.collections.create_alias("new", "d", caller=CALLER)
    found = kit.diff(made.id)
    assert found["aliases"] == [
        {"alias": "gone", "first": "c", "second": None},
        {"alias": "moved", "first": "c", "second": "d"},
        {"alias": "new", "first": None, "second": "d"},
    ]
    assert (found["identical"], {each["change"] for each in found["collections"]}) == (False, {"none"})
    assert [each["alias"] for each in kit.diff(made.id, collection="c")["aliases"]] == ["gone", "moved"]


def test_a_snapshot_of_one_collection_says_nothing_of_the_others(kit: SnapshotKit) -> None:
    kit.create("d")
    only = kit.later(collection="c")
    other = kit.later(collection="d")
    kit.upsert(["z"], name="d")
    found = kit.diff(only.id)
    assert ([each["collection"] for each in found["collections"]], found["uncovered"]) == (["c"], ["d"])
    assert found["identical"]
    assert found["warnings"] == [f"not compared: d, since {only.id} was made of other collections alone"]
    assert kit.diff(only.id, collection="c")["warnings"] == [], "no more was asked for"
    with pytest.raises(InvalidArgument, match="have nothing to compare: of c, d only one of them was made"):
        kit.diff(only.id, other.id)
    with pytest.raises(InvalidArgument, match="of d only one of them was made"):
        kit.diff(only.id, collection="d")
    with pytest.raises(NotFound, match="holds a collection 'nope'") as caught:
        kit.diff(only.id, collection="nope")
    assert caught.value.hint == "they hold c, d"
    with pytest.raises(InvalidArgument, match="the live store is the same as itself"):
        kit.diff("live", "live")


def test_ids_are_named_in_their_order_and_no_more_than_asked_for(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.upsert([f"n{n}" for n in (5, 3, 1, 4, 2)])
    assert one(kit.diff(made.id, sample=2))["added_ids"] == ["n1", "n2"]
    assert one(kit.diff(made.id))["added_ids"] == ["n1", "n2", "n3", "n4", "n5"]


# What is read ---------------------------------------------------------------------------------------------------------


def test_the_live_store_knows_what_changed_since_its_own_snapshot(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    full, middle, last = chained(kit)
    kit.upsert(["q"], 7)
    assert counts(kit.diff(full.id)) == (2, 1, 3, 1, 0)
    assert counts(kit.diff(middle.path)) == (2, 1, 1, 0, 2)
    kit.engine.checkpoint()
    kit.delete("d")
    kit.reopen()
    assert counts(kit.diff("live", last.id)) == (1, 1, 0, 0, 3)
    assert stagings == []


def test_history_that_is_gone_is_read_from_the_snapshot(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    first, then = kit.later(), observe(kit.engine)
    kit.upsert(["a", "x"], 10, 11)
    kit.delete("b")
    kit.later()
    kit.upsert(["x"], 12)
    kit.engine.checkpoint()
    assert_diff(kit.diff(first.id, sample=SAMPLE), then, observe(kit.engine))
    assert stagings == [[first.id]]


def test_the_younger_chain_holds_both_moments(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    full, middle, last = chained(kit, compress=True)
    assert counts(kit.diff(full.id, last.id)) == (1, 1, 3, 1, 0)
    assert counts(kit.diff(last.id, middle.id)) == (1, 1, 1, 0, 2)
    assert stagings == [[full.id, middle.id, last.id]] * 2


def test_full_snapshots_and_strangers_are_read(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    first = kit.later()
    state = observe(kit.engine)
    kit.upsert(["a", "n"], 10, 11)
    kit.delete("d")
    second = kit.later(compress=True)
    now = observe(kit.engine)
    with nothing_left(kit):
        assert_diff(kit.diff(first.id, second.id, sample=SAMPLE), state, now)
    assert stagings == [[first.id], [second.id]]
    other = elsewhere(kit, first.path)
    other.upsert(["other"], 1)
    theirs = observe(other.engine)
    other.put("/second.gz", kit.fs.read(second.path))
    del stagings[:]
    found = other.diff("/second.gz", sample=SAMPLE)
    assert_diff(found, now, theirs)
    assert found["warnings"] == [
        f"{second.id} and live are of different stores: collections were matched by name alone"
    ]
    assert "matched by their ids" in one(found)["notes"][0]
    assert stagings == [[second.id]]


def test_what_is_equal_is_not_read_whatever_its_history(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    made = kit.later()
    other = elsewhere(kit, made.path)
    found = other.diff("/carried.snap")
    assert (found["identical"], one(found)["unchanged"], stagings) == (True, 4, [])


def test_a_copied_data_directory_is_no_shared_history(kit: SnapshotKit, stagings: list[list[str]]) -> None:
    base = kit.later()
    kit.sync_log()
    twin = SnapshotKit(MemFileSystem(kit.fs.crash_disk_at(kit.fs.ops, random.Random(1), "prefix")), seed=5)
    kit.upsert(["a", "mine"], 50, 51)
    mine = kit.later()
    twin.upsert(["b", "theirs"], 60, 61)
    twin.upsert(["more"], 62)
    twin.put("/mine.snap", kit.fs.read(mine.path))
    found = twin.diff("/mine.snap", sample=SAMPLE)
    assert_diff(found, observe(kit.engine), observe(twin.engine))
    assert "holds what this one never held" in found["warnings"][0]
    assert stagings == [[mine.id]]
    assert counts(twin.diff(base.id)) == (2, 0, 1, 0, 3)


def test_ids_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """All ids fall on three hashes, in every index."""

    def few(id: bytes) -> bytes:
        return bytes(7) + bytes([hashlib.sha256(id).digest()[0] % 3])

    few_hashes = SimpleNamespace(xxh3_64_digest=few, xxh3_128_digest=hashing.xxhash.xxh3_128_digest)
    monkeypatch.setattr(hashing, "xxhash", few_hashes)
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert([f"id-{n}" for n in range(30)])
    kit.engine.checkpoint()
    first, then = kit.later(), observe(kit.engine)
    kit.upsert([f"id-{n}" for n in range(20, 40)], *range(100, 120))
    kit.delete(*(f"id-{n}" for n in range(5)))
    second, now = kit.later(), observe(kit.engine)
    increment = kit.later(incremental=True, base_id=first.id)
    assert_diff(kit.diff(first.id, sample=SAMPLE), then, now)
    assert_diff(kit.diff(first.id, second.id, sample=SAMPLE), then, now)
    assert_diff(kit.diff(first.id, increment.id, sample=SAMPLE), then, now)


def test_only_so_many_rows_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, gathered, compared = 40, [], []
    gather, compare = row_candidates._Side.gather, row_diff._Comparison._look_up

    def counting(side: Any, wanted: Any) -> Any:
        found = gather(side, wanted)
        gathered.append(len(found[1]))
        return found

    def looking(comparison: Any, part: Any, rows: Any) -> None:
        compared.append(len(rows))
        compare(comparison, part, rows)

    monkeypatch.setattr(row_candidates, "GROUP_ROWS", limit)
    monkeypatch.setattr(row_diff, "PIECE_BYTES", 7 * 4 * 2)
    monkeypatch.setattr(row_candidates._Side, "gather", counting)
    monkeypatch.setattr(row_diff._Comparison, "_look_up", looking)
    kit = SnapshotKit()
    kit.create("c")
    ids = [f"{n:04}" for n in range(600)]
    kit.upsert(ids)
    first, then = kit.later(), observe(kit.engine)
    kit.upsert(ids[::2], *range(1000, 1300))
    second = kit.later()
    assert_diff(kit.diff(first.id, second.id, sample=SAMPLE), then, observe(kit.engine))
    assert len(gathered) > 10
    assert max(map(sum, zip(gathered[::2], gathered[1::2], strict=True))) <= limit
    assert (sum(compared), max(compared)) == (300, 7)


def test_many_differences_share_the_ids_that_are_named(kit: SnapshotKit) -> None:
    assert [sample_of(1000, pairs) for pairs in (0, 1, 10, 5000)] == [1000, 1000, 100, 1]
    assert (sample_of(10, 50), sample_of(5000, 1)) == (10, 1000)


# What is refused ------------------------------------------------------------------------------------------------------


def test_a_damaged_link_is_named_and_remembered(kit: SnapshotKit) -> None:
    full, middle, last = chained(kit)
    other = kit.later()
    kit.fs.damage(middle.path, middle.record.size_bytes // 2, b"\xff" * 8)
    with nothing_left(kit), pytest.raises(Corruption) as caught:
        kit.diff(full.id, last.id)
    assert middle.path in caught.value.message
    assert kit.engine.snapshots.get(middle.id).state == "damaged"
    assert one(kit.diff(last.id, other.id))["change"] == "none", "what is equal is not read"


def test_what_does_not_add_up_is_not_told(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, _ = chained(kit)
    second = kit.later()

    def forgetful(*args: Any) -> Any:
        old, new = row_candidates.by_hash(*args)
        part, marked = next(old.pieces(1))
        old.clear(part, marked)
        return old, new

    monkeypatch.setattr(snapshot_pairs, "by_hash", forgetful)
    with nothing_left(kit), pytest.raises(Corruption, match="do not lead from what") as caught:
        kit.diff(second.id, first.id)
    assert caught.value.reason == "DIGEST_MISMATCH"


def test_a_missing_link_is_named(kit: SnapshotKit) -> None:
    full, middle, last = chained(kit)
    content = kit.fs.read(middle.path)
    kit.fs.unlink(middle.path)
    with nothing_left(kit), pytest.raises(FailedPrecondition, match=f"{middle.id} is missing"):
        kit.diff(full.id, last.id)
    kit.put(f"/usb/{middle.id}.snap", content)
    assert counts(kit.diff(full.id, last.id, base_path="/usb")) == (1, 1, 3, 1, 0)
    with pytest.raises(NotFound):
        kit.diff("snap-2001-01-01-000000")


def test_too_little_room_is_told_before_anything_is_staged(
    kit: SnapshotKit, stagings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _, _ = chained(kit)
    second = kit.later()
    monkeypatch.setattr(kit.fs, "free_bytes", lambda _: 100)
    with nothing_left(kit), pytest.raises(ResourceExhausted, match="100 bytes free") as caught:
        kit.diff(first.id, second.id)
    assert caught.value.hint == "free space there, or compare one collection at a time with --collection"
    assert stagings == []
    assert counts(kit.diff(first.id))[0] == 1, "what takes no room needs none"


def meanwhile(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, action: Callable[[str], object]) -> OperationState:
    """Compare two full snapshots, with an action once both have been staged; how it ended."""
    first, _, _ = chained(kit)
    second = kit.later()
    ran: list[str] = []

    def compared(*args: Any) -> Any:
        (running,) = (each for each in kit.engine.operations.list() if not each.state.final)
        ran.append(running.id)
        action(first.id)
        return row_candidates.by_hash(*args)

    monkeypatch.setattr(snapshot_pairs, "by_hash", compared)
    request = DiffRequest(first.id, second.id)
    ended = kit.engine.operations.wait(kit.engine.snapshots.start_diff(request, caller=CALLER).id)
    assert ran == [ended.id]
    return ended.state


def test_a_cancelled_comparison_leaves_nothing(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    names = kit.fs.listdir(COLLECTIONS_DIR)

    def cancel(_: str) -> None:
        assert len(kit.fs.listdir(COLLECTIONS_DIR)) == len(names) + 2
        (running,) = (each for each in kit.engine.operations.list() if not each.state.final)
        kit.engine.operations.cancel(running.id)

    assert meanwhile(kit, monkeypatch, cancel) is OperationState.CANCELLED
    assert kit.fs.listdir(COLLECTIONS_DIR) == names


def test_nobody_deletes_what_is_being_read(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def delete(snapshot: str) -> None:
        with pytest.raises(FailedPrecondition) as caught:
            kit.engine.snapshots.delete(snapshot)
        refused.append(caught.value.reason)

    assert meanwhile(kit, monkeypatch, delete) is OperationState.SUCCEEDED
    assert refused == ["SNAPSHOT_IN_USE"]


def test_what_goes_on_meanwhile_is_not_seen(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    made, then = kit.later(), observe(kit.engine)
    kit.upsert(["x"], 1)
    now: list[StoreState] = [observe(kit.engine)]
    live_side = snapshot_pairs.PairReader.compare

    def compare(reader: Any, pairs: Any) -> Any:
        kit.upsert(["a", "y"], 5, 6)
        kit.delete("x", "b")
        kit.engine.checkpoint()
        return live_side(reader, pairs)

    monkeypatch.setattr(snapshot_pairs.PairReader, "compare", compare)
    assert_diff(kit.diff(made.id, sample=SAMPLE), then, now[0])


def test_a_quarantined_collection_is_not_compared_and_others_are() -> None:
    kit = kit_with_two_segments()
    made = kit.later()
    lose(kit.fs, file_of(kit, "vectors.npy"))
    start(kit)
    with pytest.raises(Corruption, match="is quarantined, so it cannot be compared; others can, by name"):
        kit.diff(made.id)
    assert kit.diff(made.id, collection="other")["identical"]


def test_the_same_request_has_one_answer(kit: SnapshotKit) -> None:
    made = kit.later()
    start = kit.engine.snapshots.start_diff
    caller = replace(CALLER, request_id="once")
    first = start(DiffRequest(made.id), caller=caller)
    assert kit.engine.operations.wait(first.id).state is OperationState.SUCCEEDED
    assert start(DiffRequest(made.id), caller=caller).id == first.id
    with pytest.raises(InvalidArgument, match="once"):
        start(DiffRequest("live", made.id), caller=caller)
