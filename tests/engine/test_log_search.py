"""Finding operations in the log: by what they did, to what, and who asked for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from holdfastd.engine import collections, log_findings, log_search
from holdfastd.engine.changes import DropCollection
from holdfastd.engine.log_findings import Finding, Range, Run, Wanted
from holdfastd.engine.log_names import LogNames
from holdfastd.engine.log_search import LogSearch
from holdfastd.engine.log_stats import LogStats
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import Corruption, FailedPrecondition, NotFound, OutOfRange
from holdfastd.model import StorageKind
from holdfastd.storage.beside import Done
from tests.support.engines import CALLER, Kit
from tests.support.logs import flip
from tests.support.snapshots import SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    """Two collections; `c` is at 1, `d` at 2; `c` was written at 3 to 5, `d` at 6."""
    made = SnapshotKit(segment_size=1 << 20)
    made.create("c")
    made.create("d")
    made.upsert(["a", "b"], caller=Caller(actor="ann", request_id="one"))
    made.upsert([f"p{number}" for number in range(2000)], caller=Caller(actor="bob", request_id="two"))
    made.delete("a", "p1999", caller=Caller(actor="ann", request_id="three"))
    made.upsert(["a"], name="d")
    return made


def search(kit: Kit, *, look_around: bool = True, **wanted: object) -> LogSearch:
    names = LogNames(each.spec for each in kit.engine.collections.list())
    return LogSearch(kit.engine.wal, Wanted(**wanted), names, look_around=look_around)  # type: ignore[arg-type]


def findings(runs: Iterator[Run]) -> list[Finding]:
    return [finding for run in runs for finding in run.findings]


def found(kit: Kit, where: Range = Range(), **wanted: object) -> list[int]:  # noqa: B008  # immutable
    return [each.record.sequence for each in findings(search(kit, **wanted).runs(where))]


def test_everything_is_found_by_nothing(kit: Kit) -> None:
    assert found(kit) == [1, 2, 3, 4, 5, 6]
    assert found(kit, Range(from_sequence=3, to_sequence=4)) == [3, 4]


def test_the_log_is_read_ahead(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[object] = []

    def beside(work: Callable[[], object]) -> Done:
        begun.append(work)
        return Done(work)

    while len(kit.engine.wal.status().files) == 1:
        kit.upsert([f"p{number}" for number in range(2000)])
    monkeypatch.setattr(kit.fs, "beside", beside)
    assert found(kit, ids=("a",)) == [3, 5, 6]
    assert begun


def test_by_kind_actor_and_request(kit: Kit) -> None:
    assert found(kit, kinds=frozenset(["create_collection", "delete"])) == [1, 2, 5]
    assert found(kit, actors=frozenset(["ann"])) == [3, 5]
    assert found(kit, actors=frozenset(["ann", "bob"]), request_ids=frozenset(["two", "three"])) == [4, 5]
    assert found(kit, kinds=frozenset(["delete"]), request_ids=frozenset(["two"])) == []
    assert found(kit, request_ids=frozenset(["t*"])) == [4, 5]
    assert found(kit, request_ids=frozenset(["*"])) == [3, 4, 5]


def test_by_the_points_that_they_name(kit: Kit) -> None:
    assert found(kit, ids=("a",)) == [3, 5, 6]
    assert found(kit, ids=("p1999",)) == [4, 5]
    assert found(kit, ids=("p2000",)) == []
    assert found(kit, ids=("a",), name="c") == [3, 5]
    (written, deleted) = findings(search(kit, ids=("p1999", "p7", "z"), name="c").runs(Range()))
    assert (written.ids, deleted.ids) == (["p7", "p1999"], ["p1999"])


def test_what_changes_every_point_is_found_with_any_of_them(kit: Kit) -> None:
    truncated = kit.engine.points.truncate("c", caller=CALLER).sequence
    dropped = kit.engine.collections.drop("c", caller=CALLER).outcome.sequence
    kit.engine.wal.mark("m", caller=CALLER)
    assert found(kit, ids=("b",)) == [3, truncated, dropped]
    assert found(kit, ids=("b",), name="d") == []


def test_a_restore_is_found_by_the_name_that_it_made_and_the_one_it_replaced(kit: SnapshotKit) -> None:
    old = kit.engine.collections.stats("c").spec.id
    kit.snapshot(collection="c")
    kit.restore("latest", collection="c", overwrite=True)
    last = kit.engine.sequence
    new = kit.engine.collections.stats("c").spec.id
    for wanted in ({"name": "c"}, {"collection_id": old}, {"collection_id": new}):
        assert found(kit, kinds=frozenset(["restore"]), **wanted) == [last]
    assert found(kit, kinds=frozenset(["restore"]), name="d") == []


class TestNames:
    def recreated(self, kit: Kit) -> tuple[uuid.UUID, int]:
        """Drop `c` at 7, make it again at 8, write to it at 9; returns the first one's id, and 9."""
        first = kit.engine.collections.stats("c").spec.id
        kit.engine.collections.drop("c", caller=CALLER)
        kit.create("c")
        return first, kit.upsert(["new"]).sequence

    def test_a_name_stands_for_all_that_had_it(self, kit: Kit) -> None:
        first, last = self.recreated(kit)
        assert found(kit, name="c") == [1, 3, 4, 5, 7, 8, 9]
        assert found(kit, collection_id=first) == [1, 3, 4, 5, 7]
        assert last == 9

    @pytest.mark.parametrize("begin", [2, 5, 7])
    def test_it_is_looked_for_in_front_of_the_range(self, kit: Kit, begin: int) -> None:
        self.recreated(kit)
        kit.engine.collections.drop("d", caller=CALLER)
        every = {"c": [1, 3, 4, 5, 7, 8, 9], "d": [2, 6, 10]}
        begun_us = next(kit.engine.wal.records(from_sequence=begin)).record.timestamp_us
        for name, sequences in every.items():
            expected = [sequence for sequence in sequences if sequence >= begin]
            assert found(kit, Range(from_sequence=begin), name=name) == expected
            assert found(kit, Range(from_us=begun_us), name=name) == expected
        dropped = findings(search(kit, kinds=frozenset(["drop_collection"])).runs(Range(from_sequence=begin)))
        assert [each.collection for each in dropped] == ["c", "d"]

    def test_without_looking_around_it_is_known_from_its_creation_or_end_on(self, kit: Kit) -> None:
        self.recreated(kit)
        shown = [search(kit, look_around=False).runs(Range(from_sequence=begin)) for begin in (1, 5)]
        assert [each.collection for each in findings(shown[0])] == list("cdcccdccc")
        assert [each.collection for each in findings(shown[1])] == [None, "d", "c", "c", "c"]

    def test_one_in_memory_has_its_name_after_each_start(self, kit: Kit) -> None:
        kit.create("m", storage=StorageKind.MEMORY)
        kit.engine.collections.create_alias("n", "m", caller=CALLER)
        kit.reopen()
        now = kit.engine.collections.stats("m").spec.id
        kit.engine.collections.drop("m", caller=CALLER)
        assert found(kit, name="m") == [7, 8, 9]
        assert found(kit, collection_id=now) == [7, 8, 9]

    def test_an_alias_stands_for_what_it_points_to_and_for_its_own_changes(self, kit: Kit) -> None:
        kit.engine.collections.create_alias("other", "c", caller=CALLER)
        kit.engine.collections.switch_alias("other", "d", caller=CALLER)
        target = kit.engine.collections.stats("other").spec.id
        assert found(kit, name="other", collection_id=target) == [2, 6, 7, 8]

    def test_a_name_of_which_the_log_does_not_tell(self, kit: Kit) -> None:
        with pytest.raises(NotFound, match="no collection 'nobody', and the log does not tell of one"):
            found(kit, name="nobody")
        kit.engine.collections.drop("d", caller=CALLER)
        assert found(kit, Range(from_sequence=7), name="d", kinds=frozenset(["upsert"])) == []

    def trimmed(self, kit: Kit) -> int:
        """Trim away how `c` and `d` were made, write to `c` and drop it; returns where the log begins."""
        log = kit.log
        assert log is not None
        kit.engine._committer.between_groups(log.rotate)
        kit.clock.advance_us(48 * 3600 * 1_000_000)
        kit.upsert(["late"])
        kit.engine.collections.drop("c", caller=CALLER)
        for _ in range(2):
            kit.engine.checkpoint()
        assert kit.engine.wal.status().first_sequence == 7
        return 7

    def test_one_whose_creation_was_trimmed_is_known_from_its_end(self, kit: Kit) -> None:
        gone = kit.engine.collections.stats("c").spec.id
        begin = self.trimmed(kit)
        assert [each.collection for each in findings(search(kit).runs(Range()))] == ["c", "c"]
        assert found(kit, name="c") == [begin, begin + 1]
        assert found(kit, name="c", kinds=frozenset(["upsert"])) == [begin]
        assert found(kit, Range(to_sequence=begin), name="c") == [begin]
        assert found(kit, collection_id=gone, kinds=frozenset(["upsert"])) == [begin]
        for where in (Range(from_sequence=2), Range(from_us=1), Range(to_sequence=2)):
            with pytest.raises(OutOfRange) as caught:
                found(kit, where)
            assert caught.value.hint is not None
            assert caught.value.hint.startswith(f"what is left begins with sequence {begin}: begin there, or leave")

    def test_what_may_be_meant_and_has_no_name_is_counted(self, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collections, "DropCollection", lambda id, name: DropCollection(id))
        begin = self.trimmed(kit)
        kit.create("c")
        *_, last = search(kit, name="c").runs(Range())
        assert [each.record.sequence for each in last.findings] == [begin + 2]
        assert len(last.warnings) == 1
        assert last.warnings[0].startswith("2 more operations are about collections whose names are not known any more")
        *_, last = search(kit, name="c", kinds=frozenset(["drop_collection"])).runs(Range())
        assert last.warnings[0].startswith("1 more operation is about one whose name is not known any more")
        *_, last = search(kit, name="d", actors=frozenset(["ann"])).runs(Range())
        assert (last.findings, last.warnings) == ([], [])


class TestDamage:
    def test_what_is_before_it_comes_first(self, kit: Kit) -> None:
        fourth = next(kit.engine.wal.records(from_sequence=4)).record
        flip(kit.fs, fourth.path, fourth.offset + 70)
        runs = search(kit).runs(Range())
        assert [each.record.sequence for each in next(runs).findings] == [1, 2, 3]
        with pytest.raises(Corruption) as caught:
            next(runs)
        assert (caught.value.path, caught.value.offset) == (fourth.path, fourth.offset)
        assert caught.value.metadata["sequence"] == "3"
        assert caught.value.message.endswith("; the last operation before it has sequence 3")

    def test_what_has_no_way_on_is_raised_as_it_is(self, kit: Kit) -> None:
        with pytest.raises(FailedPrecondition) as caught:
            found(kit, Range(path="/data/collections"))
        assert caught.value.reason == "LOG_NOT_FOUND"
        assert caught.value.__cause__ is not caught.value

    def test_it_is_said_where_to_go_on_behind_it(self, kit: Kit) -> None:
        fourth = next(kit.engine.wal.records(from_sequence=4)).record
        log = kit.log
        assert log is not None
        kit.engine._committer.between_groups(log.rotate)
        last = kit.upsert(["late"]).sequence
        flip(kit.fs, fourth.path, fourth.offset + 10)
        with pytest.raises(Corruption, match=f"; the next WAL segment begins with sequence {last}") as caught:
            found(kit)
        assert "the last operation before it has sequence 3" in caught.value.message
        assert found(kit, Range(from_sequence=last)) == [last]

    def test_in_front_of_the_range_it_matters_to_names_alone(self, kit: Kit) -> None:
        first = next(kit.engine.wal.records()).record
        kit.engine.collections.drop("c", caller=CALLER)
        log = kit.log
        assert log is not None
        kit.engine._committer.between_groups(log.rotate)
        kit.upsert(["z"], name="d")
        flip(kit.fs, first.path, first.offset + 70)
        assert found(kit, Range(from_sequence=8)) == [8]
        assert found(kit, Range(from_sequence=8), name="d") == [8]
        with pytest.raises(Corruption):
            found(kit, Range(from_sequence=8), name="c")

    def test_a_sound_record_that_is_no_operation(self, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
        describe = log_search.described

        def refuse(payload: memoryview) -> object:
            if b"two" in bytes(payload):
                raise ValueError("not a LogOperation")
            return describe(payload)

        monkeypatch.setattr(log_search, "described", refuse)
        runs = search(kit).runs(Range())
        assert len(next(runs).findings) == 3
        with pytest.raises(Corruption, match="checksums hold, but it is no operation"):
            next(runs)


def test_a_sign_of_life_comes_while_nothing_is_found(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_findings, "RUN_BYTES", 1)
    runs = list(search(kit, ids=("nobody",)).runs(Range()))
    assert [run.through for run in runs] == [1, 2, 3, 4, 5, 6, 0]
    kit.engine.collections.drop("c", caller=CALLER)
    runs = list(search(kit, name="c").runs(Range(from_sequence=6)))
    assert [run.through for run in runs] == [0] * 5 + [6, 7, 0]


def test_records_that_are_no_operations(kit: Kit) -> None:
    log = kit.log
    assert log is not None
    log.marker()
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["unlogged"])
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["a"])

    def kinds(**wanted: object) -> list[tuple[int, str]]:
        runs = search(kit, **wanted).runs(Range(from_sequence=6))
        return [(each.record.sequence, each.kind) for each in findings(runs)]

    assert kinds() == [(6, "upsert"), (6, "closed"), (8, "upsert")]
    assert kinds(kinds=frozenset(["marker", "upsert"])) == [(6, "upsert"), (6, "marker"), (8, "upsert")]
    assert kinds(kinds=frozenset(["closed"])) == [(6, "closed")]
    for wanted in ({"name": "c"}, {"ids": ("a",)}, {"actors": frozenset(["test"])}):
        assert (6, "closed") not in kinds(**wanted)


@pytest.mark.parametrize("unlogged", [0, 1])
def test_a_time_without_a_log_is_told_where_something_was_done_in_it(kit: Kit, unlogged: int) -> None:
    kit.engine.wal.disable(caller=CALLER)
    for _ in range(unlogged):
        kit.upsert(["unlogged"])
    (run,) = search(kit).runs(Range())
    since = "the log is disabled since sequence 6: what was done since is not in it"
    assert run.warnings == [since] * unlogged
    kit.engine.wal.enable(WalChanges(), caller=CALLER)
    kit.upsert(["a"])
    (run,) = search(kit, ids=("a",), name="c").runs(Range())
    assert [each.record.sequence for each in run.findings] == [3, 5, 7 + unlogged]
    told = "the log was disabled between sequence 6 and 8: what was done meanwhile is not in it"
    assert run.warnings == [told] * unlogged


def test_a_range_behind_the_newest_is_told(kit: Kit) -> None:
    (run,) = search(kit).runs(Range(from_sequence=7))
    assert (run.findings, run.warnings) == ([], ["the range begins behind sequence 6, the newest there is"])
    (run,) = search(kit).runs(Range(from_sequence=6))
    assert (len(run.findings), run.warnings) == (1, [])


def test_runs_are_bounded(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_findings, "RUN_RECORDS", 4)
    assert [len(run.findings) for run in search(kit).runs(Range())] == [4, 2]


def test_the_log_may_be_written_and_trimmed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = Kit(segment_size=4096)
    kit.create()
    for number in range(60):
        kit.upsert([f"p{number}"])
    monkeypatch.setattr(log_findings, "RUN_RECORDS", 1)
    runs = search(kit, name="c").runs(Range())
    seen = [next(runs).through]
    kit.clock.advance_us(48 * 3600 * 1_000_000)
    kit.upsert(["later"])
    for _ in range(2):
        kit.engine.checkpoint()
    assert kit.engine.wal.status().first_sequence == 1, "what is being read is kept"
    seen += [each.record.sequence for each in findings(runs)]
    assert seen == list(range(1, 62))
    kit.engine.checkpoint()
    assert kit.engine.wal.status().first_sequence > 1
    with pytest.raises(OutOfRange):
        found(kit, Range(from_sequence=1))


def test_counts_by_collection_and_kind_and_by_actor(kit: Kit) -> None:
    stats = LogStats()
    kit.engine.wal.mark("m", caller=CALLER)
    for run in search(kit).runs(Range()):
        stats.add_all(run.findings)
    c, d = (kit.engine.collections.stats(name).spec.id.bytes for name in ("c", "d"))
    counted = {
        (stats.names.get(group.collection_id, ""), group.kind): (
            tally.operations,
            tally.points,
            tally.first_sequence,
            tally.last_sequence,
        )
        for group, tally in stats.groups.items()
    }
    assert counted == {
        ("c", "create_collection"): (1, 0, 1, 1),
        ("d", "create_collection"): (1, 0, 2, 2),
        ("c", "upsert"): (2, 2002, 3, 4),
        ("c", "delete"): (1, 2, 5, 5),
        ("d", "upsert"): (1, 1, 6, 6),
        ("", "mark"): (1, 0, 7, 7),
    }
    assert {actor: (tally.operations, tally.points) for actor, tally in stats.actors.items()} == {
        "test": (4, 1),
        "ann": (2, 4),
        "bob": (1, 2000),
    }
    assert (stats.total.operations, stats.total.points, stats.total.last_sequence) == (7, 2005, 7)
    assert stats.total.bytes == sum(tally.bytes for tally in stats.groups.values())
    assert stats.total.bytes == sum(tally.bytes for tally in stats.actors.values())
    assert 0 < stats.total.first_us < stats.total.last_us
    assert set(stats.names) == {c, d}
