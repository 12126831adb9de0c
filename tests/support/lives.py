"""A random life of a store, recorded operation by operation, with what was promised to its clients at each moment.

A life has eras: an era is what happened on one file system between two power cuts. A sweep cuts the power after any
file operation of an era and holds what recovery finds to ``Era.promises``. ``Life.killed`` is a life that goes on
from a kill after any of them: its start believes what only the kernel holds, and its own era is swept like any other.
"""

from __future__ import annotations

import copy
import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from holdfastd.engine.compactions import CompactRequest
from holdfastd.engine.engine import Engine
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.format.payloads import join_payloads
from holdfastd.model import Float32Array, StorageKind, SyncMode
from tests.support.clock import ManualClock, SeededRandomness
from tests.support.engines import abandon, open_engine
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe

IDS = [f"id-{number}" for number in range(9)]
NAMES = ("alpha", "beta", "gamma")
ALIASES = ("first", "second")


class History:
    """The store's state after each operation, by sequence."""

    def __init__(self) -> None:
        self.sequences = [0]
        self.states = [StoreState()]
        self.requests: list[tuple[int, Callable[[Engine], object]]] = []
        """The logged ones, with their sequences; calling one sends the same request again."""

    @property
    def now(self) -> StoreState:
        return self.states[-1]

    def append(self, sequence: int, state: StoreState) -> None:
        assert sequence > self.sequences[-1], f"sequence {sequence} after {self.sequences[-1]}"
        self.sequences.append(sequence)
        self.states.append(state)

    def at(self, sequence: int) -> StoreState:
        """The state through ``sequence``."""
        return self.states[bisect_right(self.sequences, sequence) - 1]

    def cut_to(self, sequence: int) -> None:
        """Forget what lies behind ``sequence``: a power cut took it, or a restart emptied memory."""
        keep = bisect_right(self.sequences, sequence)
        del self.sequences[keep:], self.states[keep:]
        self.requests = [each for each in self.requests if each[0] <= sequence]
        self.states[-1] = self.states[-1].restarted()


@dataclass(frozen=True, slots=True)
class Promises:
    """What recovery after a power cut must find.

    ``durable``: operations through this sequence were acknowledged as on the disk. ``killed``: and those through this
    one outlive a kill of the process, in any mode. ``attempted``: nothing beyond this
    was ever asked for. ``acknowledged``: the highest sequence that a client has seen, durable or not. ``history``: the
    states that there may be.
    """

    durable: int
    killed: int
    attempted: int
    acknowledged: int
    timeline: int
    exists: bool
    history: History


@dataclass(slots=True)
class Era:
    """One file system and, by its operation count, what had been promised by then. ``opened``: when serving began."""

    fs: MemFileSystem
    start: Promises
    opened: int = 0
    moments: list[int] = field(default_factory=list)
    promises: list[Promises] = field(default_factory=list)

    def note(self, promises: Promises) -> None:
        """From the current operation on, this holds."""
        self.moments.append(self.fs.ops)
        self.promises.append(promises)

    def at(self, cut: int) -> Promises:
        """What holds when the power goes after ``cut`` operations."""
        index = bisect_right(self.moments, cut)
        return self.promises[index - 1] if index else self.start


class Life:
    """See the module. ``run`` records; ``eras`` are for the sweep."""

    def __init__(self, seed: int, sync_mode: SyncMode, make_fs: Callable[[], MemFileSystem] = MemFileSystem) -> None:
        self.rng = random.Random(f"{seed} {sync_mode}")
        self.clock = ManualClock()
        self.randomness = SeededRandomness(seed)
        self.fresh_mode = sync_mode
        self.history = History()
        self.eras: list[Era] = []
        self.attempted = self.acknowledged = self.durable = self.logged = 0
        self.mode = sync_mode
        self.logging = True
        self.serial = 0
        self.engine: Engine
        self._begin_era(make_fs())

    # Eras.

    def _begin_era(self, fs: MemFileSystem) -> None:
        exists = bool(self.eras)
        timeline = self.engine.timeline if exists else 1
        self.era = Era(fs, self._promises(timeline, exists))
        self.engine = open_engine(fs, clock=self.clock, randomness=self.randomness, sync_mode=self.fresh_mode)
        self.eras.append(self.era)
        self._continue(fresh=not exists)
        self.era.opened = fs.ops

    def _continue(self, *, fresh: bool = False) -> None:
        """After a start: what was recovered is durable, and is all there is."""
        sequence = self.engine.sequence
        old = self.history
        self.history = History()
        self.history.sequences, self.history.states = old.sequences[:], old.states[:]
        self.history.requests = old.requests[:]
        self.history.cut_to(sequence)
        self.durable = self.attempted = self.acknowledged = self.logged = sequence
        if not fresh:
            assert observe(self.engine, IDS) == self.history.now
        self.era.note(self._promises())

    def _promises(self, timeline: int | None = None, exists: bool = True) -> Promises:
        return Promises(
            durable=self.durable,
            killed=max(self.durable, self.logged),
            attempted=self.attempted,
            acknowledged=self.acknowledged,
            timeline=self.engine.timeline if timeline is None else timeline,
            exists=exists,
            history=self.history,
        )

    def power_cut(self) -> None:
        """The power goes now; the life goes on with what is left."""
        model = self.rng.choice(("prefix", "subset"))
        self.logged = self.durable
        self._begin_era(self.era.fs.crash(self.rng, model))  # type: ignore[arg-type]

    def restart(self) -> None:
        """Stop in order, start again on the same file system."""
        self.engine.stop()
        self._reopen()

    def kill(self) -> None:
        """SIGKILL: every acknowledged operation is there after the start, in every mode."""
        abandon(self.era.fs)
        expected = self.history.now.restarted() if self.logging else None
        self._reopen()
        if expected is not None:
            assert self.history.now == expected

    def killed(self, era: Era, cut: int, seed: int) -> Life:
        """Another life, which goes on from a kill after the first ``cut`` operations of ``era``.

        What the kernel holds by then is not durable by the kill: a power cut during the start, or behind it, may still
        take it.
        """
        life = copy.copy(self)
        life.rng, life.randomness = random.Random(seed), SeededRandomness(seed)
        promises = era.at(cut)
        life.history = promises.history
        life.era = Era(era.fs.killed_at(cut), promises)
        life.eras = [life.era]
        life._reopen()
        settings = life.engine.wal.status().settings
        life.mode, life.logging = settings.sync_mode, settings.enabled
        life.era.opened = life.era.fs.ops
        return life

    def _reopen(self) -> None:
        self.engine = open_engine(self.era.fs, clock=self.clock, randomness=self.randomness, sync_mode=self.fresh_mode)
        self._continue()

    def work(self) -> None:
        """A little of what clients ask for, all of it acknowledged, and of what makes things durable."""
        plans = (
            (self.upsert, self.checkpoint),
            (self.checkpoint, self.upsert),
            (self.delete, self.upsert, self.tick),
            (self.create, self.upsert),
            (self.upsert,),
        )
        for step in self.rng.choice(plans):
            step()

    # Steps.

    def run(self, steps: int, *, often: str = "") -> Life:
        """Live that many random steps, every other one out of ``often`` (names, separated by spaces)."""
        self.create()
        weights: list[tuple[Callable[[], None], int]] = [
            (self.upsert, 30),
            (self.delete, 12),
            (self.update, 6),
            (self.delete_where, 3),
            (self.truncate, 2),
            (self.create, 5),
            (self.drop, 3),
            (self.alias, 4),
            (self.checkpoint, 7),
            (self.busy_checkpoint, 3),
            (self.tick, 8),
            (self.mark, 1),
            (self.settings, 3),
            (self.disable, 2),
            (self.power_cut, 2),
            (self.restart, 2),
            (self.kill, 2),
        ]
        if often:
            total = sum(weight for _, weight in weights)
            weights += [(getattr(self, name), total // len(often.split())) for name in often.split()]
        for step in self.rng.choices([s for s, _ in weights], [w for _, w in weights], k=steps):
            step()
        self.upsert()
        return self

    def _operate(
        self,
        call: Callable[[Engine, str], int],
        then: Callable[[StoreState, int], StoreState],
        *,
        logged: bool = True,
    ) -> None:
        """Carry out one operation; ``call`` returns its sequence and is sent again with its request id by sweeps."""
        self.serial += 1
        request_id = f"request-{self.serial}"
        self.attempted = self.engine.sequence + 1
        self.era.note(self._promises())
        sequence = call(self.engine, request_id)
        self.acknowledged = sequence
        self.history.append(sequence, then(self.history.now, sequence))
        if self.logging:
            self.durable = max(self.durable, self.engine.durable_sequence)
        if self.logging and logged:
            self.logged = sequence
            self.history.requests.append((sequence, lambda engine: call(engine, request_id)))
        self.era.note(self._promises())

    def _collection(self, *, filled: bool = False) -> str | None:
        names = [name for name, state in self.history.now.collections.items() if state.points or not filled]
        return self.rng.choice(sorted(names)) if names else None

    def create(self) -> None:
        free = [name for name in NAMES if name not in self.history.now.collections]
        if not free:
            return
        name, dimensions = self.rng.choice(free), self.rng.choice((1, 3))
        storage = self.rng.choice((StorageKind.DISK, StorageKind.DISK, StorageKind.HYBRID, StorageKind.MEMORY))

        def call(engine: Engine, request_id: str) -> int:
            engine.collections.create(name, dimensions, storage=storage, caller=Caller(request_id=request_id))
            return engine.sequence

        self._operate(call, lambda state, _: state.created(name, dimensions, storage))
        self._ddl_is_durable()

    def drop(self) -> None:
        name = self._collection()
        if name is None:
            return

        def call(engine: Engine, request_id: str) -> int:
            engine.collections.drop(name, caller=Caller(request_id=request_id))
            return engine.sequence

        self._operate(call, lambda state, _: state.dropped(name))
        self._ddl_is_durable()

    def alias(self) -> None:
        alias, name = self.rng.choice(ALIASES), self._collection()
        if name is None:
            return
        known = alias in self.history.now.aliases
        if known and self.rng.random() < 0.3:

            def call(engine: Engine, request_id: str) -> int:
                engine.collections.delete_alias(alias, caller=Caller(request_id=request_id))
                return engine.sequence

            self._operate(call, lambda state, _: state.unaliased(alias))
        else:

            def call(engine: Engine, request_id: str) -> int:
                put = engine.collections.switch_alias if known else engine.collections.create_alias
                put(alias, name, caller=Caller(request_id=request_id))
                return engine.sequence

            self._operate(call, lambda state, _: state.aliased(alias, name))
        self._ddl_is_durable()

    def _ddl_is_durable(self) -> None:
        """With the log disabled, a change of the catalog replaces the manifest at once (RULES 5)."""
        if not self.logging:
            self.durable = self.acknowledged
            self.era.note(self._promises())

    def _vectors(self, name: str, count: int) -> Float32Array:
        values = [self.rng.randint(-9, 9) for _ in range(count * self.history.now.collections[name].dimensions)]
        return np.array(values, np.float32).reshape(count, -1)

    def _payloads(self, count: int) -> list[bytes | None]:
        return [
            self.rng.choice((None, b'{"n": %d}' % self.rng.randint(0, 3), b'{"n":1,"t":"%s"}' % (b"x" * 120)))
            for _ in range(count)
        ]

    def upsert(self) -> None:
        name = self._collection()
        if name is None:
            return self.create()
        count = self.rng.choice((1, 1, 2, 3, 5))
        ids = self.rng.choices(IDS, k=count)
        vectors, payloads = self._vectors(name, count), self._payloads(count)
        block = join_payloads(payloads)
        sync = self.logging and self._durable_kind(name) and self.fsync

        def call(engine: Engine, request_id: str) -> int:
            caller = Caller(actor="life", request_id=request_id, sync=sync)
            outcome = engine.points.upsert(name, ids, vectors, block, caller=caller)
            assert outcome.count == len(ids) or engine is not self.engine
            return outcome.sequence

        self._write(name, call, lambda state, sequence: state.upserted(name, ids, vectors, payloads, sequence))

    def _write(
        self, name: str, call: Callable[[Engine, str], int], then: Callable[[StoreState, int], StoreState]
    ) -> None:
        self._operate(call, then, logged=self._durable_kind(name))

    @property
    def fsync(self) -> bool:
        return self.mode is SyncMode.FSYNC

    def _durable_kind(self, name: str) -> bool:
        return self.history.now.collections[name].storage is not StorageKind.MEMORY

    def delete(self) -> None:
        name = self._collection()
        if name is None:
            return
        ids = self.rng.sample(IDS, k=self.rng.choice((1, 1, 2)))

        def call(engine: Engine, request_id: str) -> int:
            return engine.points.delete_ids(name, ids, caller=Caller(request_id=request_id)).sequence

        self._write(name, call, lambda state, _: state.deleted(name, ids))

    def delete_where(self) -> None:
        name = self._collection(filled=True)
        if name is None:
            return
        points = self.history.now.collections[name].points
        ids = [id for id, point in points.items() if point.payload is not None and b'"n": 2' in point.payload]
        if not ids:
            return

        def call(engine: Engine, request_id: str) -> int:
            return engine.points.delete_where(name, "n = 2", caller=Caller(request_id=request_id)).sequence

        self._write(name, call, lambda state, _: state.deleted(name, ids))

    def truncate(self) -> None:
        name = self._collection(filled=True)
        if name is None:
            return

        def call(engine: Engine, request_id: str) -> int:
            return engine.points.truncate(name, caller=Caller(request_id=request_id)).sequence

        self._write(name, call, lambda state, _: state.deleted(name, IDS))

    def update(self) -> None:
        name = self._collection(filled=True)
        if name is None:
            return
        points = self.history.now.collections[name].points
        ids = self.rng.sample(sorted(points), k=min(len(points), 2))
        vectors = self._vectors(name, len(ids))

        def call(engine: Engine, request_id: str) -> int:
            outcome = engine.points.update(
                name, ids, vectors=vectors, payload_block=b"", merge=False, caller=Caller(request_id=request_id)
            )
            return outcome.sequence

        payloads = [points[id].payload for id in ids]
        self._write(name, call, lambda state, sequence: state.upserted(name, ids, vectors, payloads, sequence))

    def mark(self) -> None:
        if not self.logging:
            return
        name = f"mark-{self.serial}"

        def call(engine: Engine, request_id: str) -> int:
            return engine.wal.mark(name, caller=Caller(request_id=request_id)).sequence

        self._operate(call, lambda state, _: state)

    # Steps that change nothing but how durable things are.

    def checkpoint(self) -> None:
        sequence = self.engine.checkpoint()
        self.durable = max(self.durable, sequence)
        self.era.note(self._promises())

    def compact(self) -> None:
        """Every dead row goes, and all segments of a collection become one."""
        compactions, operations = self.engine.compactions, self.engine.operations
        done = operations.wait(compactions.start(CompactRequest(aggressive=True), caller=Caller()).id)
        assert done.error is None, done.error.message
        self.durable = max(self.durable, self.engine.sequence)
        self.era.note(self._promises())

    def busy_checkpoint(self) -> None:
        """A checkpoint during which a client writes."""
        fs, writes = self.era.fs, [self.upsert, self.delete, self.drop, self.truncate, self.alias]
        wait = self.rng.randint(0, 40)

        def write_in_between(kind: str, path: str) -> None:
            nonlocal wait
            if "/collections/" not in path:
                return
            wait -= 1
            if wait < 0 and self.logging:
                fs.on_operation = None
                self.rng.choice(writes)()

        fs.on_operation = write_in_between
        try:
            self.checkpoint()
        finally:
            fs.on_operation = None

    def tick(self) -> None:
        """What the fsync thread does now and then."""
        log = self.engine._committer.log
        if log is None:
            return
        self.rng.choice((log.sync, log.sync, log.marker, log.prepare_next, log.write_ahead))()
        self.durable = max(self.durable, self.engine.durable_sequence)
        self.era.note(self._promises())

    def settings(self) -> None:
        if not self.logging:
            return self.enable()
        changes = self.rng.choice(
            (
                WalChanges(sync_mode=self.rng.choice(list(SyncMode))),
                WalChanges(path=self.rng.choice(("wal", "wal-2"))),
            )
        )
        self._change(changes)

    def _change(self, changes: WalChanges) -> None:
        status = self.engine.wal.enable(changes, caller=Caller())
        self.mode, self.logging = status.settings.sync_mode, True
        self.durable = max(self.durable, self.engine.durable_sequence)
        self.era.note(self._promises())

    def enable(self) -> None:
        self._change(WalChanges())
        self.durable = self.acknowledged
        self.era.note(self._promises())

    def disable(self) -> None:
        if not self.logging:
            return self.enable()
        self.engine.wal.disable(caller=Caller())
        self.logging = False
        self.durable = max(self.durable, self.logged)
        self.era.note(self._promises())
