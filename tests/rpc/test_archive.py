"""The archive of the log over a real socket: how far it is, a flush, and what keeps one from its work."""

from __future__ import annotations

from pathlib import Path

import pytest

import holdfast
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from tests.rpc.wires import Wire, serving
from tests.support.archives import ARCHIVE, ArchiveKit
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
