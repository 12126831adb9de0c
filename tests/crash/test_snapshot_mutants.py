"""The sweeps of snapshots bite: leave a sync out, or turn an order round, and some power cut or kill must show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from holdfastd.engine import open_upload, snapshot_catalog, snapshot_settle, snapshot_upload, staging
from holdfastd.engine.snapshot_catalog import SnapshotCatalog
from holdfastd.engine.snapshot_create import SnapshotCreation
from holdfastd.engine.snapshot_publish import Publisher
from holdfastd.engine.snapshot_stage import Stager
from holdfastd.engine.snapshot_upload import Uploads
from holdfastd.errors import HoldfastError
from holdfastd.model import SyncMode
from holdfastd.storage import registry, uploads
from holdfastd.storage.bulk import BulkWriter
from tests.crash import test_increment_crash as increments
from tests.crash import test_prune_crash as prunes
from tests.crash import test_snapshot_crash as snapshots
from tests.crash import test_upload_crash as brought
from tests.support import snapshot_sweeps
from tests.support.mutants import Mutant, mutate
from tests.support.snapshot_sweeps import BACKUPS

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

Sweeping = Callable[[pytest.MonkeyPatch], None]


def unheard(*_: object) -> None:
    """Nobody counts these states."""


def pruned(_: pytest.MonkeyPatch) -> None:
    prunes.test_a_power_cut_while_snapshots_are_pruned(unheard)


def created(_: pytest.MonkeyPatch) -> None:
    snapshots.test_a_power_cut_while_a_snapshot_is_created({"path": BACKUPS, "compress": True}, SyncMode.FSYNC, unheard)


def unlogged(_: pytest.MonkeyPatch) -> None:
    snapshots.test_a_snapshot_of_what_no_log_holds_never_outlives_it(snapshots.without_log)


def restored(_: pytest.MonkeyPatch) -> None:
    snapshots.test_a_power_cut_while_a_snapshot_is_restored({"overwrite": True}, SyncMode.FSYNC, unheard)


def restored_unlogged(_: pytest.MonkeyPatch) -> None:
    snapshots.test_a_power_cut_while_a_snapshot_is_restored({"overwrite": True}, None, unheard)


def consolidated(_: pytest.MonkeyPatch) -> None:
    increments.test_a_power_cut_while_a_chain_is_consolidated(unheard)


def uploaded(monkeypatch: pytest.MonkeyPatch) -> None:
    brought.test_a_power_cut_while_a_snapshot_is_brought_here(BACKUPS, unheard, monkeypatch)


def thrown_away(_: pytest.MonkeyPatch) -> None:
    brought.test_a_power_cut_while_an_upload_is_thrown_away(brought.given_up)


@dataclass(frozen=True)
class Broken(Mutant):
    """``sweep`` has to notice it."""

    sweep: Sweeping


REMOVED = "self._end_removal(info.id, info.path, gone=True, leaving=info)"
UNLINKED = "if info.state != MISSING:\n            # The file first"
NAMED = "self._catalog.take_in(upload.part_path, path)"
MUTANTS = {
    "a deletion not synced": Broken(
        SnapshotCatalog, "delete", "self._fs.sync_dir(parent_of(info.path))", "pass", pruned
    ),
    "a deletion not noted": Broken(SnapshotCatalog, "delete", "self._note_removal(info.id)", "pass", pruned),
    "forgotten before it is deleted": Broken(
        SnapshotCatalog, "delete", UNLINKED, f"{REMOVED}\n        {UNLINKED}", pruned
    ),
    "a deletion that a kill has cut is believed": Broken(
        snapshot_settle, "is_gone", "fs.sync_dir(parent_of(path))", "pass", pruned
    ),
    "a name that a kill has left is believed": Broken(
        snapshot_settle, "look_at", "fs.sync_dir(parent_of(path))", "pass", created
    ),
    "a registry not synced": Broken(registry, "replace_file", "fs.sync_dir(parent_of(path))", "pass", pruned),
    "contents not synced": Broken(BulkWriter, "_settle", "self._file.sync()", "pass", created),
    "a snapshot's name not synced": Broken(
        SnapshotCreation, "_publish", "fs.sync_dir(self._directory)", "pass", created
    ),
    "a snapshot begun without a note": Broken(
        SnapshotCatalog, "reserve", "self._begin(pending)", "self._under_way.add(pending.id)", created
    ),
    "a snapshot that outlives what it holds": Broken(
        SnapshotCreation, "_carry_out", "self._outlive(pinned)", "pass", unlogged
    ),
    "consolidated names not synced": Broken(
        SnapshotCatalog, "replace_files", "self._fs.sync_dir(parent_of(path))", "pass", consolidated
    ),
    "consolidated without a note": Broken(
        SnapshotCatalog,
        "begin_rewriting",
        "self._begin(*pending)",
        "self._under_way.update(each.id for each in pending)",
        consolidated,
    ),
    "registered before it is in its place": Broken(
        SnapshotCatalog,
        "replace_files",
        "self._replaced += 1",
        "self._the_registry().put(replace(record, path=self._layout.relative(path)))",
        consolidated,
    ),
    "staged names not synced": Broken(staging.Staging, "seal", "context.fs.sync_dir(directory)", "pass", restored),
    "a staged part's names not synced": Broken(
        Stager, "_finish_part", "context.fs.sync_dir(directory)", "pass", restored
    ),
    "without a log, a restore that no manifest names": Broken(
        Publisher,
        "settle",
        "context.committer.between_groups(partial(swap_manifest, context))",
        "pass",
        restored_unlogged,
    ),
    "an upload not synced": Broken(open_upload.Upload, "sync", "self._file.sync()", "pass", uploaded),
    "an upload's name not synced": Broken(Uploads, "_fresh", "context.fs.sync_dir(parent_of(path))", "pass", uploaded),
    "an upload begun without a note": Broken(Uploads, "_fresh", "self.note(record)", "pass", uploaded),
    "an upload's final name not synced": Broken(
        snapshot_catalog, "take_in", "fs.sync_dir(parent_of(path))", "pass", uploaded
    ),
    "an upload registered before it has its name": Broken(
        snapshot_catalog, "take_in", "fs.rename(part, path)", "registry.put(record); fs.rename(part, path)", uploaded
    ),
    "an upload forgotten before it has its name": Broken(
        Uploads, "publish", NAMED, f"self._forget(upload.record); {NAMED}", uploaded
    ),
    "the list of uploads not synced": Broken(uploads, "replace_file", "fs.sync_dir(parent_of(path))", "pass", uploaded),
    "an upload that is thrown away, not synced": Broken(
        snapshot_upload, "remove_file", "fs.sync_dir(parent_of(path))", "pass", thrown_away
    ),
    "an upload forgotten before it is thrown away": Broken(
        Uploads,
        "_forget_over",
        "self._remove_part(record)",
        "self._forget(record); self._remove_part(record)",
        thrown_away,
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_sweep_notices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutate(monkeypatch, mutant)
    monkeypatch.setattr(snapshot_sweeps, "KILLS", 1)
    with pytest.raises((AssertionError, HoldfastError, LookupError, OSError)):
        mutant.sweep(monkeypatch)
