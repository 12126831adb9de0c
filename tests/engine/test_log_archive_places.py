"""Where the log may be archived: nowhere among the store's own files, where the log lies, or where snapshots do."""

from __future__ import annotations

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import InvalidArgument
from tests.support.archives import ARCHIVE, ArchiveKit
from tests.support.engines import ROOT, abandon
from tests.support.memfs import MemFileSystem
from tests.support.object_memory import MemoryPlaces
from tests.support.snapshots import SnapshotKit


def filled() -> SnapshotKit:
    kit = SnapshotKit(MemoryPlaces())  # type: ignore[arg-type]
    kit.create()
    kit.snapshot(path="/backups")
    kit.snapshot(path="s3://bucket/backups")
    abandon(kit.fs.disk)  # type: ignore[attr-defined]
    return kit


@pytest.mark.parametrize(
    "path",
    [ROOT, f"{ROOT}/wal", f"{ROOT}/wal/below", f"{ROOT}/collections", f"{ROOT}/snapshots", "/backups", "snapshots"],
)
def test_a_directory_of_the_store_is_refused_at_the_start(path: str) -> None:
    kit = filled()
    with pytest.raises(
        InvalidArgument, match=r"belongs to the store's own files|is the data directory itself"
    ) as caught:
        ArchiveKit(kit.fs, archive_path=path)
    assert caught.value.field == "archive_path"
    assert "--archive-path" in caught.value.hint


def test_a_prefix_with_snapshots_is_refused_and_one_beside_it_is_not() -> None:
    kit = filled()
    with pytest.raises(InvalidArgument, match="holds snapshots of this store"):
        ArchiveKit(kit.fs, archive_path="s3://bucket/backups")
    archiving = ArchiveKit(kit.fs, archive_path="s3://bucket/wal")
    archiving.round()


def test_a_directory_of_its_own_inside_the_data_directory_will_do() -> None:
    kit = ArchiveKit(archive_path=f"{ROOT}/wal-archive")
    kit.create()
    kit.round()
    assert kit.archived() == kit.logged()


def test_the_log_does_not_move_into_its_archive() -> None:
    kit = ArchiveKit()
    kit.create()
    kit.write(9)
    kit.round()
    with pytest.raises(InvalidArgument, match="is where the log is archived"):
        kit.engine.wal.enable(WalChanges(path=ARCHIVE), caller=Caller())


def test_a_snapshot_is_not_put_into_the_archive() -> None:
    kit = ArchiveKit()
    kit.create()
    with pytest.raises(InvalidArgument, match="is where the log is archived"):
        kit.snapshot(path=ARCHIVE)


def test_no_archive_is_asked_at_a_start() -> None:
    fs = MemFileSystem()
    kit = ArchiveKit(fs)
    kit.create()
    kit.round()
    fs.fail_on("read", f"{ARCHIVE}/*", forever=True)
    kit.reopen()
    assert kit.engine.recovery.warnings == ()
