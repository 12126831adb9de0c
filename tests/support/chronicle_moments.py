"""Moments of a chronicle, asked for in a copy of its store: what is restored is what was, twice over."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from holdfastd.engine.history import Ending
from holdfastd.engine.tickets import Submission
from holdfastd.errors import HoldfastError, NotFound, OutOfRange
from holdfastd.model import StorageKind
from tests.support.chronicle_facts import Kept, lasting, written
from tests.support.chronicles import Chronicle
from tests.support.engines import CALLER, abandon
from tests.support.memfs import MemFileSystem
from tests.support.oracle import CollectionState, StoreState, observe
from tests.support.replays import ReplayKit

INTO = "into"
MEMTABLES = (1, 300, 64 << 20)
"""Bytes that are held in memory while a moment is rolled forward: then segments are written on the way."""


class Asking:
    """A copy of a chronicle's store as a power cut would leave it, without its collections, and one question to it."""

    def __init__(self, chronicle: Chronicle, number: int) -> None:
        self.chronicle, self.rng = chronicle, chronicle.rng
        chronicle.kit.sync_log()
        disk = chronicle.kit.fs.crash_disk_at(chronicle.kit.fs.ops, self.rng, "subset")
        self.kit = ReplayKit(MemFileSystem(disk), seed=500 + number)
        self.end = self.kit.engine.sequence
        self.kit.clock.jump_us(chronicle.kit.clock.wall_us - self.kit.clock.wall_us)
        for stats in self.kit.engine.collections.list():
            self.kit.engine.collections.drop(stats.spec.name, caller=CALLER)
        self.kit.sync_log()
        moments = self.kit.engine.snapshots.moments
        config = replace(moments._context.config, memtable_bytes=self.rng.choice(MEMTABLES))
        moments._context = replace(moments._context, config=config)
        self.before = self.seen()
        self.began = self.kit.fs.ops

    def seen(self) -> StoreState:
        return lasting(observe(self.kit.engine))

    def ask(self) -> None:
        """A moment of the store or of one collection, by its sequence, its time, or the end of a replay."""
        # The numbers of what was in memory alone are given again.
        known, kept = [each for each in sorted(self.chronicle.states) if each <= self.end], self.chronicle.listed()
        first = min((each.sequence for each in kept), default=0)
        sequence = self.rng.choice([each for each in known if each >= first or self.rng.random() < 0.1] or known)
        self.rng.choice((self.by_sequence, self.by_time, self.one, self.into, self.rolled_forward))(sequence)

    def by_sequence(self, sequence: int) -> None:
        self.whole(Ending(sequence), sequence)

    def by_time(self, sequence: int) -> None:
        """The exact time of an operation, or any before the next one."""
        time_us = self.some_time_of(sequence) if self.rng.random() < 0.7 else self.chronicle.times[sequence]
        by_then = self.chronicle.at_time(time_us)
        told = self.chronicle.is_told_by_time(by_then) and not self.may_lie_ahead(time_us)
        self.whole(Ending(time_us=time_us), by_then, must=told)

    def whole(self, ending: Ending, sequence: int, *, must: bool = True) -> None:
        """The store is exactly what it was then, or is refused where a part of it is lost."""
        try:
            done = self.kit.restore("latest", ending=ending, verify=self.rng.random() < 0.3)
        except (OutOfRange, NotFound) as error:
            self.was_refused(error, sequence, must=must)
            return
        assert not self.chronicle.may_not_reach(sequence), f"sequence {sequence} is in no log, and was made up"
        if not self.chronicle.is_whole(done["snapshot_id"]):
            self.was_reached_in_part(sequence)
            return
        then = lasting(self.chronicle.at(sequence))
        assert self.seen() == then, f"sequence {sequence}"
        assert written(self.kit.engine) <= self.chronicle.done
        self.chronicle.tally["reached"] += 1
        if self.rng.random() < 0.3 and self.chronicle.has_to_reach(sequence):
            self.kit.restore("latest", ending=Ending(sequence), overwrite=True)
            assert self.seen() == then, "a second time"
        if self.rng.random() < 0.4:
            self.cut_off(then)
        else:
            self.kit.reopen()
            assert self.seen() == then

    def was_reached_in_part(self, sequence: int) -> None:
        """Only some collections were in the snapshot, and nothing better was there."""
        assert not self.chronicle.has_to_reach(sequence)
        found, then = self.seen().collections, lasting(self.chronicle.at(sequence)).collections
        assert found.items() <= then.items(), f"sequence {sequence}"

    def was_refused(self, error: HoldfastError, sequence: int, *, must: bool = True) -> None:
        """For a reason, and nothing has changed. What a snapshot of a part held may be gone at that moment."""
        assert error.reason == ("COLLECTION_NOT_FOUND" if isinstance(error, NotFound) else "PITR_OUT_OF_WINDOW")
        assert not must or not self.chronicle.has_to_reach(sequence), f"sequence {sequence}: {error.message}"
        assert self.seen() == self.before
        self.chronicle.tally["refused"] += 1

    def cut_off(self, then: StoreState) -> None:
        """As though the power had gone on the way: nothing of it is there, or all, and none of the files between."""
        kit = self.kit
        kit.fs = MemFileSystem(kit.fs.crash_disk_at(self.rng.randint(self.began, kit.fs.ops), self.rng, "subset"))
        abandon(kit.fs)
        kit.reopen()
        assert self.seen() in (self.before, then)
        self.chronicle.tally["restore cut off"] += 1

    def one(self, sequence: int) -> None:
        """One collection under another name."""
        name = self.some_name(sequence)
        if name is not None:
            ending = Ending(sequence)
            self.beside(name, sequence, lambda: self.kit.restore("latest", **_one(name), ending=ending))

    def into(self, sequence: int) -> None:
        """The same, as a replay into a new collection."""
        name = self.some_name(sequence)
        if name is not None:
            self.beside(name, sequence, lambda: self.kit.replay(collection=name, into=INTO, to_sequence=sequence))

    def some_name(self, sequence: int) -> str | None:
        then = self.chronicle.at(sequence).collections
        names = [name for name, each in then.items() if each.storage is not StorageKind.MEMORY]
        return self.rng.choice(sorted(names)) if names else None

    def beside(self, name: str, sequence: int, call: object) -> None:
        try:
            call()  # type: ignore[operator]
        except (OutOfRange, NotFound) as error:
            self.was_refused(error, sequence)
            return
        then = self.chronicle.at(sequence).collections[name]
        assert observe(self.kit.engine).collections[INTO] == then, f"{name} at sequence {sequence}"
        assert written(self.kit.engine) <= self.chronicle.done
        self.kit.reopen()
        assert observe(self.kit.engine).collections == {**self.before.collections, INTO: then}
        self.chronicle.tally["one reached"] += 1

    def rolled_forward(self, sequence: int) -> None:
        """A copy from a snapshot, replayed to a moment, and replayed again."""
        held = [
            (kept, name)
            for kept in self.chronicle.listed()
            for name, each in sorted(kept.state.collections.items())
            if each.storage is not StorageKind.MEMORY and kept.sequence <= sequence
        ]
        if not held:
            return
        kept, name = self.rng.choice(held)
        self.kit.restore(kept.id, **_one(name))
        assert observe(self.kit.engine).collections[INTO] == kept.state.collections[name]
        began = self.kit.fs.ops
        to_us = self.some_time_of(sequence) if not self.chronicle.silences and self.rng.random() < 0.5 else None
        try:
            self.replay(sequence, to_us)
        except HoldfastError as error:
            refusal = error
        else:
            self.was_replayed(name, kept, sequence)
            if self.rng.random() < 0.6:
                self.replayed_in_two_lives(name, kept, sequence, began)
            return
        assert self.may_not_replay(kept.sequence, sequence), refusal.message

    def was_replayed(self, name: str, kept: Kept, sequence: int) -> None:
        """As far as what the name stands for goes, and a second time changes nothing."""
        then = observe(self.kit.engine)
        expected = self.chronicle.at(self.last_of(name, kept, sequence)).collections[name]
        assert _unnumbered(then.collections[INTO]) == _unnumbered(expected), f"{kept.id} to {sequence}"
        assert self.replay(sequence)["operations_replayed"] == 0
        assert observe(self.kit.engine) == then
        self.chronicle.tally["replayed twice"] += 1

    def replayed_in_two_lives(self, name: str, kept: Kept, sequence: int, began: int) -> None:
        """As though the power had gone on the way: the next replay goes on from there, and comes to the same."""
        kit = self.kit
        kit.fs = MemFileSystem(kit.fs.crash_disk_at(self.rng.randint(began, kit.fs.ops), self.rng, "subset"))
        abandon(kit.fs)
        kit.reopen()
        self.replay(sequence)
        self.was_replayed(name, kept, sequence)
        self.chronicle.tally["replay cut off"] += 1

    def some_time_of(self, sequence: int) -> int:
        """Any time before the next operation is the time of this one."""
        times = self.chronicle.times
        later = [each for each in times.values() if each > times[sequence]]
        return self.rng.randint(times[sequence], min(later) - 1) if later else times[sequence]

    def may_lie_ahead(self, time_us: int) -> bool:
        """Whether nothing tells that a time has come: what was done then was in memory, and the clock has gone back."""
        return time_us > max(self.kit.clock.wall_us, self.chronicle.times.get(self.chronicle.last_logged, 0))

    def may_not_replay(self, start: int, end: int) -> bool:
        """Whether a part of the way is in no log, or the log has not come that far."""
        assert self.chronicle.kit.log is None or end <= self.chronicle.sequence
        last = self.chronicle.last_logged
        return end > last or any(self.chronicle.is_hidden(each) for each in range(start + 1, end + 1))

    def last_of(self, name: str, kept: Kept, sequence: int) -> int:
        """The last moment by ``sequence`` at which a name stands for what it stood for in a snapshot."""
        lives = self.chronicle.lives
        way = [each for each in sorted(lives) if kept.sequence <= each <= sequence]
        life = lives[kept.sequence].get(name)
        ended = [each for each in way if lives[each].get(name) != life]
        return max(each for each in way if not ended or each < ended[0])

    def replay(self, sequence: int, to_us: int | None = None) -> dict[str, object]:
        """Without a committer thread, whatever is submitted is committed at once."""
        committer = self.kit.engine._committer

        def commit(submission: Submission) -> None:
            with contextlib.suppress(HoldfastError):  # its ticket keeps it
                committer.submit(submission)

        committer.submit_nowait = commit  # type: ignore[method-assign]
        if to_us is not None:
            return self.kit.replay(collection=INTO, to_us=to_us)
        return self.kit.replay(collection=INTO, to_sequence=sequence)


def _one(name: str) -> dict[str, str]:
    return {"collection": INTO, "from_collection": name}


def _unnumbered(state: CollectionState) -> CollectionState:
    """What is replayed is written anew, with other sequences."""
    return replace(state, points={id: replace(point, sequence=0) for id, point in state.points.items()})
