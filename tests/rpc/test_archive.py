"""The archive of the log over a real socket: how far it is, a flush, and what keeps one from its work."""

from __future__ import annotations

from pathlib import Path

import pytest

import holdfast
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from tests.rpc.wires import Wire, serving
from tests.support.archives import ARCHIVE, ArchiveKit, lived_in
from tests.support.snapshots import SnapshotKit


def connected(wire: Wire, tmp_path: Path) -> holdfast.Client:
    return holdfast.connect(f"unix://{tmp_path}/s")


def test_without_an_archive_it_is_off_and_a_flush_is_refused(tmp_path: Path) -> None:
    with serving(SnapshotKit(), str(tmp_path / "s")) as wire, connected(wire, tmp_path) as db:
        assert db.archive.status().state == "off"
        with pytest.raises(holdfast.FailedPrecondition, match="the log is not archived") as caught:
            db.archive.flush()
        assert (caught.value.reason, "--archive-path" in (caught.value.hint or "")) == ("ARCHIVE_OFF", True)


def test_a_flush_brings_everything_there_and_the_status_tells(tmp_path: Path) -> None:
    kit = ArchiveKit()
    kit.create()
    kit.write(12)
    with serving(kit, str(tmp_path / "s")) as wire, connected(wire, tmp_path) as db:
        done = db.archive.flush()
        assert done.through_sequence == kit.engine.sequence
        assert kit.archived() == kit.logged()
        status = db.archive.status()
        assert (status.path, status.state, status.interval) == (ARCHIVE, "archiving", "1m")
        assert status.archived_through == {"sequence": done.through_sequence, "time": done.through_time}
        assert (status.lag_seconds, status.waiting_segments, status.waiting_bytes) == (0, 0, 0)
        assert status.segments == len(kit.whole()) + 1
        assert status.size_bytes == sum(kit.fs.size(f"{ARCHIVE}/{name}") for name in kit.names())
        assert status.window["from"]["sequence"] == 1
        assert status.looked_over is not None
        assert status.window["to"] == status.archived_through
        assert (status.gaps, status.last_error) == ([], None)
        again = db.archive.flush()
        assert (again.through_sequence, again.bytes) == (done.through_sequence, 0)


def test_what_keeps_a_flush_from_its_work_is_its_error_and_the_status_s(tmp_path: Path) -> None:
    kit = ArchiveKit()
    kit.create()
    kit.fs.fail_on("create", f"{ARCHIVE}/*", 28, forever=True)
    with serving(kit, str(tmp_path / "s")) as wire, connected(wire, tmp_path) as db:
        with pytest.raises(holdfast.ResourceExhausted, match="archiving the log failed") as caught:
            db.archive.flush()
        status = db.archive.status()
        assert status.state == "failing"
        assert status.last_error.message == caught.value.message
        assert db.storage.status().health == "amber"
        kit.fs.heal()
        db.archive.flush()
        assert db.archive.status().last_error is None
        assert db.storage.status().health == "green"


def test_gaps_are_told_by_kind(tmp_path: Path) -> None:
    kit = ArchiveKit()
    kit.create()
    kit.write(6)
    kit.engine.wal.disable(caller=Caller())
    kit.write(2)
    kit.engine.wal.enable(WalChanges(), caller=Caller())
    kit.write(6)
    kit.round()
    gone = kit.whole()[1]
    kit.engine.wal.enable(WalChanges(retention_us=1), caller=Caller())
    for _ in range(3):
        kit.clock.advance_us(5_000_000)
        kit.write()
        kit.round()
        kit.engine.checkpoint()
    kit.fs.unlink(f"{ARCHIVE}/{gone}")
    with serving(kit, str(tmp_path / "s")) as wire, connected(wire, tmp_path) as db:
        db.archive.flush()
        status = db.archive.status()
        assert [gap.kind for gap in status.gaps] == ["missing", "disabled"]
        assert all(gap.first_time and gap.last_time and gap.reason for gap in status.gaps)
        assert status.window["from"]["sequence"] > status.gaps[-1].last_sequence
        assert [alarm.code for alarm in db.storage.alarms()] == ["ARCHIVE_GAP"]
        assert db.storage.status().health == "red"


def test_a_prune_tells_what_goes_and_what_stays_and_why(tmp_path: Path) -> None:
    kit, _ = lived_in()
    oldest = kit.ids()[-1]
    with serving(kit, str(tmp_path / "s")) as wire, connected(wire, tmp_path) as db:
        db.archive.flush()
        names, operations = kit.names(), kit.engine.operations.list()
        planned = db.archive.prune(validate_only=True)
        assert (planned.status, kit.names()) == ("validated", names)
        assert kit.engine.operations.list() == operations
        done = db.archive.prune()
        assert {**done, "status": "validated", "duration_ms": 0} == {**planned, "duration_ms": 0}
        gone, *kept = done.runs
        assert (gone.keep, gone.first_sequence, gone.reasons) == (False, 1, [])
        assert gone.first_time < gone.last_time
        assert (done.deleted, done.freed_bytes) == (gone.segments, gone.size_bytes)
        assert done.kept == sum(run.segments for run in kept)
        assert kept[0].reasons[0].startswith(f"needed by {oldest}")
        assert done.begins.sequence == kept[0].first_sequence
        window = db.archive.status().window
        assert window["from"]["sequence"] == done.begins.sequence
        assert window.reason.startswith("the archive was pruned")
        assert db.archive.prune(keep_within="30d").deleted == 0


def test_a_prune_that_is_refused_says_why_and_what_to_do(tmp_path: Path) -> None:
    kit = ArchiveKit()
    kit.create()
    kit.write(12)
    kit.round()
    with serving(kit, str(tmp_path / "s")) as wire, connected(wire, tmp_path) as db:
        for validate_only in (True, False):
            with pytest.raises(holdfast.FailedPrecondition) as caught:
                db.archive.prune(validate_only=validate_only)
            assert caught.value.reason == "ARCHIVE_STANDS_ALONE"
            assert "holdfast storage snapshot create" in (caught.value.hint or "")
        with pytest.raises(holdfast.InvalidArgument):
            db.archive.prune(keep_within=0)
        with pytest.raises(holdfast.NotFound):
            db.archive.prune(before_snapshot="snap-2020-01-01-000000")


def test_without_an_archive_there_is_nothing_to_prune(tmp_path: Path) -> None:
    with serving(SnapshotKit(), str(tmp_path / "s")) as wire, connected(wire, tmp_path) as db:
        with pytest.raises(holdfast.FailedPrecondition) as caught:
            db.archive.prune()
        assert caught.value.reason == "ARCHIVE_OFF"
