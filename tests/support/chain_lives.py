"""Random lives of a store and its snapshots: chains over several directories, broken, moved and consolidated by turns.

Each snapshot is held to what the store was when it was made, for as long as it is listed as ready.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from holdfastd.engine.history import Ending
from holdfastd.engine.snapshot_info import MISSING, READY, SnapshotInfo
from holdfastd.errors import FailedPrecondition, InvalidArgument, NotFound, OutOfRange
from holdfastd.format.payloads import join_payloads
from holdfastd.model import StorageKind
from holdfastd.storage.files import parent_of
from tests.support.diffs import assert_diff
from tests.support.engines import CALLER, ROOT
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.snapshots import COLLECTIONS_DIR, SECOND_US, SNAPSHOTS_DIR, SnapshotKit

T = TypeVar("T")

SAMPLE = 3
PLACES = (None, "/daily", "/off-site")
DIRECTORIES = (SNAPSHOTS_DIR, "/daily", "/off-site")

_NAMES = ("c", "d", "m")
_IDS = [*(f"id-{n}" for n in range(7)), "7", "007", "é", "日本", "z" * 512, "snap", "live"]
_PAYLOADS = (None, b"{}", b'{"n":1}')
_ALIASES = ("one", "two")
_MEMORY = "m"
_REGISTRY = f"{ROOT}/REGISTRY.json"


@dataclass
class ChainLife:
    """One life. ``moments``: what the store was, of each snapshot whatever it holds; ``refused``: what was not done."""

    rng: random.Random
    kit: SnapshotKit = field(default_factory=SnapshotKit)
    moments: dict[str, StoreState] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    consolidated: int = 0
    compacted: int = 0
    states_by_sequence: dict[int, StoreState] = field(default_factory=dict)
    gone_back: int = 0

    def run(self, steps: int) -> ChainLife:
        """Live so many steps; every snapshot is looked into now and then, and at the end."""
        weights = (
            (self.write, 30),
            (self.delete_points, 10),
            (self.drop, 3),
            (self.truncate, 2),
            (self.alias, 3),
            (self.checkpoint, 8),
            (self.compact, 8),
            (self.start_again, 3),
            (self.snapshot, 22),
            (self.delete_snapshot, 6),
            (self.consolidate, 9),
            (self.restore_all, 2),
            (self.move, 3),
            (self.forget, 1),
            (self.look, 3),
            (self.compare, 5),
            (self.go_back, 4),
        )
        for step in self.rng.choices([each for each, _ in weights], [weight for _, weight in weights], k=steps):
            step()
            self.states_by_sequence[self.kit.engine.sequence] = observe(self.kit.engine)
        self.start_again()
        self.look()
        self.goes_abroad()
        return self

    @property
    def there(self) -> list[str]:
        return sorted(stats.spec.name for stats in self.kit.engine.collections.list())

    # Points.

    def write(self) -> None:
        name = self.rng.choice(_NAMES)
        if name not in self.there:
            storage = StorageKind.MEMORY if name == _MEMORY else StorageKind.DISK
            self.kit.create(name, self.rng.choice((2, 3)), storage)
            return
        ids = self.rng.sample(_IDS, self.rng.randint(1, 5))
        width = self.kit.engine.points.dimensions(name)
        # Few values, so that rows are often written as they were; one of them has no direction.
        values = [[self.rng.choice((-1.0, -0.0, 0.0, 0.5, 1.0)) for _ in range(width)] for _ in ids]
        payloads = join_payloads([self.rng.choice(_PAYLOADS) for _ in ids])
        self.kit.engine.points.upsert(name, ids, np.array(values, np.float32), payloads, caller=CALLER)

    def delete_points(self) -> None:
        if self.there:
            self.kit.delete(*self.rng.sample(_IDS, 4), name=self.rng.choice(self.there))

    def drop(self) -> None:
        if self.there:
            self.kit.engine.collections.drop(self.rng.choice(self.there), caller=CALLER)

    def truncate(self) -> None:
        if self.there:
            self.kit.engine.points.truncate(self.rng.choice(self.there), caller=CALLER)

    def alias(self) -> None:
        alias, collections = self.rng.choice(_ALIASES), self.kit.engine.collections
        if alias in dict(collections.aliases()):
            collections.delete_alias(alias, caller=CALLER)
        elif self.there:
            collections.create_alias(alias, self.rng.choice(self.there), caller=CALLER)

    def checkpoint(self) -> None:
        self.kit.engine.checkpoint()

    def compact(self) -> None:
        """What died since the last snapshot leaves tombstones, for the next one to tell of it."""
        before = observe(self.kit.engine)
        done = self.kit.compact(aggressive=self.rng.random() < 0.6, threshold_percent=self.rng.choice((0, 20, 60)))
        self.compacted += done["rows_dropped"]
        assert observe(self.kit.engine) == before

    def start_again(self) -> None:
        """After a kill or a power cut; what had been acknowledged is there."""
        if self.rng.random() < 0.5:
            self.kit.fs = MemFileSystem(self.kit.fs.crash_disk_at(self.kit.fs.ops, self.rng, "subset"))
        before = observe(self.kit.engine).restarted()
        self.kit.reopen()
        assert observe(self.kit.engine) == before
        alive = {str(stats.spec.id) for stats in self.kit.engine.collections.list()}
        assert set(self.kit.fs.listdir(COLLECTIONS_DIR)) <= alive

    # Snapshots.

    def snapshot(self) -> None:
        rng = self.rng
        incremental = rng.random() < 0.75
        one = rng.choice(self.there) if self.there and rng.random() < 0.2 else None
        base = rng.choice(self.kit.ids()) if incremental and self.kit.ids() and rng.random() < 0.2 else None
        place = rng.choice(PLACES)
        request: dict[str, Any] = {"compress": rng.random() < 0.4, "path": place, "collection": one, "base_id": base}
        made = self.tried(lambda: self.kit.later(incremental=incremental, **request), "NO_BASE")
        if made is None:
            return
        state = observe(self.kit.engine)
        self.moments[made.id] = state if one is None else _only(state, one)

    def tried(self, call: Callable[[], T], reason: str) -> T | None:
        """What a call returns; None where it is refused for a reason that there may be."""
        try:
            return call()
        except (FailedPrecondition, InvalidArgument) as error:
            refusal = error
        assert refusal.reason == reason, refusal.message
        self.refused.append(refusal.message)
        return None

    def any_snapshot(self) -> SnapshotInfo | None:
        found = self.kit.engine.snapshots.list()
        return self.rng.choice(found) if found else None

    def delete_snapshot(self) -> None:
        info = self.any_snapshot()
        if info is None:
            return
        before = self.states()
        if self.tried(lambda: self.kit.engine.snapshots.delete(info.id), "SNAPSHOT_IS_BASE"):
            self.gone(info, before)
        else:
            assert self.states() == before

    def consolidate(self) -> None:
        """A base, more often than not; now and then the power goes meanwhile."""
        found = self.kit.engine.snapshots.list()
        bases = [info for info in found if info.dependents]
        info = self.rng.choice(bases if bases and self.rng.random() < 0.8 else found) if found else None
        if info is None:
            return
        before, began = self.states(), self.kit.fs.ops
        result = self.kit.consolidate(info.id)
        assert [each["snapshot_id"] for each in result["rewritten"]] == list(info.dependents)
        self.consolidated += len(info.dependents)
        if self.rng.random() < 0.3:
            cut = self.rng.randint(began, self.kit.fs.ops)
            self.kit.fs = MemFileSystem(self.kit.fs.crash_disk_at(cut, self.rng, "subset"))
            self.start_again()
            if info.id in self.states():
                # It was not done, or not all of it, and is sent again.
                assert set(self.states()) == set(before)
                assert MISSING not in (self.states()[id] for id in before if id != info.id)
                self.kit.consolidate(info.id)
        self.gone(info, before)

    def gone(self, info: SnapshotInfo, before: dict[str, str]) -> None:
        """One is not there any more, and all others are as good as they were."""
        del self.moments[info.id]
        after = self.states()
        assert info.id not in after
        assert {id for id, state in before.items() if state == READY} - {info.id} <= {
            id for id, state in after.items() if state == READY
        }
        assert not self.kit.fs.exists(info.path)

    def states(self) -> dict[str, str]:
        return {info.id: info.state for info in self.kit.engine.snapshots.list()}

    def restore_all(self) -> None:
        """Everything is what it was once."""
        info = self.any_snapshot()
        if info is not None and info.state == READY:
            self.kit.clock.advance_us(SECOND_US)
            self.kit.restore(info.id, overwrite=True)

    def move(self) -> None:
        """Somebody moves a file to another directory, and has that looked at."""
        info = self.any_snapshot()
        if info is None or info.state == MISSING:
            return
        directory = self.rng.choice(DIRECTORIES)
        moved = f"{directory}/{info.path.rpartition('/')[2]}"
        if moved != info.path:
            self.kit.put(moved, self.kit.fs.read(info.path))
            self.kit.fs.unlink(info.path)
            for changed in (directory, parent_of(directory), parent_of(info.path)):
                self.kit.fs.sync_dir(changed)
            self.kit.engine.snapshots.list(directory)
            assert self.kit.engine.snapshots.get(info.id).path == moved

    def forget(self) -> None:
        """The registry is lost, and found again."""
        known = set(self.kit.ids())
        if self.kit.fs.exists(_REGISTRY):
            self.kit.fs.unlink(_REGISTRY)
        self.kit.reopen()
        for directory in DIRECTORIES:
            if self.kit.fs.exists(directory):
                self.kit.engine.snapshots.list(directory)
        assert set(self.kit.ids()) <= known

    # What has to hold.

    def look(self) -> None:
        """Each snapshot that is ready brings back what the store was; nothing else lies about."""
        kit, before = self.kit, observe(self.kit.engine)
        listing = kit.engine.snapshots.listing()
        assert listing.warnings == []
        assert {info.id for info in listing.snapshots} == set(self.moments)
        for info in listing.snapshots:
            assert info.state == READY, info.problem
            self.brings_back(info)
        fs = kit.fs
        files = {f"{at}/{name}" for at in DIRECTORIES if fs.exists(at) for name in fs.listdir(at)}
        assert files == {info.path for info in listing.snapshots}
        assert observe(kit.engine) == before

    def goes_abroad(self) -> None:
        """Another daemon that has the files alone, wherever they came to lie, brings back the same."""
        other = SnapshotKit(seed=99)
        for info in self.kit.engine.snapshots.list():
            name = info.path.rpartition("/")[2]
            other.put(f"{self.rng.choice(DIRECTORIES)}/{name}", self.kit.fs.read(info.path))
        for directory in DIRECTORIES:
            if other.fs.exists(directory):
                other.engine.snapshots.list(directory)
        found = other.engine.snapshots.list()
        assert {info.id: info.dependents for info in found} == {
            info.id: info.dependents for info in self.kit.engine.snapshots.list()
        }
        for info in found:
            assert (info.state, info.foreign) == (READY, True), info.problem
            self.brings_back(info, other)

    def brings_back(self, info: SnapshotInfo, kit: SnapshotKit | None = None) -> None:
        """Each collection in it; ``kit``: into another store."""
        kit, then = kit or self.kit, self.moments[info.id]
        assert sorted(info.collections) == sorted(then.collections)
        for name, state in then.collections.items():
            kit.restore(info.id, collection="copy", from_collection=name, verify=True)
            assert observe(kit.engine).collections["copy"] == state, (info.id, name)
            kit.engine.collections.drop("copy", caller=CALLER)

    def compare(self) -> None:
        """Two of them, or one with what is live."""
        ready = [info.id for info in self.kit.engine.snapshots.list() if info.state == READY]
        whole = [id for id in ready if self.kit.engine.snapshots.get(id).record.everything]
        if not whole:
            return
        first, second = self.rng.choice(whole), self.rng.choice([*whole, "live"])
        now = observe(self.kit.engine)
        states = {**self.moments, "live": now}
        assert_diff(self.kit.diff(first, second, sample=SAMPLE), states[first], states[second])
        assert_diff(self.kit.diff(second, first, sample=SAMPLE), states[second], states[first])
        assert observe(self.kit.engine) == now

    def go_back(self) -> None:
        """Some moment of the past, beside what is there now: the best snapshot from before it, and the log."""
        if not self.states_by_sequence:
            return
        sequence = self.rng.choice(sorted(self.states_by_sequence)[-20:])
        kit, then = self.kit, self.states_by_sequence[sequence]
        for name, state in then.collections.items():
            if name == _MEMORY:
                continue
            try:
                kit.restore("latest", ending=Ending(sequence), from_collection=name, collection="back")
            except (OutOfRange, NotFound, FailedPrecondition) as error:
                self.refused.append(error.message)
                continue
            assert observe(kit.engine).collections["back"] == state, (name, sequence)
            self.gone_back += 1
            kit.engine.collections.drop("back", caller=CALLER)


def _only(state: StoreState, name: str) -> StoreState:
    return replace(
        state,
        collections={name: state.collections[name]},
        aliases={alias: target for alias, target in state.aliases.items() if target == name},
    )
