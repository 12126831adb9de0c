"""Every file operation of a store's life fails once, and from then on: EIO and ENOSPC, one after the other.

Whatever fails, the caller hears of it as a HoldfastError, reads go on, nothing acknowledged is lost, nothing refused
comes back; lack of space passes when there is room again, a failed sync only with a restart (RULES 10, 26, 27).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import CommitUnknown, EngineFailed, HoldfastError, ResourceExhausted
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import Kit, abandon, rows
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe

IDS = [f"p{number}" for number in range(6)]
PAYLOAD = b'{"text":"%s"}' % (b"x" * 900)
SHARDS = 8
STRIDE = int(os.environ.get("HOLDFAST_ERROR_STRIDE", "2"))
"""1: every operation fails in each of the four ways; 2: in two of them."""


class Run:
    """One walk through the scenario, with the model beside it. ``unsure``: the states that a restart may also show."""

    def __init__(self, fs: MemFileSystem) -> None:
        self.fs = fs
        self.kit: Kit | None = None
        self.state = StoreState()
        self.unsure: list[StoreState] = []
        self.errors: list[HoldfastError] = []
        self.serial = 0
        self.suspicion = 0
        """Steps for which reads are compared with the model: reading everything after every step takes long."""
        self.logging = True
        self.fsync = True

    def attempt(self, action: Callable[[Kit], object], then: Callable[[StoreState], StoreState] | None = None) -> bool:
        """Do something that may fail; ``then``: what it does to the state. Returns whether it succeeded."""
        if self.kit is None:
            return False
        before = len(self.errors)
        engine = self.kit.engine
        failed_before = engine.failure is not None
        try:
            action(self.kit)
        except HoldfastError as error:
            self.errors.append(error)
            if isinstance(error, CommitUnknown) and then is not None:
                self._happened(then, certain=False)
        else:
            assert not (failed_before and then), "a failed engine took a write"
            if then is not None:
                self._happened(then, certain=True)
        failed = len(self.errors) > before
        self.suspicion = 3 if failed else self.suspicion - 1
        if self.suspicion > 0:
            assert observe(engine, IDS) == self.state
        return not failed

    def _happened(self, then: Callable[[StoreState], StoreState], *, certain: bool) -> None:
        """With the log, what is in doubt is not visible; without it everything is visible and nothing certain."""
        if not self.logging:
            self.unsure.append(self.state)
            self.state = then(self.state)
        elif certain:
            self.state = then(self.state)
        else:
            self.unsure.append(then(self.state))

    def open(self) -> None:
        """Start, on whatever is there; a failure is an error of the start, and the next one may succeed."""
        try:
            self.kit = Kit(self.fs)
        except HoldfastError as error:
            self.errors.append(error)
            self.kit = None
            assert not self.fs.locked, "a failed start keeps the lock"
        else:
            self._take_stock(self.kit)

    def _take_stock(self, kit: Kit) -> None:
        """After a start: what was acknowledged is there, and what was in flight may be."""
        found = observe(kit.engine, IDS)
        allowed = [state.restarted() for state in (self.state, *self.unsure)]
        assert found in allowed, "a restart shows neither what was acknowledged nor what was in flight"
        self.state = found
        self.unsure.clear()
        self._look()

    def create(self, name: str, storage: StorageKind = StorageKind.DISK) -> None:
        self.attempt(lambda kit: kit.create(name, storage=storage), lambda state: state.created(name, 2, storage))

    def upsert(self, name: str, *ids: str, payload: bytes | None = None) -> None:
        if self.kit is None or name not in self.state.collections:
            return
        self.serial += 1
        vectors = rows(*[self.serial + n for n in range(len(ids))])
        payloads = [payload] * len(ids)
        sequence = self.kit.engine.sequence + 1
        self.attempt(
            lambda kit: kit.upsert(ids, *vectors[:, 0].tolist(), name=name, payloads=payloads),
            lambda state: state.upserted(name, ids, vectors, payloads, sequence),
        )

    def delete(self, name: str, *ids: str) -> None:
        if name in self.state.collections:
            self.attempt(lambda kit: kit.delete(*ids, name=name), lambda state: state.deleted(name, ids))

    def truncate(self, name: str) -> None:
        if name in self.state.collections:
            self.attempt(
                lambda kit: kit.engine.points.truncate(name, caller=Caller()), lambda state: state.deleted(name, IDS)
            )

    def drop(self, name: str) -> None:
        if name in self.state.collections:
            self.attempt(lambda kit: kit.engine.collections.drop(name, caller=Caller()), lambda s: s.dropped(name))

    def alias(self, alias: str, name: str) -> None:
        if name in self.state.collections:
            self.attempt(
                lambda kit: kit.engine.collections.create_alias(alias, name, caller=Caller()),
                lambda state: state.aliased(alias, name),
            )

    def checkpoint(self) -> None:
        if self.attempt(lambda kit: kit.engine.checkpoint()):
            self.unsure.clear()

    def change(self, changes: WalChanges) -> None:
        if self.attempt(lambda kit: kit.engine.wal.enable(changes, caller=Caller())):
            self.unsure.clear()
        self._look()

    def disable(self) -> None:
        self.attempt(lambda kit: kit.engine.wal.disable(caller=Caller()))
        self._look()

    def _look(self) -> None:
        if self.kit is not None:
            settings = self.kit.engine.wal.status().settings
            self.logging, self.fsync = settings.enabled, settings.sync_mode is SyncMode.FSYNC

    def tend(self) -> None:
        """What the fsync thread does."""
        self.attempt(lambda kit: kit.sync_log())
        for name in ("prepare_next", "write_ahead", "marker"):
            self.attempt(lambda kit, name=name: kit.log and getattr(kit.log, name)())

    def stop(self) -> None:
        self.attempt_stop()
        self.kit = None

    def attempt_stop(self) -> None:
        if self.kit is None:
            return
        try:
            self.kit.engine.stop()
        except HoldfastError as error:
            self.errors.append(error)
        assert not self.fs.locked

    def restart_healed(self) -> None:
        """The disk works again and the daemon is started anew."""
        self.fs.heal()
        abandon(self.fs)
        self.kit = Kit(self.fs)
        self._take_stock(self.kit)


def live(run: Run) -> None:
    """The scenario: a little of everything that touches files."""
    run.open()
    run.create("a")
    run.create("m", StorageKind.MEMORY)
    run.upsert("a", "p0", "p1", "p2")
    run.upsert("m", "p0")
    run.checkpoint()
    run.upsert("a", "p1", "p3", payload=PAYLOAD)
    run.delete("a", "p0")
    run.tend()
    run.upsert("a", "p4", payload=PAYLOAD)
    run.upsert("a", "p5", "p4", payload=PAYLOAD)
    run.alias("x", "a")
    run.create("b")
    run.upsert("b", "p0", "p1")
    run.checkpoint()
    run.change(WalChanges(path="wal-2"))
    run.upsert("b", "p2", payload=PAYLOAD)
    run.truncate("b")
    run.drop("b")
    run.disable()
    run.create("c")
    run.checkpoint()
    run.change(WalChanges())
    run.upsert("c", "p1")
    run.stop()
    if run.kit is None:
        run.open()
    run.upsert("a", "p2")
    run.checkpoint()
    run.upsert("a", "p3")


def finish(run: Run) -> None:
    """The store is whole after the fault, survives a power cut, and takes writes."""
    run.restart_healed()
    if "a" not in run.state.collections:
        run.create("a")
    run.upsert("a", "p1", "p5")
    run.checkpoint()
    assert run.errors is not None
    before = len(run.errors)
    run.upsert("a", "p0")
    assert len(run.errors) == before
    assert run.kit is not None
    assert run.kit.engine.failure is None
    run.restart_healed()


def count_operations() -> int:
    fs = MemFileSystem(record=False)
    run = Run(fs)
    live(run)
    assert not run.errors
    assert run.state.collections["a"].points
    return fs.ops


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_any_file_operation_may_fail(code: int, forever: bool, shard: int) -> None:
    offset = (code == errno.EIO) + forever
    for index in range(shard * STRIDE + offset % STRIDE, count_operations(), SHARDS * STRIDE):
        fs = MemFileSystem(record=False)
        fs.fail_at(index, code, forever)
        run = Run(fs)
        try:
            live(run)
            finish(run)
        except BaseException as error:
            error.add_note(f"operation {index} failed; what the callers heard: {run.errors}")
            raise


def test_a_failed_engine_serves_reads_and_only_a_restart_clears_it() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["p0"])
    kit.fs.fail_on("sync", "*/wal/*")
    with pytest.raises(CommitUnknown):
        kit.upsert(["p1"])
    kit.fs.heal()
    for write in (lambda: kit.upsert(["p2"]), lambda: kit.delete("p0"), lambda: kit.create("other")):
        with pytest.raises(EngineFailed):
            write()
    assert list(kit.values()) == ["p0"]
    assert kit.engine.failure is not None
    assert kit.engine.alarms()[0].code == "ENGINE_FAILED"
    kit.reopen()
    assert kit.engine.failure is None
    assert kit.upsert(["p2"]).durable


def test_lack_of_space_refuses_a_write_and_passes() -> None:
    kit = Kit()
    kit.create()
    kit.upsert(["p0"])
    kit.fs.fail_on("write", "*/wal/*", errno.ENOSPC, times=3)
    for _ in range(3):
        with pytest.raises(ResourceExhausted):
            kit.upsert(["p1"])
    assert kit.engine.failure is None
    kit.upsert(["p2"])
    assert list(kit.reopen() and kit.values()) == ["p0", "p2"]
