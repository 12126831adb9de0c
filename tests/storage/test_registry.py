"""The registry of snapshots: replaced atomically, and worth nothing that cannot be found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from holdfastd.errors import UnsupportedFormat
from holdfastd.format.document import encode_document
from holdfastd.format.verify_receipt import VerifyReceipt
from holdfastd.storage.files import make_dirs
from holdfastd.storage.names import Layout
from holdfastd.storage.registry import (
    PendingSnapshot,
    Registry,
    SnapshotMember,
    SnapshotRecord,
    part_path,
    snapshot_file_id,
)
from tests.support.memfs import MemFileSystem

LAYOUT = Layout("/data")
MEMBER = SnapshotMember("products", "c0111ec7-0000-4000-8000-000000000002", 2, "cosine", "disk", 3, "ab" * 16)
RECORD = SnapshotRecord(
    id="snap-2026-01-01-000000",
    type="full",
    path="snapshots/snap-2026-01-01-000000.snap",
    created_us=1,
    store_id="5701e000-0000-4000-8000-000000000001",
    timeline=1,
    sequence=7,
    size_bytes=10,
    uncompressed_bytes=10,
    compressed=False,
    everything=True,
    members=(MEMBER, replace(MEMBER, name="other", vectors=2)),
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "registry-v1" / "REGISTRY.json"
RECEIPT = VerifyReceipt(
    level=4,
    time_us=1_767_225_600_000_000,
    valid=True,
    sums_sha256="cd" * 32,
    size_bytes=10,
    modified_ns=1_767_225_500_000_000_001,
    daemon_version="0.1.0",
    host="backup-1",
)
SLICE = replace(RECEIPT, level=3, subset="1/7", source="verify")
DAMAGED = replace(
    RECEIPT, level=2, valid=False, sums_sha256="", problem="/a.snap:README.txt: the content does not match its SHA-256"
)
VERIFIED = replace(RECORD, sha256="cd" * 32, verified_us=RECEIPT.time_us, receipts=(RECEIPT, SLICE))


@pytest.fixture
def fs() -> MemFileSystem:
    fs = MemFileSystem()
    make_dirs(fs, LAYOUT.root)
    return fs


def test_an_empty_data_directory_has_no_snapshots(fs: MemFileSystem) -> None:
    registry = Registry.load(fs, LAYOUT)
    assert (registry.snapshots, registry.pending, registry.problem) == ((), (), None)


def test_what_is_noted_is_there_after_a_restart(fs: MemFileSystem) -> None:
    registry = Registry.load(fs, LAYOUT)
    pending = PendingSnapshot(RECORD.id, "/backups/a.snap")
    registry.begin(pending)
    registry.begin(PendingSnapshot("snap-2026-01-01-000001", "/backups/b.snap"))
    assert Registry.load(fs, LAYOUT).pending == registry.pending == (pending, registry.pending[1])
    registry.put(RECORD)
    registry.abandon("snap-2026-01-01-000001")
    again = Registry.load(fs, LAYOUT)
    assert (again.snapshots, again.pending) == ((RECORD,), ())
    assert again.find(RECORD.id) == RECORD
    assert again.find("snap-2026-01-01-000001") is None
    assert RECORD.vectors == 5


def test_a_registry_that_was_written_then_is_read_for_ever(fs: MemFileSystem) -> None:
    registry = Registry.load(fs, LAYOUT)
    registry.put(VERIFIED, replace(RECORD, id="snap-2026-01-01-000001", damage=DAMAGED.problem, receipts=(DAMAGED,)))
    registry.begin(PendingSnapshot("snap-2026-01-01-000002", "/backups/b.snap"))
    other = MemFileSystem()
    make_dirs(other, LAYOUT.root)
    other.create(LAYOUT.registry).pwrite([GOLDEN.read_bytes()], 0)
    assert Registry.load(other, LAYOUT).snapshots == registry.snapshots
    assert Registry.load(other, LAYOUT).pending == registry.pending


def test_a_registry_from_before_receipts_has_none(fs: MemFileSystem) -> None:
    data = (GOLDEN.parents[1] / "store-v1" / "data" / "REGISTRY.json").read_bytes()
    assert b"receipts" not in data
    fs.create(LAYOUT.registry).pwrite([data], 0)
    assert {record.receipts for record in Registry.load(fs, LAYOUT).snapshots} == {()}


def test_a_registry_with_pins_that_was_written_then_is_read_for_ever(fs: MemFileSystem) -> None:
    """Pinned, described, being written to be pinned, being deleted."""
    registry = Registry.load(fs, LAYOUT)
    registry.put(replace(RECORD, pinned=True, description="before the migration, größer"))
    registry.begin(PendingSnapshot("snap-2026-01-01-000001", "/backups/b.snap", pinned=True))
    registry.begin_removing(RECORD.id)
    other = MemFileSystem()
    make_dirs(other, LAYOUT.root)
    other.create(LAYOUT.registry).pwrite([GOLDEN.with_name("REGISTRY-pinned.json").read_bytes()], 0)
    then = Registry.load(other, LAYOUT)
    assert (then.snapshots, then.pending, then.leaving) == (registry.snapshots, registry.pending, registry.leaving)


def test_a_registry_that_tells_of_snapshots_that_are_gone_is_read_for_ever(fs: MemFileSystem) -> None:
    registry = Registry.load(fs, LAYOUT)
    registry.put(RECORD, replace(RECORD, id="snap-2026-01-01-000001", path="/backups/b.snap"))
    assert registry.unverified_since_us == 0
    registry.remove("snap-2026-01-01-000001", 1_767_225_600_000_000)
    other = MemFileSystem()
    make_dirs(other, LAYOUT.root)
    other.create(LAYOUT.registry).pwrite([GOLDEN.with_name("REGISTRY-unverified.json").read_bytes()], 0)
    then = Registry.load(other, LAYOUT)
    assert (then.snapshots, then.unverified_since_us) == (registry.snapshots, 1_767_225_600_000_000)
    then.remove(RECORD.id)
    assert Registry.load(other, LAYOUT).unverified_since_us == 1_767_225_600_000_000, "said of others"


def test_a_snapshot_is_replaced_by_its_id_and_removed(fs: MemFileSystem) -> None:
    registry = Registry.load(fs, LAYOUT)
    registry.put(RECORD)
    registry.put(replace(RECORD, damage="bad"))
    assert [record.damage for record in registry.snapshots] == ["bad"]
    registry.remove(RECORD.id)
    assert Registry.load(fs, LAYOUT).snapshots == ()


def test_one_that_is_being_deleted_is_noted_until_it_is_gone_or_stays(fs: MemFileSystem) -> None:
    registry = Registry.load(fs, LAYOUT)
    registry.put(RECORD)
    for _ in range(2):
        registry.begin_removing(RECORD.id)
        assert Registry.load(fs, LAYOUT).leaving == (RECORD.id,)
    registry.keep(RECORD.id)
    assert (Registry.load(fs, LAYOUT).leaving, registry.snapshots) == ((), (RECORD,))
    registry.begin_removing(RECORD.id)
    registry.remove(RECORD.id)
    assert (Registry.load(fs, LAYOUT).leaving, registry.snapshots) == ((), ())


def test_a_failed_write_changes_nothing(fs: MemFileSystem) -> None:
    registry = Registry.load(fs, LAYOUT)
    registry.put(RECORD)
    fs.fail_on("write", "*REGISTRY*", 28)
    with pytest.raises(OSError, match="No space"):
        registry.remove(RECORD.id)
    assert registry.snapshots == Registry.load(fs, LAYOUT).snapshots == (RECORD,)


def test_a_damaged_registry_is_moved_aside_and_said(fs: MemFileSystem) -> None:
    Registry.load(fs, LAYOUT).put(RECORD)
    fs.damage(LAYOUT.registry, 200, b"x")
    registry = Registry.load(fs, LAYOUT)
    assert registry.snapshots == ()
    assert registry.problem is not None
    assert "moved to /data/REGISTRY.json.damaged" in registry.problem
    assert fs.exists("/data/REGISTRY.json.damaged")
    assert Registry.load(fs, LAYOUT).problem is None


def test_a_newer_registry_is_refused(fs: MemFileSystem) -> None:
    file = fs.create(LAYOUT.registry)
    file.pwrite([encode_document("registry", {"format_version": 2})], 0)
    with pytest.raises(UnsupportedFormat) as caught:
        Registry.load(fs, LAYOUT)
    assert caught.value.metadata["path"] == LAYOUT.registry


NAMES = [
    ("snap-2026-01-01-000000.snap", "snap-2026-01-01-000000"),
    ("snap-2026-01-01-000000-2.gz", "snap-2026-01-01-000000-2"),
    ("snap-2026-01-01-000000.snap.part", None),
    ("snap-2026-01-01-000000.tar", None),
    ("snap-2026-01-01-000000", None),
    ("other.snap", None),
    (".snap", None),
]


@pytest.mark.parametrize(("name", "id"), NAMES)
def test_a_snapshots_file_is_known_by_its_name(name: str, id: str | None) -> None:
    assert snapshot_file_id(name) == id
    assert snapshot_file_id(part_path(name)) is None
