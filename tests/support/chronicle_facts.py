"""What a chronicle knows of snapshots, of times without a log, and which parts of two states can be compared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from holdfastd.engine.engine import Engine
from holdfastd.model import StorageKind
from tests.support.oracle import StoreState


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot: what it holds, whether that is the whole store, and whether there was a log when it was made."""

    id: str
    sequence: int
    state: StoreState
    whole: bool
    logged: bool


@dataclass(frozen=True, slots=True)
class Silence:
    """A time without a log: what was done behind ``end``, through ``behind``, no log has. ``behind`` 0: until now."""

    end: int
    behind: int = 0

    def hides(self, sequence: int) -> bool:
        """Whether what was done at a sequence is in no log."""
        return self.end < sequence and (not self.behind or sequence <= self.behind)


def written(engine: Engine) -> set[tuple[int, int]]:
    """Of every point in a store the operation that wrote it, and when: (sequence, microseconds)."""
    names = [stats.spec.name for stats in engine.collections.list()]
    records = (record for name in names for batch in engine.points.export(name) for record in batch)
    return {(record.sequence, record.time_us) for record in records}


def lasting(state: StoreState) -> StoreState:
    """The state without the points of collections in memory, which no log has."""
    collections = {
        name: replace(each, points={}) if each.storage is StorageKind.MEMORY else each
        for name, each in state.collections.items()
    }
    return replace(state, collections=collections)


def some_of(state: StoreState, names: Collection[str]) -> StoreState:
    """Of a state some collections, and what points at them."""
    aliases = {alias: target for alias, target in state.aliases.items() if target in names}
    return StoreState({name: state.collections[name] for name in names}, aliases)


def within(state: StoreState, other: StoreState) -> StoreState:
    """Of a state the collections that another one has."""
    return StoreState({name: each for name, each in state.collections.items() if name in other.collections})


def without_aliases(state: StoreState) -> StoreState:
    """The state, with its collections alone."""
    return replace(state, aliases={})
