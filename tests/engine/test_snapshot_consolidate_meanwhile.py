"""What others do while increments are made to stand alone, and what a kill leaves: never anything half-way."""

from __future__ import annotations

import errno
import random
import threading
from typing import Any

import pytest

from holdfastd.engine.operations import Work
from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.engine.snapshot_rewrite import Rewriter
from holdfastd.engine.snapshots import SnapshotRequest
from holdfastd.errors import Cancelled, FailedPrecondition
from holdfastd.storage.registry import Registry
from tests.support.chains import HOURLY, chained, filled, info, registered, restored
from tests.support.engines import CALLER
from tests.support.snapshot_sweeps import assert_tidy
from tests.support.snapshots import SECOND_US, SnapshotKit
from tests.support.waiting import until


@pytest.fixture
def kit() -> SnapshotKit:
    return filled()


def paused(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """A consolidation stops before it writes; the events: it has come there, it may go on."""
    arrived, go = threading.Event(), threading.Event()
    write = Rewriter.write

    def waiting(self: Rewriter, pending: Any) -> Any:
        arrived.set()
        assert go.wait(30)
        return write(self, pending)

    monkeypatch.setattr(Rewriter, "write", waiting)
    return arrived, go


def test_a_second_one_is_refused_while_the_first_runs(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    full, one, two = chained(kit)
    arrived, go = paused(monkeypatch)
    started = kit.engine.snapshots.start_consolidate(full.id, caller=CALLER)
    assert arrived.wait(30)
    for call in (
        lambda: kit.consolidate(full.id),
        lambda: kit.consolidate(one.id),
        lambda: kit.engine.snapshots.delete(full.id),
        lambda: kit.engine.snapshots.delete(one.id),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            call()
        assert caught.value.reason in ("SNAPSHOT_IN_USE", "SNAPSHOT_IS_BASE")
    go.set()
    assert kit._wait(started)["status"] == "completed"
    assert kit.ids() == [two.id, one.id]


def test_it_waits_for_who_reads_what_it_replaces(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    catalog = kit.engine.snapshots._catalog
    with catalog.in_use(one.path):
        before = kit.fs.read(one.path)
        started = kit.engine.snapshots.start_consolidate(full.id, caller=CALLER)
        for seen in kit.engine.operations.watch(started.id, interval_seconds=0.01):
            if seen.progress.phase == "waiting for readers":
                break
        assert kit.fs.read(one.path) == before
    assert kit._wait(started)["status"] == "completed"
    assert restored(kit, two)
    with catalog.in_use(two.path):
        started = kit.engine.snapshots.start_consolidate(one.id, caller=CALLER)
        for seen in kit.engine.operations.watch(started.id, interval_seconds=0.01):
            if seen.progress.phase == "waiting for readers":
                break
        kit.engine.operations.cancel(started.id)
        with pytest.raises(Cancelled):
            kit._wait(started)
        assert_tidy(kit)


def test_a_reader_that_comes_at_the_last_moment_is_waited_for_as_well(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, one, _ = chained(kit)
    catalog = kit.engine.snapshots._catalog
    monkeypatch.setattr(catalog, "is_in_use", lambda *paths: False)
    before = kit.fs.read(one.path)
    waited: list[float] = []
    wait = Work.wait

    def waiting(self: Work, seconds: float) -> None:
        waited.append(seconds)
        wait(self, 0.001)

    monkeypatch.setattr(Work, "wait", waiting)
    with catalog.in_use(one.path):
        started = kit.engine.snapshots.start_consolidate(full.id, caller=CALLER)
        until(lambda: len(waited) > 2)
        assert kit.fs.read(one.path) == before
    assert kit._wait(started)["status"] == "completed"


@pytest.mark.parametrize("instead", [None, b"half of what another daemon writes"], ids=["gone", "another's"])
def test_what_somebody_removed_meanwhile_is_not_taken_for_put_in_its_place(
    kit: SnapshotKit, instead: bytes | None
) -> None:
    """Whoever cleans up, or another daemon whose own directory this is: the base is still needed."""
    full, one, two = chained(kit)
    held = restored(kit, two)
    with kit.engine.snapshots._catalog.in_use(one.path):
        started = kit.engine.snapshots.start_consolidate(full.id, caller=CALLER)
        for seen in kit.engine.operations.watch(started.id, interval_seconds=0.01):
            if seen.progress.phase == "waiting for readers":
                break
        if instead is None:
            kit.fs.unlink(f"{one.path}.part")
        else:
            kit.put(f"{one.path}.part", instead)
    with pytest.raises(FailedPrecondition) as caught:
        kit._wait(started)
    assert caught.value.reason == "SNAPSHOT_CHANGED"
    assert f"{one.path}.part is not what was written there" in caught.value.message
    assert restored(kit, two) == held
    assert_tidy(kit)
    kit.consolidate(full.id)
    assert restored(kit, two) == held


def test_one_snapshot_is_rewritten_once_at_a_time(kit: SnapshotKit) -> None:
    _, one, two = chained(kit)
    catalog = kit.engine.snapshots._catalog
    pending = catalog.begin_rewriting(one)
    with pytest.raises(FailedPrecondition, match=f"{one.id} is being consolidated already"):
        catalog.begin_rewriting(two, one)
    catalog.end_writing(*pending)
    catalog.end_writing(*catalog.begin_rewriting(two, one))
    assert_tidy(kit)


def test_who_looks_while_a_file_is_replaced_sees_the_old_or_the_new(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the rename and the registry a listing would find another size than is known: that is no damage."""
    full, one, two = chained(kit)
    put = Registry.put
    seen: list[list[str]] = []
    looking: list[threading.Thread] = []

    def look() -> None:
        seen.append([each.state for each in kit.engine.snapshots.list()])

    def watched(self: Registry, *records: Any) -> None:
        if any(record.id == one.id for record in records):
            looking.append(threading.Thread(target=look))
            looking[0].start()
            looking[0].join(0.2)
        put(self, *records)

    size = kit.fs.size

    def consolidated_first(path: str) -> int:
        """The next look has the old records, and finds the new file."""
        if path == two.path and len(seen) == 1:
            seen.append([])
            kit.consolidate(one.id)
        return size(path)

    monkeypatch.setattr(Registry, "put", watched)
    kit.consolidate(full.id)
    looking[0].join(30)
    assert seen == [["ready"] * len(seen[0])]
    monkeypatch.setattr(kit.fs, "size", consolidated_first)
    assert [each.state for each in kit.engine.snapshots.list()] == ["ready"]


def test_a_restore_that_runs_meanwhile_is_right(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """It found the chain before one of its links was replaced and the base deleted."""
    full, one, two = chained(kit)
    held = restored(kit, two)
    catalog = kit.engine.snapshots._catalog
    in_use = catalog.in_use
    late: list[str] = []

    def consolidated_first(*paths: str) -> Any:
        if not late:
            late.append("once")
            kit.consolidate(full.id)
        return in_use(*paths)

    monkeypatch.setattr(catalog, "in_use", consolidated_first)
    assert restored(kit, two) == held
    assert (late, kit.ids()) == (["once"], [two.id, one.id])
    assert info(kit, one).state == "ready", "nobody took it for damaged"


def test_who_reads_the_base_keeps_it_and_that_is_told(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    with kit.engine.snapshots._catalog.in_use(full.path), pytest.raises(FailedPrecondition) as caught:
        kit.consolidate(full.id)
    assert f"{one.id} stands alone now, but {full.id} was not deleted" in caught.value.message
    assert info(kit, one).record.type == "full"
    assert kit.engine.snapshots.delete(full.id).id == full.id


def test_the_base_of_an_increment_that_is_being_written_is_not_deleted(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = kit.later()
    kit.upsert(["b"], 20)
    arrived, go = threading.Event(), threading.Event()
    report = Work.report

    def waiting(self: Work, **changes: Any) -> None:
        if changes.get("phase") == "writing":
            arrived.set()
            assert go.wait(30)
        report(self, **changes)

    monkeypatch.setattr(Work, "report", waiting)
    kit.clock.advance_us(SECOND_US)
    started = kit.engine.snapshots.start_create(SnapshotRequest(incremental=True), caller=CALLER)
    assert arrived.wait(30)
    with pytest.raises(FailedPrecondition, match="is being read"):
        kit.engine.snapshots.delete(full.id)
    go.set()
    made = kit._wait(started)
    assert kit.engine.snapshots.get(made["snapshot_id"]).state == "ready"
    with pytest.raises(FailedPrecondition, match="is the base of"):
        kit.engine.snapshots.delete(full.id)


def test_a_base_that_is_replaced_while_it_is_chosen_is_no_damaged_one(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was known of it was read before, its sums after it."""
    _, one, two = chained(kit)
    catalog = kit.engine.snapshots._catalog
    sums = catalog.sums_sha256
    late: list[str] = []

    def consolidated_first(snapshot: SnapshotInfo) -> str:
        if not late:
            late.append("once")
            kit.consolidate(one.id)
        return sums(snapshot)

    monkeypatch.setattr(catalog, "sums_sha256", consolidated_first)
    kit.upsert(["b"], 21)
    three = kit.later(incremental=True)
    assert (late, three.record.base_id, info(kit, two).record.type) == (["once"], two.id, "full")
    assert restored(kit, three)["b"][0] == 21


def test_a_kill_before_it_is_replaced_leaves_what_was_known_of_it(kit: SnapshotKit) -> None:
    _, one, two = chained(kit)
    kit.verify(one.id)
    known = info(kit, one)
    assert known.record.verified_us > 0
    kit.engine.snapshots._catalog.begin_rewriting(one, two)
    kit.put(f"{one.path}.part", b"half")
    kit.put(f"{two.path}.part", b"")
    kit.reopen()
    assert info(kit, one) == known
    assert_tidy(kit)


def test_a_kill_while_its_disk_was_not_there_is_settled_when_it_is_back(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    held = restored(kit, two)
    rewritten = SnapshotKit(kit.fs.crash(random.Random(1), "prefix"), seed=99)
    rewritten.consolidate(full.id)
    new = rewritten.fs.read(one.path)
    kit.engine.snapshots._catalog.begin_rewriting(one)
    kit.fs.unlink(one.path)
    kit.reopen()
    assert info(kit, one).state == "missing"
    kit.put(one.path, new)
    kit.reopen()
    assert (info(kit, one).state, info(kit, one).record.type) == ("ready", "full")
    assert restored(kit, two) == held


def test_what_could_not_be_removed_is_removed_by_the_next_start(kit: SnapshotKit) -> None:
    _, one, two = chained(kit)
    with kit.engine.snapshots._catalog.in_use(two.path):
        started = kit.engine.snapshots.start_consolidate(one.id, caller=CALLER)
        for seen in kit.engine.operations.watch(started.id, interval_seconds=0.01):
            if seen.progress.phase == "waiting for readers":
                break
        kit.fs.fail_on("unlink", "*.part", errno.EIO)
        kit.engine.operations.cancel(started.id)
        with pytest.raises(Cancelled):
            kit._wait(started)
    kit.fs.fail_on("unlink", "*.part", errno.EIO)
    kit.reopen()
    assert kit.fs.exists(f"{two.path}.part"), "the disk is as it was"
    kit.reopen()
    assert kit.fs.listdir(HOURLY) == [two.path.rpartition("/")[2]]
    assert registered(kit)[1] == 0
    assert_tidy(kit)


def test_a_kill_after_what_is_rewritten_was_verified_leaves_nothing_half_way(kit: SnapshotKit) -> None:
    """What a verification or a restore notes of a snapshot is no end of its rewriting."""
    _, _, two = chained(kit)
    kit.engine.snapshots._catalog.begin_rewriting(two)
    kit.put(f"{two.path}.part", b"half")
    assert kit.verify(two.id)["valid"]
    assert info(kit, two).record.verified_us > 0
    assert registered(kit)[1] == 1
    kit.reopen()
    assert kit.fs.listdir(HOURLY) == [two.path.rpartition("/")[2]]
    assert (info(kit, two).state, registered(kit)[1]) == ("ready", 0)


def test_a_registry_that_cannot_be_written_keeps_no_half_written_file(kit: SnapshotKit) -> None:
    _, one, two = chained(kit)
    catalog = kit.engine.snapshots._catalog
    pending = catalog.begin_rewriting(one, two)
    for each in (one, two):
        kit.put(f"{each.path}.part", b"half")
    kit.fs.fail_on("write", "*REGISTRY*", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        catalog.end_writing(*pending)
    assert not any(kit.fs.exists(f"{each.path}.part") for each in (one, two))
    assert_tidy(kit)


def killed_without_its_disk(kit: SnapshotKit, snapshot: SnapshotInfo) -> bytes:
    """A kill while one is rewritten whose file is gone at the next start; returns the file."""
    content = kit.fs.read(snapshot.path)
    kit.engine.snapshots._catalog.begin_rewriting(snapshot)
    kit.fs.unlink(snapshot.path)
    kit.reopen()
    assert info(kit, snapshot).state == "missing"
    return content


def test_one_that_was_moved_after_a_kill_is_found_where_it_is(kit: SnapshotKit) -> None:
    _, _, two = chained(kit)
    held = restored(kit, two)
    moved = kit.put(f"/moved/{two.path.rpartition('/')[2]}", killed_without_its_disk(kit, two))
    kit.engine.snapshots.list("/moved")
    assert (info(kit, two).state, info(kit, two).path) == ("ready", moved)
    assert restored(kit, two) == held


def test_one_that_is_given_up_after_a_kill_keeps_no_history(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    killed_without_its_disk(kit, two)
    for each in (two, one, full):
        kit.engine.snapshots.delete(each.id)
    assert [entry.high_water for entry in kit.engine._keeper.current.collections] == [0]
    kit.reopen()
    assert registered(kit) == ([], 0)


def test_whoever_looks_while_a_file_is_replaced_sees_no_damage(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is there before the registry knows its size."""
    full, one, _ = chained(kit)
    renamed, looked = threading.Event(), threading.Event()
    rename, catalog = kit.fs.rename, kit.engine.snapshots._catalog

    def slowly(source: str, target: str) -> None:
        rename(source, target)
        if target == one.path:
            renamed.set()
            assert looked.wait(30)

    def look() -> list[str]:
        if not renamed.is_set():
            started = kit.engine.snapshots.start_consolidate(full.id, caller=CALLER)
            consolidations.append(started.id)
            assert renamed.wait(30)
        states = [catalog._lineage().info(record).state for record in catalog._records()]
        looked.set()
        return states

    consolidations: list[str] = []
    monkeypatch.setattr(kit.fs, "rename", slowly)
    assert set(catalog.undisturbed(look)) == {"ready"}
    kit.engine.operations.wait(consolidations[0])
    assert info(kit, one).record.type == "full"
