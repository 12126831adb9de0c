"""Locks are taken in the order that ARCHITECTURE.md gives, whatever the store is doing: nobody waits in a circle."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

import pytest

from holdfastd.engine.cron import CronLine
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.log_archive_prune import ArchivePruneRequest
from holdfastd.engine.schedule import Schedule
from holdfastd.engine.snapshots import Marks, PruneRequest, SnapshotRequest
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import HoldfastError, ResourceExhausted
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER
from tests.support.lock_order import ROLE, LockOrder, record_locks
from tests.support.replays import ReplayKit
from tests.support.snapshots import raise_failure
from tests.support.sources import ROOT
from tests.support.transfers import bring, read_file

NIGHTLY = Schedule("nightly", CronLine("0 2 * * *"), SnapshotRequest(), RetentionPolicy(last=2))
PAGE = ROOT / "server" / "ARCHITECTURE.md"
LINE = re.compile(r"^(\d+)\. ((?:`\w+\.\w+`|whoever commits)(?:, .*)?)$", re.MULTILINE)
NAME = re.compile(rf"\w+\._\w+|{ROLE}")


def ranks() -> Mapping[str, int]:
    """By lock: the line of the page's list on which it stands."""
    section = PAGE.read_text(encoding="utf-8").partition("**The order.**")[2].partition("\n## ")[0]
    return {name: int(number) for number, names in LINE.findall(section) for name in NAME.findall(names)}


def against(order: LockOrder) -> list[tuple[str, str]]:
    """Which locks were waited for by a thread that held one of the same or a later line."""
    listed = ranks()
    return sorted((held, wanted) for held, wanted in order.taken if listed[held] >= listed[wanted])


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> LockOrder:
    return record_locks(monkeypatch)


@pytest.fixture
def kit(order: LockOrder) -> ReplayKit:
    """A store with all of its threads, a snapshot, and history behind it."""
    kit = ReplayKit(disk_reserve_bytes=1 << 20, schedules=(NIGHTLY,), archive_path="/archive")
    kit.create("c")
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"])
    kit.upsert(["x"], name="m")
    kit.engine.start()
    kit.snapshot()
    kit.upsert(["b"], caller=Caller(request_id="r1"))
    kit.delete("a")
    return kit


def roll_forward(kit: ReplayKit) -> None:
    kit.restore("latest", collection="copy", from_collection="c", verify=True)
    kit.replay(collection="copy", verify=True)
    kit.verify("latest")
    full = kit.later()
    kit.later(incremental=True)
    kit.consolidate(full.id)
    bring(kit, *read_file(kit, "latest"), "/elsewhere")
    kit.engine.snapshots.mark(kit.ids()[0], Marks(pinned=True), caller=Caller(request_id="pin"))
    policy = PruneRequest(RetentionPolicy(last=1))
    kit.engine.snapshots.prune(policy, caller=Caller(request_id="prune"))
    kit.engine.snapshots.mark(kit.ids()[0], Marks(pinned=False))
    kit.clock.advance_us(86_400_000_000)
    kit.engine.schedules.run_if_due(NIGHTLY)
    assert kit.compact(aggressive=True)["rows_dropped"]
    assert kit.engine._compaction_thread.look()
    kit.engine.operations.list()


def change_the_log(kit: ReplayKit) -> None:
    kit.engine.wal.mark("here", caller=CALLER)
    kit.engine.wal.enable(WalChanges(sync_mode=SyncMode.PERIODIC), caller=CALLER)
    kit.upsert(["p"], caller=Caller(sync=True))
    kit.engine.wal.disable(caller=CALLER)
    kit.create("unlogged")
    kit.engine.collections.drop("unlogged", caller=CALLER)
    kit.clock.advance_us(1_000_000)
    kit.snapshot()
    kit.engine.wal.enable(WalChanges(path="wal-2"), caller=CALLER)
    kit.engine.wal.verify()
    kit.engine.archiving.flush()
    pruning = kit.engine.archiving.start_prune(ArchivePruneRequest(), kit.engine.operations, caller=CALLER)
    raise_failure(kit.engine.operations.wait(pruning.id))
    kit.engine.alarms()


def write_much(kit: ReplayKit) -> None:
    for n in range(100):
        kit.upsert([f"z{n}"], payloads=[b'{"text":"%s"}' % (b"x" * 5000)])


def fill_the_disk(kit: ReplayKit) -> None:
    kit.fs.fail_on("write", "/data/MANIFEST*", errno.ENOSPC)
    kit.engine.checkpoint()
    kit.fs.leave_free(0)
    with pytest.raises(ResourceExhausted):
        write_much(kit)
    kit.delete("b")
    for id in kit.ids():
        kit.engine.snapshots.delete(id, caller=Caller(request_id=f"delete {id}"))
    kit.fs.capacity = None
    kit.upsert(["again"])


def lose_the_disk(kit: ReplayKit) -> None:
    kit.fs.fail_on("sync", "/data/MANIFEST*", errno.EIO, forever=True)
    with pytest.raises(HoldfastError):
        kit.engine.checkpoint()
    kit.engine.alarms()
    kit.engine.status()


def test_a_whole_life_takes_its_locks_in_order(kit: ReplayKit, order: LockOrder) -> None:
    for act in (roll_forward, change_the_log, fill_the_disk, lose_the_disk):
        act(kit)
    kit.engine.stop()
    assert order.seen == ranks().keys(), "a lock that the page does not list, or lists in vain"
    assert against(order) == []
    assert (ROLE, "ManifestKeeper._lock") in order.taken
    assert ("ManifestKeeper._lock", "Committer._lock") in order.taken


def test_a_stop_takes_its_locks_in_order(kit: ReplayKit, order: LockOrder) -> None:
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["late"])
    kit.engine.stop()
    assert against(order) == []


def test_what_is_taken_against_the_order_is_noticed(kit: ReplayKit, order: LockOrder) -> None:
    with kit.engine._room._lock, kit.engine._checkpointer.exclusive():
        pass
    with kit.engine._keeper._lock:
        kit.engine._committer.between_groups(lambda: None)
    kit.engine.stop()
    assert against(order) == [
        ("ManifestKeeper._lock", ROLE),
        ("Room._lock", "Checkpointer._one_at_a_time"),
    ]
