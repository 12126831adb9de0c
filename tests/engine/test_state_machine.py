"""Any sequence of commands, restarts and power cuts leaves exactly what a few dicts would hold."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import AlreadyExists, InvalidArgument, NotFound
from holdfastd.format.payloads import join_payloads
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER, Kit, abandon
from tests.support.oracle import CollectionState, StoreState, observe, observe_scrolls

IDS = ["a", "b", "c", "d", "ä", "e" * 30]
NAMES = ["one", "two"]
ALIASES = ["left", "right"]

names = st.sampled_from(NAMES)
aliases = st.sampled_from(ALIASES)
numbers = st.integers(-3, 3)
payloads = st.none() | st.fixed_dictionaries({"n": st.integers(0, 3)}, optional={"s": st.text(max_size=3)})
points = st.tuples(st.sampled_from(IDS), numbers, payloads)


def encoded(payload: object) -> bytes | None:
    return None if payload is None else json.dumps(payload, ensure_ascii=False).encode()


class StoreMachine(RuleBasedStateMachine):
    """A store in ``fsync`` mode: what it says is done stays done, whatever happens next."""

    def __init__(self) -> None:
        super().__init__()
        self.kit = Kit()
        self.state = StoreState()
        self.last_sequence = 0

    # What a client does.

    @initialize()
    def begin(self) -> None:
        self.create("one", 2, StorageKind.DISK)

    @rule(name=names, dimensions=st.integers(1, 3), storage=st.sampled_from(list(StorageKind)))
    def create(self, name: str, dimensions: int, storage: StorageKind) -> None:
        def call() -> None:
            self.kit.create(name, dimensions, storage)

        if name in self.state.collections:
            with pytest.raises(AlreadyExists):
                call()
            return
        call()
        self.state = self.state.created(name, dimensions, storage)

    @rule(name=names)
    def drop(self, name: str) -> None:
        known = self.state.collections.get(name)
        if known is None:
            self.refused(lambda: self.kit.engine.collections.drop(name, caller=CALLER))
            return
        assert self.kit.engine.collections.drop(name, caller=CALLER, validate_only=True).outcome.count == len(
            known.points
        )
        assert self.kit.engine.collections.drop(name, caller=CALLER).outcome.count == len(known.points)
        self.state = self.state.dropped(name)

    @rule(alias=aliases, name=names)
    def put_alias(self, alias: str, name: str) -> None:
        collections = self.kit.engine.collections
        if name not in self.state.collections:
            self.refused(lambda: collections.create_alias(alias, name, caller=CALLER))
        elif alias in self.state.aliases:
            assert collections.switch_alias(alias, name, caller=CALLER).before == self.state.aliases[alias]
            self.state = self.state.aliased(alias, name)
        else:
            collections.create_alias(alias, name, caller=CALLER)
            self.state = self.state.aliased(alias, name)

    @rule(alias=aliases)
    def delete_alias(self, alias: str) -> None:
        if alias in self.state.aliases:
            self.kit.engine.collections.delete_alias(alias, caller=CALLER)
            self.state = self.state.unaliased(alias)
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
        assert outcome.durable == (collection.storage is not StorageKind.MEMORY)
        self.state = self.state.upserted(target, ids, vectors, texts, self.advanced(outcome.sequence))
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
        sequence = self.advanced(call())
        vectors = np.array([np.frombuffer(point.vector, np.float32) for point in old])
        merged = [point.payload if patch is None else _merged(point.payload, patch) for point in old]
        found = self.kit.engine.points.get(name, ids)
        assert [json.loads(r.payload or b"null") for r in found] == [json.loads(m or b"null") for m in merged]
        self.state = self.state.upserted(name, ids, vectors, [r.payload for r in found], sequence)

    @rule(name=names, ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=4))
    def delete(self, name: str, ids: list[str]) -> None:
        collection = self.state.collections.get(name)
        if collection is None:
            self.refused(lambda: self.kit.delete(*ids, name=name))
            return
        outcome = self.kit.delete(*ids, name=name)
        assert outcome.count == len(set(ids) & set(collection.points))
        self.advanced(outcome.sequence)
        self.state = self.state.deleted(name, ids)

    @rule(name=names, number=st.integers(0, 3))
    def delete_where(self, name: str, number: int) -> None:
        collection = self.state.collections.get(name)
        if collection is None:
            return
        text = f"n = {number}"
        matching = [id for id, p in collection.points.items() if p.payload and json.loads(p.payload)["n"] == number]
        assert self.kit.engine.points.count(name, text) == len(matching)
        assert self.kit.engine.points.delete_where(name, text, caller=CALLER).count == len(matching)
        self.state = self.state.deleted(name, matching)

    @rule(name=names)
    def truncate(self, name: str) -> None:
        collection = self.state.collections.get(name)
        if collection is not None:
            outcome = self.kit.engine.points.truncate(name, caller=CALLER)
            assert outcome.count == len(collection.points)
            self.state = self.state.deleted(name, IDS)

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

    # What happens to the store.

    @rule()
    def checkpoint(self) -> None:
        self.kit.engine.checkpoint()

    @rule(path=st.sampled_from(["wal", "wal-2"]))
    def move_log(self, path: str) -> None:
        self.kit.engine.wal.enable(WalChanges(path=path), caller=CALLER)

    @rule()
    def log_off_and_on(self) -> None:
        self.kit.engine.wal.disable(caller=CALLER)
        self.kit.engine.wal.enable(WalChanges(), caller=CALLER)

    @rule()
    def restart(self) -> None:
        self.kit.restart()
        self.state = self.state.restarted()

    @rule()
    def kill(self) -> None:
        self.kit.reopen()
        self.state = self.state.restarted()

    @rule(seed=st.integers(0, 1 << 16), model=st.sampled_from(["prefix", "subset"]))
    def power_cut(self, seed: int, model: str) -> None:
        abandon(self.kit.fs)
        self.kit.fs = self.kit.fs.crash(random.Random(seed), model)  # type: ignore[arg-type]
        self.kit.reopen()
        self.state = self.state.restarted()

    @precondition(lambda self: self.kit.engine.wal.status().settings.sync_mode is SyncMode.FSYNC)
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


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_caller_may_be_named() -> None:
    kit = Kit()
    kit.create(caller=Caller(actor="somebody"))
    logged = next(iter(kit.engine.wal.records())).logged
    assert logged.actor == "somebody"
