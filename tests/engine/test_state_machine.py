"""Any sequence of commands, restarts and power cuts leaves exactly what a few dicts would hold.

Snapshots, restores, replays, compactions and switching the log are among them. `make soak` runs more, longer ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfastd.engine.changes import Replayed
from holdfastd.engine.replay import ReplayRequest
from holdfastd.engine.tickets import Outcome, Submission
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import AlreadyExists, FailedPrecondition, HoldfastError, InvalidArgument, NotFound
from holdfastd.format.payloads import join_payloads
from holdfastd.model import StorageKind
from tests.support.engines import CALLER, abandon
from tests.support.mmap_rules import MmapRules
from tests.support.oracle import CollectionState, StoreState, observe, observe_scrolls
from tests.support.snapshots import SnapshotKit, raise_failure
from tests.support.worlds import Change, World, deletion

SOAK = "HOLDFAST_STATE_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("HOLDFAST_STATE_EXAMPLES", "100"))
STEPS = int(os.environ.get("HOLDFAST_STATE_STEPS", "30"))

IDS = ["a", "b", "c", "d", "ä", "e" * 30]
NAMES = ["one", "two", "copy"]
ALIASES = ["left", "right"]

names = st.sampled_from(NAMES)
aliases = st.sampled_from(ALIASES)
numbers = st.integers(-3, 3)
payloads = st.none() | st.fixed_dictionaries({"n": st.integers(0, 3)}, optional={"s": st.text(max_size=3)})
points = st.tuples(st.sampled_from(IDS), numbers, payloads)


def encoded(payload: object) -> bytes | None:
    return None if payload is None else json.dumps(payload, ensure_ascii=False).encode()


class StoreMachine(MmapRules):
    """A store in ``fsync`` mode: what it says is done stays done, whatever happens next.

    With the log off, a crash takes it back to the last checkpoint, ``safe``; only then may that differ from ``world``.
    """

    def __init__(self, tally: Counter[str]) -> None:
        super().__init__(tally)
        self.kit = SnapshotKit()
        self.world = World()
        self.safe = self.world
        self.last_sequence = 0
        self.closed_at = 0

    @property
    def state(self) -> StoreState:
        return self.world.state

    @property
    def sequence(self) -> int:
        return self.kit.engine.sequence

    def wrote(self, name: str, change: Change, sequence: int) -> None:
        self.world = self.world.wrote(name, change, self.advanced(sequence))

    def is_durable(self, world: World | None = None) -> None:
        """What the store holds now is on the disk, whether it is logged or not."""
        self.world = world or self.world
        self.safe = self.world

    # What a client does.

    @initialize()
    def begin(self) -> None:
        self.create("one", 2, StorageKind.DISK)
        self.put_alias("left", "one")
        self.upsert("one", [("a", 1, {"n": 1}), ("b", 2, None)])
        self.snapshot(None, compress=False)
        self.upsert("one", [("a", 3, None), ("c", 2, {"n": 2})])

    @rule(name=names, dimensions=st.integers(1, 3), storage=st.sampled_from(list(StorageKind)))
    def create(self, name: str, dimensions: int, storage: StorageKind) -> None:
        def call() -> None:
            self.kit.create(name, dimensions, storage)

        if name in self.state.collections:
            with pytest.raises(AlreadyExists):
                call()
            return
        call()
        self.is_durable(self.world.created(name, dimensions, storage))

    @rule(name=names)
    def drop(self, name: str) -> None:
        known = self.state.collections.get(name)
        if known is None:
            self.refused(lambda: self.kit.engine.collections.drop(name, caller=CALLER))
            return
        dropped = self.kit.engine.collections.drop(name, caller=CALLER, validate_only=True)
        held = tuple(sorted(alias for alias, target in self.state.aliases.items() if target == name))
        assert (dropped.outcome.count, dropped.aliases) == (len(known.points), held)
        assert self.kit.engine.collections.drop(name, caller=CALLER).outcome.count == len(known.points)
        self.is_durable(self.world.dropped(name, self.sequence))

    @rule(alias=aliases, name=names)
    def put_alias(self, alias: str, name: str) -> None:
        collections = self.kit.engine.collections
        if name not in self.state.collections:
            self.refused(lambda: collections.create_alias(alias, name, caller=CALLER))
        elif alias in self.state.aliases:
            assert collections.switch_alias(alias, name, caller=CALLER).before == self.state.aliases[alias]
            self.is_durable(self.world.with_state(self.state.aliased(alias, name)))
        else:
            collections.create_alias(alias, name, caller=CALLER)
            self.is_durable(self.world.with_state(self.state.aliased(alias, name)))

    @rule(alias=aliases)
    def delete_alias(self, alias: str) -> None:
        if alias in self.state.aliases:
            self.kit.engine.collections.delete_alias(alias, caller=CALLER)
            self.is_durable(self.world.with_state(self.state.unaliased(alias)))
        else:
            self.refused(lambda: self.kit.engine.collections.delete_alias(alias, caller=CALLER))

    @rule(name=names | aliases, batch=st.lists(points, min_size=1, max_size=8))
    def upsert(self, name: str, batch: list[tuple[str, int, object]]) -> None:
        ids = [id for id, _, _ in batch]
        texts = [encoded(payload) for _, _, payload in batch]
        block = join_payloads(texts)
        target, collection = self.resolve(name)
        if collection is None:
            vectors = np.zeros((len(ids), 2), np.float32)
            self.refused(lambda: self.kit.engine.points.upsert(name, ids, vectors, block, caller=CALLER))
            return
        vectors = np.array([[number] * collection.dimensions for _, number, _ in batch], np.float32)
        outcome = self.kit.engine.points.upsert(name, ids, vectors, block, caller=CALLER)
        assert outcome.count == len(ids)
        assert outcome.durable == (collection.storage is not StorageKind.MEMORY and self.world.logging)
        self.wrote(target, lambda state, name, at: state.upserted(name, ids, vectors, texts, at), outcome.sequence)
        assert outcome.versions is not None
        points = self.state.collections[target].points
        assert sorted(outcome.versions.tolist()) == sorted(points[id].version for id in set(ids))

    @rule(name=names, ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=3, unique=True), patch=payloads)
    def merge(self, name: str, ids: list[str], patch: dict[str, object] | None) -> None:
        collection = self.state.collections.get(name)
        block = join_payloads([encoded(patch)] * len(ids)) or b"[%s]" % b",".join([b"null"] * len(ids))

        def call() -> int:
            return self.kit.engine.points.update(
                name, ids, vectors=None, payload_block=block, merge=True, caller=CALLER
            ).sequence

        if collection is None or not set(ids) <= set(collection.points):
            self.refused(call)
            return
        old = [collection.points[id] for id in ids]
        sequence = call()
        vectors = np.array([np.frombuffer(point.vector, np.float32) for point in old])
        merged = [point.payload if patch is None else _merged(point.payload, patch) for point in old]
        found = self.kit.engine.points.get(name, ids)
        assert [json.loads(r.payload or b"null") for r in found] == [json.loads(m or b"null") for m in merged]
        texts = [record.payload for record in found]
        self.wrote(name, lambda state, name, at: state.upserted(name, ids, vectors, texts, at), sequence)

    @rule(name=names, ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4))
    def delete(self, name: str, ids: list[str]) -> None:
        collection = self.state.collections.get(name)
        if collection is None:
            self.refused(lambda: self.kit.delete(*ids, name=name))
            return
        planned = self.planned(self.kit.engine.points.delete_ids, name, ids)
        outcome = self.kit.delete(*ids, name=name)
        assert planned == outcome.count
        assert outcome.count == len(set(ids) & set(collection.points))
        self.wrote(name, deletion(ids), outcome.sequence)

    def planned(self, call: Callable[..., Outcome], *arguments: object) -> int:
        """How many points a deletion says that it would delete."""
        before = self.sequence
        plan = call(*arguments, caller=CALLER, validate_only=True)
        assert (plan.sequence, plan.durable, self.sequence) == (0, False, before)
        return plan.count

    @rule(name=names, number=st.integers(0, 3))
    def delete_where(self, name: str, number: int) -> None:
        collection = self.state.collections.get(name)
        if collection is None:
            return
        text = f"n = {number}"
        matching = [id for id, p in collection.points.items() if p.payload and json.loads(p.payload)["n"] == number]
        assert self.kit.engine.points.count(name, text) == len(matching)
        assert self.planned(self.kit.engine.points.delete_where, name, text) == len(matching)
        outcome = self.kit.engine.points.delete_where(name, text, caller=CALLER)
        assert outcome.count == len(matching)
        if matching:
            self.wrote(name, deletion(matching), outcome.sequence)

    @rule(name=names)
    def truncate(self, name: str) -> None:
        collection = self.state.collections.get(name)
        if collection is not None:
            assert self.planned(self.kit.engine.points.truncate, name) == len(collection.points)
            outcome = self.kit.engine.points.truncate(name, caller=CALLER)
            assert outcome.count == len(collection.points)
            self.wrote(name, deletion(IDS), outcome.sequence)

    @rule(name=names, query=numbers, k=st.integers(1, 4))
    def search(self, name: str, query: int, k: int) -> None:
        collection = self.state.collections.get(name)
        if collection is None:
            return
        vector = np.full((1, collection.dimensions), query, np.float32)
        hits = self.kit.engine.points.search(name, vector, k=k)[0]
        scores = sorted((_cosine(vector[0], p.vector) for p in collection.points.values()), reverse=True)
        assert [hit.score for hit in hits] == pytest.approx(scores[:k], abs=1e-5)
        assert {hit.record.id for hit in hits} <= set(collection.points)

    # Snapshots, and what is made of them.

    @rule(only=st.none() | names, compress=st.booleans())
    def increment(self, only: str | None, compress: bool) -> None:
        self.snapshot(only, compress, incremental=True)

    @rule(only=st.none() | names | aliases, compress=st.booleans())
    def snapshot(self, only: str | None, compress: bool, incremental: bool = False) -> None:
        target, collection = self.resolve(only) if only else (None, None)
        if only and collection is None:
            self.refused(lambda: self.kit.snapshot(collection=only))
            return
        try:
            made = self.kit.snapshot(collection=only, compress=compress, incremental=incremental)
        except FailedPrecondition as error:
            if error.reason != "NO_BASE":
                raise
            self.tally["no base"] += 1
            made = self.kit.snapshot(collection=only, compress=compress)
        self.world = self.world.snapshotted(made["snapshot_id"], made["sequence"], target)
        if not self.world.logging:
            self.is_durable()
        held = self.world.kept[-1].state.collections
        self.tally[made["type"]] += 1
        assert made["collections"] == sorted(held)
        members = self.kit.engine.snapshots.get(made["snapshot_id"]).record.members
        assert sum(member.total_vectors for member in members) == sum(len(each.points) for each in held.values())
        assert all(member.vectors == member.total_vectors for member in members if member.whole)
        self.tally["delta"] += any(not member.whole and member.total_vectors for member in members)

    @precondition(lambda self: self.world.kept)
    @rule(data=st.data(), overwrite=st.booleans(), verify=st.booleans())
    def restore(self, data: st.DataObject, overwrite: bool, verify: bool) -> None:
        """Everything, under the names that it had."""
        kept = data.draw(st.sampled_from(self.world.kept))
        names = {name: name for name in kept.lives}
        call = self.restoring(kept.id, overwrite=overwrite, verify=verify)
        if not overwrite and names.keys() & self.state.collections.keys():
            with pytest.raises(AlreadyExists):
                call()
            return
        call()
        self.tally["restored"] += 1
        self.is_durable(self.world.restored(kept, names, self.sequence, as_it_was=True))

    @precondition(lambda self: any(kept.lives for kept in self.world.kept))
    @rule(data=st.data(), name=names, overwrite=st.booleans())
    def restore_as(self, data: st.DataObject, name: str, overwrite: bool) -> None:
        """One collection, under a name that may be another's."""
        kept = data.draw(st.sampled_from([kept for kept in self.world.kept if kept.lives]))
        source = data.draw(st.sampled_from(sorted(kept.lives)))
        call = self.restoring(kept.id, collection=name, from_collection=source, overwrite=overwrite)
        if not overwrite and name in self.state.collections:
            with pytest.raises(AlreadyExists):
                call()
            return
        call()
        self.tally["restored"] += 1
        self.is_durable(self.world.restored(kept, {source: name}, self.sequence, as_it_was=False))

    @precondition(lambda self: any(kept.lives for kept in self.world.kept))
    @rule(data=st.data(), bounded=st.booleans())
    def drill(self, data: st.DataObject, bounded: bool) -> None:
        """What an operator rehearses: a copy of what was, rolled forward."""
        self.restore_as(data, "copy", overwrite=True)
        self.replay(data, "copy", bounded)

    @precondition(lambda self: any(kept.lives for kept in self.world.kept))
    @rule(data=st.data(), bounded=st.booleans())
    def late_drill(self, data: st.DataObject, bounded: bool) -> None:
        """A copy that somebody has written to before it was rolled forward."""
        self.restore_as(data, "copy", overwrite=True)
        self.upsert("copy", [("a", 9, None)])
        self.replay(data, "copy", bounded)

    def restoring(self, id: str, **request: Any) -> Callable[[], object]:
        return lambda: self.kit.restore(id, **request)

    @rule(data=st.data(), only=st.none() | names, bounded=st.booleans())
    def replay(self, data: st.DataObject, only: str | None, bounded: bool) -> None:
        if only is not None and only not in self.state.collections:
            return
        # With the log off, only what it holds can be returned to.
        end = self.sequence if self.world.logging else self.closed_at
        to = data.draw(st.integers(1, end)) if bounded and end else None
        self.rolls_forward(only, to)

    def rolls_forward(self, only: str | None, to: int | None) -> None:
        taken: list[int] = [self.sequence]
        try:
            result = self.replaying(taken, collection=only, to_sequence=to)
        except HoldfastError:
            expected = self.world.replayed(taken[1:], only=only, to=to)
            assert expected.broken, "a replay was refused that nothing stands in the way of"
            self.tally["replay refused"] += 1
        else:
            expected = self.world.replayed(taken[1:], only=only, to=to)
            assert not expected.broken, "a replay crossed what it must not cross"
            assert result["operations_replayed"] == expected.count
            assert tuple(result["collections_affected"]) == expected.affected
            self.tally["replayed" if expected.count else "nothing to replay"] += 1
        assert len(taken) == expected.count + 1
        assert taken == sorted(set(taken))
        self.world = expected.world
        if expected.count and not expected.broken:
            self.is_durable()

    def replaying(self, taken: list[int], **request: Any) -> dict[str, Any]:
        """Replay; the sequences that the operations get are added to ``taken``."""
        engine = self.kit.engine
        commit = engine._committer.submit

        def commit_at_once(submission: Submission) -> None:
            with contextlib.suppress(HoldfastError):  # its ticket keeps it
                outcome = commit(submission)
                if not isinstance(submission.change, Replayed):
                    taken.append(outcome.sequence)

        # There is no committer thread here.
        engine._committer.submit_nowait = commit_at_once  # type: ignore[method-assign]
        operation = engine.replay.start(ReplayRequest(**request), caller=CALLER)
        return raise_failure(engine.operations.wait(operation.id))

    @precondition(lambda self: self.world.kept)
    @rule(data=st.data(), consolidate=st.booleans())
    def delete_snapshot(self, data: st.DataObject, consolidate: bool) -> None:
        kept = data.draw(st.sampled_from(self.world.kept))
        dependents = self.kit.engine.snapshots.get(kept.id).dependents
        delete = self.kit.consolidate if consolidate else self.kit.engine.snapshots.delete
        if dependents and not consolidate:
            with pytest.raises(FailedPrecondition, match="is the base of"):
                delete(kept.id)
            return
        delete(kept.id)
        self.tally["consolidated"] += bool(dependents)
        self.world = replace(self.world, kept=tuple(each for each in self.world.kept if each is not kept))

    # What happens to the store.

    @rule()
    def checkpoint(self) -> None:
        self.kit.engine.checkpoint()
        self.is_durable()

    @rule(name=st.none() | names, every=st.booleans(), least=st.sampled_from([0, 20, 100]))
    def compact(self, name: str | None, every: bool, least: int) -> None:
        if name is not None and name not in self.state.collections:
            return
        self.tally["rows dropped"] += self.kit.compact(name, aggressive=every, threshold_percent=least)["rows_dropped"]
        self.is_durable()

    @precondition(lambda self: self.world.logging)
    @rule(path=st.sampled_from(["wal", "wal-2"]))
    def move_log(self, path: str) -> None:
        self.kit.engine.wal.enable(WalChanges(path=path), caller=CALLER)

    @precondition(lambda self: self.world.logging)
    @rule()
    def log_off(self) -> None:
        assert self.kit.log is not None
        self.closed_at = self.kit.log.last_sequence
        self.kit.engine.wal.disable(caller=CALLER)
        self.is_durable(replace(self.world, logging=False))

    @precondition(lambda self: not self.world.logging)
    @rule()
    def log_on(self) -> None:
        behind = self.sequence
        self.kit.engine.wal.enable(WalChanges(), caller=CALLER)
        world = replace(self.world, logging=True)
        self.is_durable(world.turned(behind, self.kit.engine.timeline, end=self.closed_at))

    @rule()
    def restart(self) -> None:
        self.kit.restart()
        self.is_durable(self.world.restarted())

    def teardown(self) -> None:
        self.kit.engine.operations.stop()

    @rule()
    def kill(self) -> None:
        self.teardown()  # a process that dies takes its threads along
        self.kit.reopen()
        self.crashed()

    @rule(seed=st.integers(0, 1 << 16), model=st.sampled_from(["prefix", "subset"]))
    def power_cut(self, seed: int, model: str) -> None:
        self.teardown()
        abandon(self.kit.fs)
        self.kit.fs = self.kit.fs.crash(random.Random(seed), model)  # type: ignore[arg-type]
        self.kit.reopen()
        self.crashed()

    def crashed(self) -> None:
        self.tally["crashed" if self.world.logging else "crashed without a log"] += 1
        world = self.world if self.world.logging else replace(self.safe, kept=self.world.kept)
        timeline = self.kit.engine.timeline
        if timeline != world.timeline and world.logging:
            world = world.turned(self.sequence, timeline, end=self.sequence)
        self.is_durable(replace(world, timeline=timeline).restarted())

    @precondition(lambda self: self.world.logging)
    @rule()
    def verify_log(self) -> None:
        assert self.kit.engine.wal.verify().problems == ()

    # What must hold.

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert observe(self.kit.engine, IDS) == self.state

    @invariant()
    def pages_through_it(self) -> None:
        for name in self.state.collections:
            observe_scrolls(self.kit.engine, name)

    def advanced(self, sequence: int) -> int:
        """``sequence``, which must be beyond all before it (RULES 1)."""
        if self.kit.engine.timeline == 1:
            assert sequence > self.last_sequence
        self.last_sequence = sequence
        return sequence

    def resolve(self, name: str) -> tuple[str, CollectionState | None]:
        target = self.state.aliases.get(name, name)
        return target, self.state.collections.get(target)

    def refused(self, call: Callable[[], object]) -> None:
        with pytest.raises((NotFound, InvalidArgument)):
            call()


def _merged(payload: bytes | None, patch: dict[str, object]) -> bytes:
    return json.dumps({**json.loads(payload or b"{}"), **patch}).encode()


def _cosine(query: np.ndarray, raw: bytes) -> float:
    vector = np.frombuffer(raw, np.float32).astype(np.float64)
    lengths = float(np.linalg.norm(query) * np.linalg.norm(vector))
    return float(query.astype(np.float64) @ vector) / lengths if lengths else 0.0


@pytest.mark.timeout(3600)
def test_any_sequence_of_commands() -> None:
    """The same sequences in every run, but other ones in every soak."""
    tally: Counter[str] = Counter()
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        derandomize=not SOAK,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: StoreMachine(tally), settings=profile)
    wanted = {"restored", "replayed", "replay refused", "crashed", "crashed without a log", "incremental", "no base"}
    assert wanted <= tally.keys(), tally
    assert min(tally["delta"], tally["consolidated"], tally["rows dropped"], tally["read without maps"]) > 0, tally
