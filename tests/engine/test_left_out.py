"""A history without some of its operations: what comes of it, and what is refused."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from holdfastd.engine.change_codec import Logged
from holdfastd.engine.changes import DeleteIds
from holdfastd.engine.left_out import LeftOut, merged
from holdfastd.engine.tickets import Caller
from holdfastd.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.replays import ReplayKit
from tests.support.restores import directories

Step = Callable[[ReplayKit], object]


def upsert(*ids: str, value: float = 1.0, request_id: str = "") -> Step:
    caller = Caller(actor="test", request_id=request_id)
    return lambda kit: kit.upsert(ids, *([value] * len(ids)), caller=caller)


def delete(*ids: str) -> Step:
    return lambda kit: kit.delete(*ids)


def truncate(kit: ReplayKit) -> object:
    return kit.engine.points.truncate("c", caller=CALLER)


def store(steps: list[Step]) -> ReplayKit:
    """`c` and `d` at 1 and 2, then the steps from 3 on."""
    kit = ReplayKit(segment_size=1 << 16)
    kit.create("c")
    kit.create("d")
    for step in steps:
        step(kit)
    kit.engine.start()
    return kit


def same(kit: ReplayKit, name: str, oracle: ReplayKit) -> None:
    """Points, versions and digest are those of a store in which the left-out operations never happened."""
    assert kit.values(name) == oracle.values("c")
    assert kit.versions(name) == oracle.versions("c")
    assert kit.digest(name) == oracle.digest("c")


def undo(kit: ReplayKit, *skip: int | tuple[int, int], **more: Any) -> dict[str, Any]:
    ranges = tuple((each, each) if isinstance(each, int) else each for each in skip)
    return kit.replay(**{"collection": "c", "into": "undone", "skip": ranges} | more)


def refused(kind: type[Exception], kit: ReplayKit, *skip: int | tuple[int, int], **more: Any) -> Any:
    before, there = observe(kit.engine), directories(kit)
    with pytest.raises(kind) as caught:
        undo(kit, *skip, **more)
    assert observe(kit.engine) == before
    assert directories(kit) == there
    return caught.value


STEPS: list[Step] = [
    upsert("a", "b", value=1),
    upsert("x", "y", value=2, request_id="bad"),
    delete("b"),
    upsert("y2", "z", value=3, request_id="worse"),
    upsert("e", value=4),
]
"""Sequences 3 to 7; 4 and 6 are by themselves."""


def without(*sequences: int) -> ReplayKit:
    return store([step for sequence, step in enumerate(STEPS, 3) if sequence not in sequences])


@pytest.mark.parametrize("skip", [[4], [6], [4, 6], [5], [7], [(4, 7)], [(4, 6), (5, 7)], [3, 5]])
def test_what_is_left_out_never_happened(skip: list[int | tuple[int, int]]) -> None:
    kit = store(STEPS)
    sequences = {s for each in skip for s in ([each] if isinstance(each, int) else range(each[0], each[1] + 1))}
    done = undo(kit, *skip)
    same(kit, "undone", without(*sequences))
    assert (done["operations_skipped"], done["operations_replayed"]) == (len(sequences), 6 - len(sequences))
    assert kit.values("c") == without().values("c"), "the collection itself stays"
    kit.reopen()
    same(kit, "undone", without(*sequences))


def test_by_the_request_ids_that_they_came_with() -> None:
    kit = store(STEPS)
    undo(kit, skip_request_ids=("bad", "worse"))
    same(kit, "undone", without(4, 6))
    undo(kit, 7, skip_request_ids=("bad",), into="again")
    same(kit, "again", without(4, 7))
    error = refused(NotFound, kit, skip_request_ids=("nobody",), into="other")
    assert error.reason == "NOTHING_LEFT_OUT"
    assert "no operation with the request id nobody" in error.message


def test_each_of_the_request_ids_must_be_there() -> None:
    kit = store(STEPS)
    kit.upsert(["a"], name="d", caller=Caller(request_id="elsewhere"))
    for missing in ("nobody", "elsewhere"):
        error = refused(NotFound, kit, 7, skip_request_ids=("bad", missing))
        assert error.reason == "NOTHING_LEFT_OUT"
        assert f"no operation on the points of the collection came with the request id {missing}" in error.message


def test_by_a_request_id_that_many_came_with_from_a_snapshot() -> None:
    """A request id is free again after ten minutes: a nightly import may always have the same one."""
    steps = [step for number in range(20) for step in (upsert(f"n{number}", request_id="b"), upsert(f"k{number}"))]
    kit = store(STEPS[:1])
    kit.snapshot()
    for step in steps:
        kit.clock.advance_us(11 * 60 * 1_000_000)
        step(kit)
    kit.engine.collections.drop("c", caller=CALLER)
    dropped = kit.engine.sequence
    assert undo(kit, skip_request_ids=("b",), to_sequence=dropped - 1)["operations_skipped"] == 20
    same(kit, "undone", store([STEPS[0], *steps[1::2]]))


def test_by_what_the_request_ids_of_an_import_begin_with() -> None:
    batches = [upsert(f"n{number}", request_id=f"import-{number}") for number in range(12)]
    other = [upsert("k", request_id="import"), upsert("l", request_id="imports-1"), upsert("m")]
    kit = store([*batches, *other])
    assert undo(kit, skip_request_ids=("import-*",))["operations_skipped"] == 12
    same(kit, "undone", store(other))
    undo(kit, skip_request_ids=("import-1*", "import-11", "import"), into="again")
    same(kit, "again", store([batches[0], *batches[2:10], *other[1:]]))
    error = refused(NotFound, kit, skip_request_ids=("import-*", "export-*"), into="other")
    assert error.message.endswith("came with the request id export-*, and nothing was done")


def test_of_a_dropped_collection_whose_creation_was_trimmed() -> None:
    kit = store(STEPS[:1])
    kit.snapshot()
    log = kit.log
    assert log is not None
    kit.engine._committer.between_groups(log.rotate)
    kit.clock.advance_us(48 * 3600 * 1_000_000)
    for step in STEPS[1:]:
        step(kit)
    for _ in range(2):
        kit.engine.checkpoint()
    assert kit.engine.wal.status().first_sequence == 4
    kit.engine.collections.drop("c", caller=CALLER)
    undo(kit, skip_request_ids=("bad",), to_sequence=7)
    same(kit, "undone", without(4))


@pytest.mark.parametrize("again", [False, True])
def test_of_a_collection_that_was_made_again_only_the_new_one_counts(again: bool) -> None:
    """What the dropped one held is written by the new one, which depends on nothing of it."""

    def made_again(kit: ReplayKit) -> None:
        kit.engine.collections.drop("c", caller=CALLER)
        kit.create("c")

    later: list[Step] = [upsert("x", value=9), upsert("q"), upsert("x")]
    kit = store([*STEPS, made_again, *later])
    assert undo(kit, 4, *([11] if again else []))["operations_skipped"] == 1 + again
    same(kit, "undone", store([later[0], *later[2:]] if again else later))


def test_a_deletion_of_nothing() -> None:
    kit = store([upsert("a"), delete("nobody"), upsert("a")])
    undo(kit, 4)
    same(kit, "undone", store([upsert("a"), upsert("a")]))
    out, nothing = LeftOut(((1, 1),)), DeleteIds(uuid.uuid4(), [], np.empty(0, np.uint64))
    assert out.takes(Logged(nothing, "ann", "", 0), 1, None)
    some = DeleteIds(nothing.collection_id, [b"a"], np.ones(1, np.uint64))
    assert not out.takes(Logged(some, "ann", "", 0), 2, None)
    out.check()


def test_from_a_snapshot_that_is_older_than_what_is_left_out() -> None:
    kit = store(STEPS[:1])
    first = kit.snapshot()["snapshot_id"]
    for step in STEPS[1:]:
        step(kit)
    kit.clock.advance_us(2_000_000)
    kit.snapshot()
    assert undo(kit, 4)["snapshot_id"] == first
    same(kit, "undone", without(4))


def test_up_to_a_moment() -> None:
    kit = store(STEPS)
    undo(kit, 4, to_sequence=6)
    same(kit, "undone", without(4, 7))
    assert refused(NotFound, kit, 7, to_sequence=6, into="other").reason == "NOTHING_LEFT_OUT"


def test_it_can_be_rolled_on_with_what_came_later() -> None:
    kit = store(STEPS)
    undo(kit, 4)
    upsert("later")(kit)
    delete("e")(kit)
    assert kit.replay(collection="undone")["operations_replayed"] == 2
    oracle = without(4)
    upsert("later")(oracle)
    delete("e")(oracle)
    same(kit, "undone", oracle)
    kit.reopen()
    same(kit, "undone", oracle)


def test_a_dry_run_says_the_same_and_does_nothing() -> None:
    kit = store(STEPS)
    before, there = observe(kit.engine), directories(kit)
    planned = undo(kit, 4, validate_only=True)
    assert (planned["status"], planned["operations_skipped"], planned["operations_replayed"]) == ("planned", 1, 5)
    assert (observe(kit.engine), directories(kit)) == (before, there)
    upsert("x")(kit)
    assert refused(FailedPrecondition, kit, 4, validate_only=True).reason == "WRITTEN_SINCE"


@pytest.mark.parametrize(("later", "sequence"), [(upsert("n", "x"), 8), (delete("x"), 8)])
def test_points_written_since_are_named(later: Step, sequence: int) -> None:
    kit = store([*STEPS, later])
    error = refused(FailedPrecondition, kit, 4)
    assert error.reason == "WRITTEN_SINCE"
    assert f"1 point of what is left out was written or deleted again since: x (sequence {sequence})" in error.message
    assert "--before 4" in error.hint
    undo(kit, 4, 8)
    same(kit, "undone", without(4))
    undo(kit, 4, into="then", to_sequence=7)
    same(kit, "then", without(4))


def test_points_of_many_operations_are_remembered() -> None:
    imported = [upsert(*(f"p{number}" for number in range(first, first + 1 + first % 7))) for first in range(0, 200, 3)]
    kit = store([upsert("kept"), *imported, upsert("other")])
    last = 3 + len(imported)
    undo(kit, (4, last))
    same(kit, "undone", store([upsert("kept"), upsert("other")]))
    for id in ("p0", "p99", "p200"):
        upsert(id)(kit)
        error = refused(FailedPrecondition, kit, (4, last), (last + 2, kit.engine.sequence - 1), into="again")
        assert f"{id} (sequence {kit.engine.sequence})" in error.message


def test_of_many_a_few_are_named_and_all_are_counted() -> None:
    ids = [f"p{number}" for number in range(100)]
    kit = store([upsert(*ids), upsert(*ids[90:], value=2), delete(*ids[:95]), upsert("q")])
    error = refused(FailedPrecondition, kit, 3)
    assert error.message.startswith("100 points of what is left out were written or deleted again since: ")
    assert error.message.endswith(
        ": p90, p91, p92, p93, p94 and 5 more (sequence 4); p0, p1, p2, p3, p4 and 90 more (sequence 5)"
    )
    assert error.hint.startswith("leave those operations out as well (--skip 4 --skip 5), or take")
    undo(kit, 3, 4, 5)
    same(kit, "undone", store([upsert("q")]))


def test_of_many_operations_since_ten_are_named() -> None:
    kit = store([upsert("x", "y"), *[upsert("x")] * 11, delete("y")])
    error = refused(FailedPrecondition, kit, 3)
    assert error.message.startswith(
        "2 points of what is left out were written or deleted again since: x (sequence 4); "
    )
    assert error.message.endswith("x (sequence 13); and by 2 more operations")
    assert "--skip 13; `holdfast storage wal grep --id ID` finds the others)" in error.hint


class TestTruncate:
    BEFORE = (upsert("a", "b"), upsert("b", value=2))

    def test_what_it_deleted_is_there_again_beside_what_came_since(self) -> None:
        kit = store([*self.BEFORE, truncate, upsert("new"), upsert("new", value=9), delete("new"), upsert("new", "n2")])
        undo(kit, 5)
        oracle = store([*self.BEFORE, upsert("new"), upsert("new", value=9), delete("new"), upsert("new", "n2")])
        same(kit, "undone", oracle)

    @pytest.mark.parametrize("later", [upsert("new", "b", value=9), delete("b", "nobody")])
    def test_what_it_deleted_and_came_again_is_refused(self, later: Step) -> None:
        kit = store([*self.BEFORE, truncate, upsert("z"), later])
        assert "b (sequence 7)" in refused(FailedPrecondition, kit, 5).message
        planned = undo(kit, 5, validate_only=True)
        assert any("turns out when it is carried out" in warning for warning in planned["warnings"])

    def test_behind_one_that_stays_nothing_depends_on_what_was_before(self) -> None:
        kit = store([*self.BEFORE, truncate, upsert("b", value=9)])
        undo(kit, 4)
        same(kit, "undone", store([self.BEFORE[0], truncate, upsert("b", value=9)]))


class TestRefused:
    def test_what_is_no_change_of_points(self) -> None:
        kit = store(STEPS)
        assert refused(FailedPrecondition, kit, 1).reason == "CANNOT_BE_LEFT_OUT"
        kit.engine.collections.drop("c", caller=CALLER)
        kit.create("c")
        error = refused(FailedPrecondition, kit, 8)
        assert (error.reason, error.hint) == (
            "CANNOT_BE_LEFT_OUT",
            "end with what was before it: --before 8, or leave it in",
        )
        assert refused(FailedPrecondition, kit, (9, 12)).hint == "begin what is left out behind it"

    def test_a_name_that_is_taken(self) -> None:
        error = refused(AlreadyExists, store(STEPS), 4, into="d")
        assert (error.reason, error.hint) == ("COLLECTION_EXISTS", "choose another name for --into")

    def test_a_collection_that_there_is_not(self) -> None:
        error = refused(NotFound, store(STEPS), 4, collection="nobody")
        assert (error.reason, "no collection 'nobody'" in error.message) == ("COLLECTION_NOT_FOUND", True)

    def test_a_restore(self) -> None:
        kit = store(STEPS)
        kit.snapshot()
        kit.restore("latest", collection="c", overwrite=True)
        error = refused(FailedPrecondition, kit, kit.engine.sequence)
        assert (error.reason, "dropped or replaced" in error.message) == ("CANNOT_BE_LEFT_OUT", True)

    def test_nothing_of_the_collection(self) -> None:
        kit = store(STEPS)
        kit.upsert(["a"], name="d")
        error = refused(NotFound, kit, 8)
        assert (error.reason, "lies in sequence 8" in error.message) == ("NOTHING_LEFT_OUT", True)

    def test_without_a_new_collection(self) -> None:
        kit = store(STEPS)
        for more in ({"skip": ((4, 4),)}, {"skip_request_ids": ("bad",)}):
            with pytest.raises(InvalidArgument, match="cannot be left out"):
                kit.replay(collection="c", **more)

    def test_where_nothing_leads_from_before_it(self) -> None:
        kit = store(STEPS)
        log = kit.log
        assert log is not None
        kit.snapshot()
        kit.engine._committer.between_groups(log.rotate)
        kit.upsert(["later"])
        kit.clock.advance_us(48 * 3600 * 1_000_000)
        for _ in range(2):
            kit.engine.checkpoint()
        assert kit.engine.wal.status().first_sequence > 7
        error = refused(OutOfRange, kit, 4)
        assert error.message.startswith(
            "nothing leads from before sequence 4, the first that is left out, to the end: "
        )


@pytest.mark.parametrize("seed", range(60))
def test_a_random_history_is_as_if_it_had_not_happened_or_is_refused(seed: int) -> None:
    draw = random.Random(seed)
    ids = [f"p{number}" for number in range(draw.choice([6, 40]))]
    steps: list[Step] = []
    touched: list[set[str] | None] = []
    for number in range(draw.randint(3, 14)):
        some = draw.sample(ids, draw.randint(1, 3))
        kind = draw.choice("uuuudt" if draw.random() < 0.3 else "uuuud")
        touched.append(None if kind == "t" else set(some))
        steps.append({"u": upsert(*some, value=float(number + 1)), "d": delete(*some), "t": truncate}[kind])
    skipped = {place for place in range(len(steps)) if touched[place] is not None and draw.random() < 0.3} or {0}
    if touched[0] is None:
        steps[0], touched[0] = upsert(ids[0]), {ids[0]}
    kit = store(steps)
    conflict = any(
        _depends(touched, early, late, skipped) for early in skipped for late in range(early + 1, len(steps))
    )
    skip = [place + 3 for place in skipped]
    if conflict:
        assert refused(FailedPrecondition, kit, *skip).reason == "WRITTEN_SINCE"
    else:
        undo(kit, *skip)
        same(kit, "undone", store([step for place, step in enumerate(steps) if place not in skipped]))


def _depends(touched: list[set[str] | None], early: int, late: int, skipped: set[int]) -> bool:
    """Whether what is left out at ``early`` has a point that is written at ``late``, with no truncation in between."""
    first, then = touched[early], touched[late]
    if late in skipped or first is None or then is None or None in touched[early:late]:
        return False
    return not first.isdisjoint(then)


def test_ranges_are_merged() -> None:
    assert merged([(5, 5), (1, 2), (3, 3), (8, 9), (6, 6)]) == ((1, 3), (5, 6), (8, 9))
    out, sent = LeftOut(((1, 2), (5, 9), (6, 7)), ["mine"]), Logged(None, "ann", "other", 0)
    assert [sequence for sequence in range(12) if out._holds(sent, sequence)] == [1, 2, 5, 6, 7, 8, 9]
    assert out._holds(replace(sent, request_id="mine"), 3)


def test_what_was_written_since_is_remembered_once() -> None:
    """However often: memory holds the points, not the operations."""
    kit = store([upsert("a", "b"), *[upsert("a"), delete("b")] * 300])
    out = LeftOut(((3, 3),))
    for operation in kit.engine.wal.records():
        out.takes(operation.logged, operation.record.sequence, None)
    assert "2 points of what is left out were written or deleted again" in failure_of(out)
    assert sum(len(run) for run in out._again_hashes._runs) <= 4


def failure_of(out: LeftOut) -> str:
    with pytest.raises(FailedPrecondition) as caught:
        out.check()
    return caught.value.message
