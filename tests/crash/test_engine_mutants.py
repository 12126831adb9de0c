"""The sweep bites: break the order of durable changes in one place, and some power cut must show it."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from holdfastd.engine import recovery, recovery_apply, sealing
from holdfastd.engine.checkpoint import Checkpointer
from holdfastd.engine.committer import Committer
from holdfastd.engine.machinery import Machinery
from holdfastd.engine.recovery import _Recovery
from holdfastd.engine.wal_control import WalControl
from holdfastd.errors import HoldfastError
from holdfastd.model import SyncMode
from holdfastd.storage import id_index, manifest, segment_writer, wal_recovery
from holdfastd.storage.kills import Kills
from tests.crash.test_engine_crash import Sweep
from tests.support.engines import Fatal
from tests.support.lives import Life
from tests.support.memfs import MemFileSystem
from tests.support.mutants import Mutant, mutate

LIVES = 30
STEPS = 24

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Broken(Mutant):
    """It matters in this ``mode``, with these steps, where a kill comes at so many of the operations (``kills``)."""

    mode: SyncMode = SyncMode.FSYNC
    often: str = ""
    kills: float = 0


MUTANTS = {
    "acknowledge before the sync": Broken(Committer, "_write", "self.log.sync()", "pass"),
    "manifest without a directory sync": Broken(
        manifest,
        "commit",
        "fs.rename(temporary, layout.manifest)\n        fs.sync_dir(layout.root)",
        "fs.rename(temporary, layout.manifest)",
    ),
    "manifest without a file sync": Broken(manifest, "write_temporary", "file.sync()", "pass"),
    "manifest before the log": Broken(Checkpointer, "_sync_log", "is not None", "is False", SyncMode.PERIODIC),
    "segment names not synced": Broken(segment_writer, "name_segment", "fs.sync_dir(directory)", "pass"),
    "segment directory not synced": Broken(
        segment_writer, "name_segment", "fs.sync_dir(layout.collection_dir(collection_id))", "pass"
    ),
    "index run not synced": Broken(id_index, "_write", "fs.sync_dir(layout.ids_dir(collection_id))", "pass"),
    "kills not written": Broken(sealing.Sealer, "_write_kills", "> entry.checkpoint_sequence", "< 0"),
    "kills not synced": Broken(Kills, "write", "fs.sync_dir(directory)", "pass"),
    "kills during a checkpoint forgotten": Broken(
        sealing, "_carry_over_kills", "if len(fresh):", "if False:", often="upsert busy_checkpoint delete"
    ),
    "catalog changes applied twice": Broken(
        recovery_apply, "_is_news", "sequence > manifest.sequence", "True", often="create alias drop power_cut"
    ),
    "the sequence goes back": Broken(
        _Recovery,
        "_recover_log",
        "max(self.applier.sequence, manifest.sequence, recovered.last_sequence)",
        "self.applier.sequence",
        often="upsert create kill",
    ),
    "no new timeline": Broken(
        recovery, "may_have_lost_writes", "not manifest.clean and not lossless", "False", SyncMode.ASYNC
    ),
    "request ids not recovered": Broken(recovery, "apply_log", "if logged.request_id and", "if False and"),
    "the rest of a disabled log not applied": Broken(
        _Recovery,
        "_recover_log",
        "self._apply_log()",
        "manifest.wal_settings.enabled and self._apply_log()",
        often="upsert disable kill",
    ),
    "fsync mode before the sync": Broken(
        WalControl, "_apply_locked", "log.sync()", "pass", SyncMode.ASYNC, often="upsert settings"
    ),
    "catalog of a disabled log left to the next checkpoint": Broken(
        Machinery, "catalog_changed", "self.committer.log is not None", "True", often="create disable alias kill"
    ),
    "names that a kill has left are believed": Broken(
        _Recovery, "_sync_names", "self.fs.sync_dir(path)", "pass", kills=1
    ),
    "a tail that a kill has left is believed": Broken(wal_recovery, "_fix_tail", "file.sync()", "pass", kills=1),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_sweep_notices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant = MUTANTS[name]
    mutate(monkeypatch, mutant)
    assert is_noticed(mutant.mode, often=mutant.often, kills=mutant.kills)


class LyingSync(MemFileSystem):
    """A disk that says it has synced and has not."""

    def sync_node(self, node: int, path: str) -> None:
        """Nothing."""


class LyingDirectorySync(MemFileSystem):
    """A disk that says it has synced names and has not."""

    def sync_dir(self, path: str) -> None:
        """Nothing."""


@pytest.mark.parametrize("disk", [LyingSync, LyingDirectorySync])
def test_the_sweep_notices_a_disk_that_lies(disk: type[MemFileSystem]) -> None:
    assert is_noticed(SyncMode.FSYNC, disk)


def is_noticed(mode: SyncMode, disk: type[MemFileSystem] = MemFileSystem, often: str = "", kills: float = 0) -> bool:
    """Whether one of a few lives ends badly."""
    for seed in range(LIVES):
        try:
            Sweep(Life(seed, mode, disk).run(STEPS, often=often), random.Random(seed), kills).run(draws=2)
        except (AssertionError, HoldfastError, Fatal):
            return True
    return False


@pytest.mark.parametrize(("mode", "often"), sorted({(mutant.mode, mutant.often) for mutant in MUTANTS.values()}))
def test_the_sweep_finds_nothing_in_sound_code(mode: SyncMode, often: str) -> None:
    for seed in range(1):
        Sweep(Life(seed, mode).run(STEPS, often=often), random.Random(seed)).run(draws=1)
