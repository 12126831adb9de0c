"""Random histories of a store with a model beside it, for moments to be asked for: what was it then?

The model shares no code with the engine. It knows what the store was behind every sequence of the history that stands,
since when nothing could be lost, where there was no log, and what each snapshot holds. Steps may be cut off by a power
cut at any file operation; what is found then has to be the state behind the sequence that the store goes on from.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from holdfastd.engine.history import Ending
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.snapshots import Marks, PruneRequest
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import FailedPrecondition, NotFound, OutOfRange
from holdfastd.format.payloads import join_payloads
from holdfastd.model import StorageKind, SyncMode
from tests.support.chronicle_facts import Kept, Silence, lasting, some_of, within, without_aliases, written
from tests.support.chronicle_upkeep import Upkeep
from tests.support.engines import CALLER, abandon
from tests.support.memfs import MemFileSystem
from tests.support.oracle import CollectionState, StoreState, observe
from tests.support.replays import ReplayKit

IDS = [f"id-{number}" for number in range(8)]
NAMES = ("one", "two", "three", "m")
MEMORY = "m"
ALIASES = ("left", "right")
PLACES = (None, "/daily", "/off-site")
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
PASSES = (0, 1, 50, SECOND_US, 90 * SECOND_US)
JUMPS = (-30 * 24 * HOUR_US, -2 * HOUR_US, -SECOND_US, -1, SECOND_US, 3 * HOUR_US, 45 * 24 * HOUR_US)
COPY = "copy"


@dataclass
class Chronicle(Upkeep):
    """One history. ``durable``: nothing through this sequence may be lost.

    ``restores``: what was done at these sequences has its content in no log; ``unlogged``: these are in none at all.
    ``lives``: since when each name stood for what it stood for. ``done``: each operation that was ever done and when,
    those included that were lost again.
    """

    rng: random.Random
    mode: SyncMode
    tally: Counter[str] = field(default_factory=Counter)
    kit: ReplayKit = field(init=False)
    now: StoreState = field(default_factory=StoreState)
    states: dict[int, StoreState] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    snapshots: dict[tuple[str, int], Kept] = field(default_factory=dict)
    restores: set[int] = field(default_factory=set)
    unlogged: set[int] = field(default_factory=set)
    silences: list[Silence] = field(default_factory=list)
    lives: dict[int, dict[str, int]] = field(default_factory=dict)
    done: set[tuple[int, int]] = field(default_factory=set)
    durable: int = 0
    logging: bool = True

    def __post_init__(self) -> None:
        self.kit = ReplayKit(sync_mode=self.mode)

    def live(self, steps: int) -> Chronicle:
        """Begin with a whole snapshot, then do whatever comes, now and then cut off by a power cut."""
        self.note()
        # What is trimmed with its age is another story, and clocks jump here.
        self.kit.engine.wal.enable(WalChanges(retention_us=100 * 365 * 24 * HOUR_US), caller=CALLER)
        self.create()
        self.write()
        self.snapshot(whole=True)
        weights: tuple[tuple[Callable[[], object], int], ...] = (
            (self.write, 24),
            (self.delete, 8),
            (self.delete_where, 3),
            (self.update, 4),
            (self.truncate, 1),
            (self.create, 5),
            (self.drop, 3),
            (self.renew, 2),
            (self.alias, 4),
            (self.snapshot, 10),
            (self.unmake, 3),
            (self.checkpoint, 5),
            (self.compact, 4),
            (self.compact_meanwhile, 4),
            (self.tick, 4),
            (self.jump, 4),
            (self.start_again, 3),
            (self.lose_power, 2),
            (self.switch_the_log, 2),
            (self.move_the_log, 1),
            (self.drill, 2),
            (self.go_back, 1),
        )
        for step in self.rng.choices([each for each, _ in weights], [weight for _, weight in weights], k=steps):
            if self.rng.random() < 0.06:
                self.cut_off(step)
            else:
                step()
            self.kit.clock.advance_us(self.rng.choice(PASSES))
            self.look()
        return self

    # The model ------------------------------------------------------------------------------------------------------

    @property
    def sequence(self) -> int:
        return self.kit.engine.sequence

    def did(self, state: StoreState, *, logged: bool = True, ended: Collection[str] = ()) -> None:
        """The store has taken an operation, and is ``state`` since. ``ended``: names that stand for another one now."""
        self.now = state
        earlier = max((known for each, known in self.times.items() if each < self.sequence), default=0)
        assert self.kit.engine._applier.time_us > earlier, "time has not gone on"
        self.note(ended)
        if not (self.logging and logged):
            self.unlogged.add(self.sequence)
        elif self.mode is SyncMode.FSYNC:
            self.is_durable()

    def note(self, ended: Collection[str] = ()) -> None:
        """A name stands for one life until what it stood for ends."""
        self.states[self.sequence] = self.now
        before = self.lives.get(max(self.lives, default=0), {})
        before = {name: life for name, life in before.items() if name not in ended}
        self.lives[self.sequence] = {name: before.get(name, self.sequence) for name in self.now.collections}
        self.times.setdefault(self.sequence, self.kit.engine._applier.time_us)
        self.done.add((self.sequence, self.times[self.sequence]))

    def is_durable(self) -> None:
        self.durable = self.sequence

    def at(self, sequence: int) -> StoreState:
        """What the store was when ``sequence`` was its last operation."""
        return self.states[max(each for each in self.states if each <= sequence)]

    def at_time(self, time_us: int) -> int:
        """The last operation by then."""
        return max((each for each, known in self.times.items() if known <= time_us), default=0)

    def look(self) -> None:
        assert observe(self.kit.engine) == self.now
        assert written(self.kit.engine) <= self.done

    def recovered(self, floor: int) -> None:
        """After a start: nothing through ``floor`` is lost, and what is there is what was there once."""
        sequence, found = self.sequence, observe(self.kit.engine)
        if sequence < floor:
            # The numbers of what was in memory alone are given again.
            assert lasting(self.at(sequence)) == lasting(self.at(floor)), f"{sequence} was found, {floor} was promised"
            floor = sequence
        last = sequence if self.logging else self.without_log(found, max(floor, self.newest_snapshot()))
        assert found == self.at(last).restarted(), f"after a start with sequence {sequence}"
        for lost in [each for each in self.states if each > last]:
            del self.states[lost], self.times[lost], self.lives[lost]
        self.restores = {each for each in self.restores if each <= last}
        self.unlogged = {each for each in self.unlogged if each <= last}
        self.now = found
        self.logging = self.kit.log is not None
        self.silences = [each for each in self.silences if each.end <= sequence]
        self._settle_silences(sequence)
        self.note()
        self.durable = sequence

    def without_log(self, found: StoreState, floor: int) -> int:
        """The last moment, not before ``floor``, of which this is left: its number may be kept for a snapshot."""
        known = [each for each in self.states if floor <= each <= self.sequence]
        fitting = [each for each in known if self.states[each].restarted() == found]
        return max(fitting, default=floor)

    def newest_snapshot(self) -> int:
        return max((kept.sequence for kept in self.listed()), default=0)

    def _settle_silences(self, sequence: int) -> None:
        """Whether the log was switched, the start says; a cut during that may have left it either way."""
        open_ones = [each for each in self.silences if not each.behind]
        if self.logging and open_ones:
            self.silences = [each for each in self.silences if each.behind] + [
                replace(each, behind=sequence) for each in open_ones
            ]
        elif not self.logging and not open_ones:
            self.silences[-1] = replace(self.silences[-1], behind=0)

    # Writes ---------------------------------------------------------------------------------------------------------

    def one_of(self, *, filled: bool = False) -> str | None:
        names = [name for name, each in self.now.collections.items() if each.points or not filled]
        return self.rng.choice(sorted(names)) if names else None

    def wrote(self, name: str, state: StoreState) -> None:
        self.did(state, logged=self.now.collections[name].storage is not StorageKind.MEMORY)

    def addressed(self, name: str) -> str:
        """The collection by its name or by an alias of it."""
        aliases = [alias for alias, target in self.now.aliases.items() if target == name]
        return self.rng.choice([name, *aliases])

    def payload(self) -> bytes | None:
        return self.rng.choice((None, b"{}", b'{"n": %d}' % self.rng.randint(0, 3), b'{"t":"%s"}' % (b"x" * 90)))

    def vectors(self, collection: CollectionState, count: int) -> np.ndarray:
        values = [self.rng.choice((-1.0, -0.0, 0.0, 0.5, 3.0)) for _ in range(count * collection.dimensions)]
        return np.array(values, np.float32).reshape(count, -1)

    def write(self) -> None:
        name = self.one_of()
        if name is None:
            return self.create()
        ids = self.rng.choices(IDS, k=self.rng.randint(1, 5))
        vectors, payloads = self.vectors(self.now.collections[name], len(ids)), [self.payload() for _ in ids]
        points = self.kit.engine.points
        done = points.upsert(self.addressed(name), ids, vectors, join_payloads(payloads), caller=CALLER)
        self.wrote(name, self.now.upserted(name, ids, vectors, payloads, done.sequence))

    def update(self) -> None:
        name = self.one_of(filled=True)
        if name is None:
            return
        points = self.now.collections[name].points
        ids = self.rng.sample(sorted(points), self.rng.randint(1, len(points)))
        vectors = self.vectors(self.now.collections[name], len(ids))
        update = self.kit.engine.points.update
        done = update(name, ids, vectors=vectors, payload_block=b"", merge=False, caller=CALLER)
        payloads = [points[id].payload for id in ids]
        self.wrote(name, self.now.upserted(name, ids, vectors, payloads, done.sequence))

    def delete(self) -> None:
        name = self.one_of()
        if name is not None:
            ids = self.rng.sample(IDS, self.rng.randint(1, 3))
            self.kit.delete(*ids, name=self.addressed(name))
            self.wrote(name, self.now.deleted(name, ids))

    def delete_where(self) -> None:
        name, number = self.one_of(filled=True), self.rng.randint(0, 3)
        if name is None:
            return
        wanted = b'{"n": %d}' % number
        ids = [id for id, point in self.now.collections[name].points.items() if point.payload == wanted]
        done = self.kit.engine.points.delete_where(name, f"n = {number}", caller=CALLER)
        assert done.count == len(ids)
        if ids:
            self.wrote(name, self.now.deleted(name, ids))

    def truncate(self) -> None:
        if name := self.one_of():
            self.kit.engine.points.truncate(name, caller=CALLER)
            self.wrote(name, self.now.deleted(name, IDS))

    def create(self) -> None:
        """Often under a name that another had before."""
        free = [name for name in NAMES if name not in self.now.collections]
        if free:
            name, dimensions = self.rng.choice(free), self.rng.choice((1, 3))
            kinds = (StorageKind.DISK, StorageKind.HYBRID)
            storage = StorageKind.MEMORY if name == MEMORY else self.rng.choice(kinds)
            self.kit.create(name, dimensions, storage)
            self.changed_the_catalog(self.now.created(name, dimensions, storage))

    def drop(self) -> None:
        name = self.one_of()
        if name is not None:
            self.kit.engine.collections.drop(name, caller=CALLER)
            self.changed_the_catalog(self.now.dropped(name))

    def renew(self) -> None:
        """Another one of the same name and shape in the place of one with points: of those none may come back."""
        name = self.one_of(filled=True)
        if name is not None:
            made = name, self.now.collections[name].dimensions, self.now.collections[name].storage
            self.kit.engine.collections.drop(name, caller=CALLER)
            self.changed_the_catalog(self.now.dropped(name))
            self.kit.create(*made)
            self.changed_the_catalog(self.now.created(*made))
            self.tally["renewed"] += 1

    def alias(self) -> None:
        alias, name, collections = self.rng.choice(ALIASES), self.one_of(), self.kit.engine.collections
        if alias in self.now.aliases and (name is None or self.rng.random() < 0.4):
            collections.delete_alias(alias, caller=CALLER)
            self.changed_the_catalog(self.now.unaliased(alias))
        elif name is not None:
            put = collections.switch_alias if alias in self.now.aliases else collections.create_alias
            put(alias, name, caller=CALLER)
            self.changed_the_catalog(self.now.aliased(alias, name))

    def changed_the_catalog(self, state: StoreState) -> None:
        """With the log off that is durable at once, and all before it (RULES 5)."""
        self.did(state)
        if not self.logging:
            self.is_durable()

    # Snapshots ------------------------------------------------------------------------------------------------------

    def snapshot(self, *, whole: bool = False) -> None:
        rng, name = self.rng, self.one_of()
        if whole or rng.random() < 0.75:
            name = None
        incremental = not whole and rng.random() < 0.7
        request = {"compress": rng.random() < 0.4, "path": rng.choice(PLACES), "pinned": rng.random() < 0.1}
        try:
            made = self.kit.snapshot(incremental=incremental, collection=name, **request)
        except FailedPrecondition as error:
            refusal = error
        else:
            self.made(made, name)
            return
        assert refusal.reason == "NO_BASE"

    def made(self, made: dict[str, Any], name: str | None) -> None:
        """A snapshot is there, of everything or of one collection."""
        held = self.now if name is None else some_of(self.now, [name])
        kept = Kept(made["snapshot_id"], made["sequence"], held, name is None, self.logging)
        assert kept.sequence == self.sequence
        self.snapshots[kept.id, kept.sequence] = kept
        self.tally[made["type"]] += 1
        self.is_durable()

    def listed(self) -> list[Kept]:
        """Those that are there; each is ready."""
        listing = self.kit.engine.snapshots.listing()
        assert listing.warnings == []
        assert [info.problem for info in listing.snapshots if info.state != "ready"] == []
        assert all(info.record.sequence <= self.sequence for info in listing.snapshots)
        return [self.snapshots[info.id, info.record.sequence] for info in listing.snapshots]

    def unmake(self) -> None:
        """One is deleted, consolidated or pinned, or some are pruned."""
        found = self.kit.engine.snapshots.list()
        info = self.rng.choice(found) if found else None
        if info is None:
            return
        kind = self.rng.choice(("delete", "consolidate", "consolidate", "prune", "pin"))
        if kind == "pin":
            self.kit.engine.snapshots.mark(info.id, Marks(pinned=self.rng.random() < 0.5), caller=CALLER)
        elif kind == "prune":
            self.kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=3)), caller=CALLER)
        elif kind == "consolidate" and not info.record.pinned:
            self.tally["consolidated"] += bool(self.kit.consolidate(info.id)["rewritten"])
        elif kind == "delete" and not info.record.pinned and not info.dependents:
            self.kit.engine.snapshots.delete(info.id)

    # Restores -------------------------------------------------------------------------------------------------------

    def drill(self) -> None:
        """One collection of a snapshot beside what is there, or dropped again: such a copy is as good as any."""
        if COPY in self.now.collections:
            self.kit.engine.collections.drop(COPY, caller=CALLER)
            self.changed_the_catalog(self.now.dropped(COPY))
            return
        holding = [kept for kept in self.listed() if kept.state.collections]
        if holding:
            kept = self.rng.choice(holding)
            name = self.rng.choice(sorted(kept.state.collections))
            self.kit.restore(kept.id, collection=COPY, from_collection=name, verify=self.rng.random() < 0.3)
            there = {**self.now.collections, COPY: kept.state.collections[name]}
            self.restored(replace(self.now, collections=there), [COPY])

    def go_back(self) -> None:
        """The store becomes what it was at a moment, in its place, and life goes on from there."""
        sequence = self.rng.choice(sorted(self.states))
        try:
            done = self.kit.restore("latest", ending=Ending(sequence), overwrite=True)
        except (OutOfRange, NotFound):
            if self.has_to_reach(sequence):
                raise
        else:
            self.went_back(sequence, done)

    def went_back(self, sequence: int, done: dict[str, Any]) -> None:
        """Life goes on with what was then, beside what came later in nobody's way; memory is as the snapshot has it."""
        whole = self.is_whole(done["snapshot_id"])
        assert whole or not self.has_to_reach(sequence), "only some collections were in the snapshot"
        then = self.at(sequence) if whole else some_of(self.at(sequence), done["collections_restored"])
        found = observe(self.kit.engine)
        assert lasting(within(found, then)) == lasting(without_aliases(then))
        memory = {n: each for n, each in found.collections.items() if each.storage is StorageKind.MEMORY}
        aliases = {**then.aliases, **self.now.aliases}
        self.restored(StoreState({**self.now.collections, **then.collections, **memory}, aliases), then.collections)
        self.tally["went back"] += 1

    def restored(self, state: StoreState, names: Collection[str]) -> None:
        self.restores.add(self.sequence)
        self.did(state, ended=names)
        self.is_durable()

    # What happens to the store --------------------------------------------------------------------------------------

    def jump(self) -> None:
        """Somebody sets the clock."""
        self.kit.clock.jump_us(self.rng.choice(JUMPS))
        self.tally["jumped"] += 1

    def switch_the_log(self) -> None:
        if self.logging:
            assert self.kit.log is not None
            end = self.kit.log.last_sequence
            self.kit.engine.wal.disable(caller=CALLER)
            self.is_durable()
            self.logging = False
            self.silences.append(Silence(end))
        else:
            self.kit.engine.wal.enable(WalChanges(), caller=CALLER)
            self.logging = True
            self.silences[-1] = replace(self.silences[-1], behind=self.sequence)
            self.is_durable()
            self.tally["gap"] += 1
        self.note()

    def start_again(self) -> None:
        """After a stop in order, or after a kill, which loses nothing that is logged."""
        if self.rng.random() < 0.4:
            self.kit.restart()
            floor = 0 if self.now != lasting(self.now) else self.sequence
        else:
            floor = self.durable
            self.kit.reopen()
        self.recovered(min(floor, self.sequence) if not self.logging else self.durable)

    def do_anything(self) -> None:
        """What may happen while something else is under way."""
        some = (self.write, self.write, self.delete, self.truncate, self.drop, self.snapshot, self.checkpoint)
        self.rng.choice(some)()

    def lose_power(self) -> None:
        self._go_on_from(self.kit.fs.ops, self.durable)
        self.tally["lost power"] += 1

    def cut_off(self, step: Callable[[], object]) -> None:
        """Do something, and go on as though the power had gone in the middle of it."""
        began, floor = self.kit.fs.ops, self.durable
        step()
        if self.kit.fs.ops < began:
            return  # it was a power cut itself
        self._go_on_from(self.rng.randint(began, self.kit.fs.ops), floor)
        self.tally["cut off"] += 1

    def _go_on_from(self, ops: int, floor: int) -> None:
        model = self.rng.choice(("prefix", "subset"))
        self.kit.fs = MemFileSystem(self.kit.fs.crash_disk_at(ops, self.rng, model))  # type: ignore[arg-type]
        abandon(self.kit.fs)
        self.kit.reopen()
        self.recovered(floor)
        self.listed()

    # Moments --------------------------------------------------------------------------------------------------------

    def has_to_reach(self, sequence: int) -> bool:
        """Whether a whole snapshot from before it leads to a moment, with everything on the way in the log."""
        return any(
            kept.whole and self.is_on_the_way(kept) and self.leads(kept.sequence, sequence) for kept in self.listed()
        )

    def is_on_the_way(self, kept: Kept) -> bool:
        """Whether the log surely tells where in history a snapshot lies."""
        begins = kept.sequence in {each.behind for each in self.silences}
        return kept.logged and (begins or not self.is_hidden(kept.sequence))

    def may_not_reach(self, sequence: int) -> bool:
        """Whether what was done by then is in no log, and no snapshot is of that very moment."""
        hidden = any(each.hides(sequence) and each.end != each.behind for each in self.silences)
        return hidden and sequence not in {kept.sequence for kept in self.listed()}

    def is_told_by_time(self, sequence: int) -> bool:
        """Whether the log has a moment, and tells that nothing else was done before the next time it knows of."""
        silent = [each for each in self.silences if each.end <= sequence]
        return sequence not in self.unlogged and all(each.behind and each.behind < sequence for each in silent)

    def leads(self, start: int, end: int) -> bool:
        if start > end or any(start < each <= end for each in self.restores):
            return False
        return not any(self.is_hidden(way) for way in range(start + 1, end + 1))

    def is_hidden(self, sequence: int) -> bool:
        """Whether what was done at a sequence is in no log."""
        return any(each.hides(sequence) for each in self.silences)

    def is_whole(self, id: str) -> bool:
        """Whether a snapshot that is there holds the whole store."""
        return any(kept.whole for kept in self.listed() if kept.id == id)

    @property
    def last_logged(self) -> int:
        """How far the log has come: memory is written to without it."""
        log = self.kit.log
        return self.silences[-1].end if log is None else log.last_sequence
