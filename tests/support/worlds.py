"""What a store ought to be after snapshots, restores and replays: dicts, and a list of what was logged.

It knows a collection by the *life* that its name stands for now: a collection that is created, or restored, begins a
new one. A restored life remembers whose history it continues and from where; a replay continues it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from holdfastd.model import StorageKind
from tests.support.oracle import StoreState

Change: TypeAlias = Callable[[StoreState, str, int], StoreState]
"""What a write does to the collection of that name, at that sequence."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose history a restored life continues, and through which sequence of which timeline it has it."""

    life: int
    through: int
    timeline: int


@dataclass(frozen=True, slots=True)
class Life:
    """What stands behind a name. ``own_writes``: a client has written to it, not only a replay."""

    number: int
    origin: Origin | None = None
    own_writes: bool = False


@dataclass(frozen=True, slots=True)
class Logged:
    """One operation of the log; ``change`` is None where the life ends."""

    sequence: int
    life: int
    change: Change | None


@dataclass(frozen=True, slots=True)
class Turn:
    """Behind ``sequence`` history goes on, on this timeline. ``gap``: without what happened behind ``end``."""

    sequence: int
    timeline: int
    end: int
    gap: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """One snapshot: the collections that it holds, by name, with their lives, and the aliases."""

    id: str
    sequence: int
    timeline: int
    state: StoreState
    lives: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay ought to do. ``broken``: it ends with an error, after what it has applied."""

    world: World
    count: int = 0
    affected: tuple[str, ...] = ()
    broken: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """The whole model, as a value."""

    state: StoreState = field(default_factory=StoreState)
    lives: Mapping[str, Life] = field(default_factory=dict)
    log: tuple[Logged | Turn, ...] = ()
    kept: tuple[Kept, ...] = ()
    logging: bool = True
    timeline: int = 1
    born: int = 0

    def created(self, name: str, dimensions: int, storage: StorageKind) -> World:
        return replace(self, state=self.state.created(name, dimensions, storage)).with_life(name)

    def with_state(self, state: StoreState) -> World:
        """The same history, something else changed that is not logged per collection, such as aliases."""
        return replace(self, state=state)

    def dropped(self, name: str, sequence: int) -> World:
        lives = {each: life for each, life in self.lives.items() if each != name}
        ended = self.with_logged(sequence, name, None)
        return replace(ended, state=self.state.dropped(name), lives=lives)

    def wrote(self, name: str, change: Change, sequence: int) -> World:
        """A client's write to the collection ``name``."""
        written = replace(self, state=change(self.state, name, sequence)).with_logged(sequence, name, change)
        return written.with_changed_life(name, own_writes=True)

    def snapshotted(self, id: str, sequence: int, only: str | None) -> World:
        """A snapshot was made, of everything or of one collection."""
        names = [only] if only else list(self.state.collections)
        held = StoreState(
            {name: self.state.collections[name] for name in names},
            {alias: name for alias, name in self.state.aliases.items() if name in names},
        )
        made = Kept(id, sequence, self.timeline, held, {name: self.lives[name].number for name in names})
        return replace(self, kept=(*self.kept, made))

    def restored(self, kept: Kept, names: Mapping[str, str], sequence: int, *, as_it_was: bool) -> World:
        """``names``: what each collection of the snapshot is restored as. ``as_it_was``: its aliases come along."""
        world = self
        for source, name in names.items():
            if name in world.lives:
                world = world.with_logged(sequence, name, None)
            collections = {**world.state.collections, name: kept.state.collections[source]}
            world = replace(world, state=replace(world.state, collections=collections))
            world = world.with_life(name, Origin(kept.lives[source], kept.sequence, kept.timeline))
        if not as_it_was:
            return world
        back = {alias: name for alias, name in kept.state.aliases.items() if alias not in world.state.aliases}
        return replace(world, state=replace(world.state, aliases={**world.state.aliases, **back}))

    def replayed(self, sequences: Sequence[int], *, only: str | None = None, to: int | None = None) -> Replayed:
        """A replay whose operations have taken these sequences, in order; what moves watermarks takes others."""
        done, affected = Replayed(self), []
        for name in sorted([only] if only else self.lives):
            before = done.count
            done = _replay_one(done, name, sequences, to)
            affected += [name] if done.count > before else []
            if done.broken:
                break
        return replace(done, affected=tuple(affected))

    def restarted(self) -> World:
        """Memory collections are empty, and others than those that they were."""
        world = replace(self, state=self.state.restarted())
        for name, collection in self.state.collections.items():
            if collection.storage is StorageKind.MEMORY:
                world = world.with_life(name)
        return world

    def turned(self, sequence: int, timeline: int, *, end: int) -> World:
        """The log, which held what there was through ``end``, goes on behind ``sequence`` in a new file."""
        return replace(self, log=(*self.log, Turn(sequence, timeline, end, end != sequence)), timeline=timeline)

    def with_life(self, name: str, origin: Origin | None = None) -> World:
        born = self.born + 1
        return replace(self, born=born, lives={**self.lives, name: Life(born, origin)})

    def with_changed_life(self, name: str, *, own_writes: bool) -> World:
        return replace(self, lives={**self.lives, name: replace(self.lives[name], own_writes=own_writes)})

    def with_replayed(self, name: str, logged: Logged, sequence: int) -> World:
        life = self.lives[name]
        assert logged.change is not None
        assert life.origin is not None
        moved = replace(life, origin=replace(life.origin, through=logged.sequence))
        written = replace(self, state=logged.change(self.state, name, sequence), lives={**self.lives, name: moved})
        return written.with_logged(sequence, name, logged.change)

    def with_logged(self, sequence: int, name: str, change: Change | None) -> World:
        if not self.logging or self.state.collections[name].storage is StorageKind.MEMORY:
            return self
        return replace(self, log=(*self.log, Logged(sequence, self.lives[name].number, change)))


def _replay_one(done: Replayed, name: str, sequences: Sequence[int], to: int | None) -> Replayed:
    world, origin = done.world, done.world.lives[name].origin
    if origin is None or world.state.collections[name].storage is StorageKind.MEMORY:
        return done
    turns = [entry for entry in world.log if isinstance(entry, Turn)]
    if any(turn.timeline > origin.timeline and turn.sequence < origin.through for turn in turns):
        return replace(done, broken=True)
    for entry in [entry for entry in world.log if entry.sequence > origin.through]:
        if isinstance(entry, Turn):
            if to is not None and to <= max(entry.end, origin.through):
                break
            if entry.gap:
                return replace(done, world=world, broken=True)
        elif to is not None and entry.sequence > to:
            break
        elif entry.life == origin.life:
            if entry.change is None:
                break
            if world.lives[name].own_writes:
                return replace(done, world=world, broken=True)
            assert done.count < len(sequences), f"the operation {entry.sequence} of the log was not replayed"
            world = world.with_replayed(name, entry, sequences[done.count])
            done = replace(done, count=done.count + 1)
    return replace(done, world=world)


def deletion(ids: Sequence[str]) -> Change:
    """The write that deletes ``ids``."""
    return lambda state, name, _: state.deleted(name, ids)
