"""RULES 17, wherever a life is cut: what was sent is sent again, and the store is as if each was done exactly once."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.model import SyncMode
from tests.support.engines import CALLER
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.snapshot_sweeps import KILLS
from tests.support.snapshots import SnapshotKit

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Request:
    """One request; ``send`` returns how many points it is told to have changed. Without an id it is not repeated."""

    id: str
    send: Callable[[SnapshotKit, Caller], int]

    def sent_to(self, kit: SnapshotKit) -> int:
        """Send it, the first time or again."""
        return self.send(kit, Caller(actor="test", request_id=self.id))


def upsert(request_id: str, id: str, value: float) -> Request:
    return Request(request_id, lambda kit, caller: kit.upsert([id], value, caller=caller).count)


def delete(request_id: str, *ids: str) -> Request:
    return Request(request_id, lambda kit, caller: kit.delete(*ids, caller=caller).count)


def act(do: Callable[[SnapshotKit], object]) -> Request:
    def send(kit: SnapshotKit, caller: Caller) -> int:
        do(kit)
        return 0

    return Request("", send)


DROP = Request("drop", lambda kit, caller: kit.engine.collections.drop("k", caller=caller).outcome.count)
LIFE = [
    upsert("r1", "c", 3),
    delete("r2", "a"),
    act(lambda kit: kit.snapshot()),
    upsert("r3", "c", 4),
    upsert("r4", "d", 5),
    act(lambda kit: kit.restore("latest", collection="r", from_collection="c")),
    upsert("r5", "c", 6),
    delete("r6", "b", "d"),
    DROP,
    upsert("r7", "d", 7),
    act(lambda kit: kit.engine.checkpoint()),
    upsert("r8", "d", 8),
]


def begun(mode: SyncMode | None) -> SnapshotKit:
    """Points in a segment and in the log, and a second collection; with None the log is off by now."""
    kit = SnapshotKit(sync_mode=mode or SyncMode.FSYNC)
    kit.create()
    kit.create("k")
    kit.upsert(["n", "m"], name="k")
    kit.upsert(["a"], 1)
    kit.engine.checkpoint()
    kit.upsert(["b"], 2)
    kit.sync_log()
    if mode is None:
        kit.engine.wal.disable(caller=CALLER)
    return kit


def state(kit: SnapshotKit) -> Any:
    """What being done twice, or not at all, would change."""
    names = {each.spec.name for each in kit.engine.collections.list()}
    return kit.values(), kit.versions(), "k" in names


def survivor(fs: MemFileSystem, mode: SyncMode | None) -> SnapshotKit:
    """The store that the next start makes of what is left."""
    return SnapshotKit(fs, seed=77, sync_mode=mode or SyncMode.FSYNC)


def left_after_a_kill(fs: MemFileSystem, mode: SyncMode | None, sent: int) -> Disk:
    """What a power cut leaves once a start, which believes what the kernel still holds, has answered all over again."""
    again = survivor(fs, mode)
    for request in LIFE[:sent]:
        if request.id:
            request.sent_to(again)
    return fs.crash_disk_at(fs.ops, random.Random(sent), "nothing")


@pytest.mark.parametrize("mode", [None, SyncMode.ASYNC], ids=["no log", "async"])
def test_whatever_was_sent_before_a_kill_or_a_power_cut_is_done_exactly_once_when_it_is_sent_again(
    mode: SyncMode | None, record_property: Callable[[str, object], None]
) -> None:
    kit = begun(mode)
    born = kit.fs.ops
    starts: list[int] = []
    counts: list[int] = []
    states = [state(kit)]
    for request in LIFE:
        starts.append(kit.fs.ops)
        counts.append(request.sent_to(kit))
        states.append(state(kit))
    seen: set[int] = set()
    looked_at, rng = 0, random.Random(7)
    for at in range(born, kit.fs.ops + 1):
        sent = sum(start <= at for start in starts)
        left = [kit.fs.kill_disk_at(at), kit.fs.crash_disk_at(at, random.Random(at))]
        if rng.random() < KILLS:
            left.append(left_after_a_kill(kit.fs.killed_at(at), mode, sent))
        for disk in left:
            looked_at += 1
            again = survivor(MemFileSystem(disk, record=False), mode)
            told = [request.sent_to(again) for request in LIFE[:sent] if request.id]
            assert told == [count for count, request in zip(counts, LIFE[:sent], strict=False) if request.id]
            assert state(again) == states[sent]
            seen.add(disk.digest())
    record_property("crash_states", looked_at)
    record_property("distinct_states", len(seen))
