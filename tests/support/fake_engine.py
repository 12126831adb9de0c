"""An engine in a dictionary: what rpc/ sees of the real one, without a log and without files."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from holdfastd.engine import prepare
from holdfastd.engine.collections import AliasChanged, Dropped
from holdfastd.engine.operations import OperationRegistry
from holdfastd.engine.reading import ScrollPosition
from holdfastd.engine.tickets import Caller, Outcome, Submission
from holdfastd.errors import Aborted, AlreadyExists, EngineFailed, HoldfastError, NotFound
from holdfastd.model import Alarm, CollectionSpec, CollectionStats, Digest, Float32Array, Hit, Record, Rows
from holdfastd.storage.names import Layout
from tests.support.clock import ManualClock, SeededRandomness
from tests.support.memfs import MemFileSystem

if TYPE_CHECKING:
    from holdfastd.engine.engine import Engine


Described: TypeAlias = list[CollectionStats]
Aliases: TypeAlias = list[tuple[str, str]]


@dataclass
class FakePoints:
    """Points by collection and id. ``held``: submissions wait for ``release``; ``failing``: raised by every write."""

    collections: dict[str, CollectionSpec] = field(default_factory=dict)
    stored: dict[str, dict[str, Record]] = field(default_factory=dict)
    callers: list[Caller] = field(default_factory=list)
    waiting: list[tuple[Submission, str, Rows]] = field(default_factory=list)
    held: bool = False
    failing: Exception | None = None
    sequence: int = 0

    def add_collection(self, name: str, dimensions: int, **settings: Any) -> CollectionSpec:
        """Make a collection without being asked over the wire."""
        self.sequence += 1
        spec = CollectionSpec(
            uuid.UUID(int=self.sequence), name, dimensions, created_us=1, created_sequence=self.sequence, **settings
        )
        self.collections[name] = spec
        return spec

    def reading(self, collection: str) -> FakeReading:
        return FakeReading(self, collection)

    def dimensions(self, collection: str) -> int:
        return self._spec(collection).dimensions

    def answered(self, caller: Caller) -> bool:
        return False

    def prepare_upsert(
        self, collection: str, ids: Sequence[str], vectors: Float32Array, payload_block: bytes, *, caller: Caller
    ) -> Submission:
        rows = prepare.prepare_rows(self._spec(collection), ids, vectors, payload_block)
        self.callers.append(caller)
        submission = Submission(request_id=caller.request_id, sync=caller.sync)
        self.waiting.append((submission, collection, rows))
        return submission

    def commit_nowait(self, submission: Submission) -> None:
        if not self.held:
            self.release()

    def release(self) -> None:
        """Commit what waits, in order."""
        while self.waiting:
            submission, collection, rows = self.waiting.pop(0)
            if isinstance(self.failing, HoldfastError):
                submission.fail(self.failing)
            else:
                submission.ticket.succeed(self._write(collection, rows))

    def upsert(
        self,
        collection: str,
        ids: Sequence[str],
        vectors: Float32Array,
        payload_block: bytes,
        *,
        caller: Caller,
        validate_only: bool = False,
    ) -> Outcome:
        assert not validate_only
        if self.failing is not None:
            raise self.failing
        submission = self.prepare_upsert(collection, ids, vectors, payload_block, caller=caller)
        self.release()
        return cast(Outcome, submission.ticket.wait())

    def update(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        vectors: Float32Array | None,
        payload_block: bytes,
        merge: bool,
        caller: Caller,
        validate_only: bool = False,
    ) -> Outcome:
        self.callers.append(caller)
        found = self.get(collection, ids)
        if len(found) != len(ids):
            raise NotFound("a point does not exist", reason="POINT_NOT_FOUND")
        matrix = np.stack([cast(Float32Array, each.vector) for each in found]) if vectors is None else vectors
        rows = prepare.prepare_rows(self._spec(collection), ids, matrix, payload_block)
        return self._write(collection, rows)

    def delete_ids(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        caller: Caller,
        expected_count: int | None = None,
        validate_only: bool = False,
    ) -> Outcome:
        prepare.check_ids(ids)
        points = self._points(collection)
        gone = [id for id in dict.fromkeys(ids) if id in points]
        if expected_count not in (None, len(gone)):
            raise Aborted(f"{len(gone)} points would be deleted", reason="COUNT_MISMATCH", count=len(gone))
        if validate_only:
            return Outcome(0, len(gone), False)
        for id in gone:
            del points[id]
        self.sequence += 1
        return Outcome(self.sequence, len(gone), True)

    def delete_where(self, collection: str, filter_text: str, **guards: Any) -> Outcome:
        return self.truncate(collection, **guards)

    def truncate(self, collection: str, **guards: Any) -> Outcome:
        return self.delete_ids(collection, list(self._points(collection)) or ["none"], **guards)

    def get(self, collection: str, ids: Sequence[str], *, vectors: bool = True) -> list[Record]:
        points = self._points(collection)
        found = [points[id] for id in ids if id in points]
        return found if vectors else [replace(record, vector=None) for record in found]

    def vector_of(self, collection: str, id: str) -> Float32Array:
        records = self.get(collection, [id])
        if not records:
            raise NotFound(f"there is no point {id!r}", reason="POINT_NOT_FOUND", point=id)
        return cast(Float32Array, records[0].vector)

    def search(
        self,
        collection: str,
        queries: Float32Array,
        *,
        k: int,
        filter_text: str | None = None,
        threshold: float | None = None,
        vectors: bool = False,
    ) -> list[list[Hit]]:
        records = list(self._points(collection).values())
        answers = []
        for query in queries:
            hits = [Hit(record, float(np.dot(query, cast(Float32Array, record.vector)))) for record in records]
            ordered = sorted(hits, key=lambda hit: (-hit.score, hit.record.id))
            answers.append([hit for hit in ordered if threshold is None or hit.score >= threshold][:k])
        return answers

    def scroll(
        self,
        collection: str,
        *,
        order: str = "timestamp",
        after: ScrollPosition | None = None,
        skip: int = 0,
        limit: int,
        filter_text: str | None = None,
        vectors: bool = False,
    ) -> list[Record]:
        def key(record: Record) -> tuple[int, str]:
            return (0 if order == "id" else record.sequence, record.id)

        records = sorted(self._points(collection).values(), key=key)
        floor = None if after is None else (0 if order == "id" else after.sequence, after.id)
        left = [record for record in records if floor is None or key(record) > floor][skip : skip + limit]
        return left if vectors else [replace(record, vector=None) for record in left]

    def count(self, collection: str, filter_text: str | None = None) -> int:
        return len(self._points(collection))

    def export(self, collection: str, filter_text: str | None = None) -> Iterator[list[Record]]:
        records = list(self._points(collection).values())
        return iter([records[start : start + 7] for start in range(0, len(records), 7)])

    def _write(self, collection: str, rows: Rows) -> Outcome:
        self.sequence += 1
        points = self._points(collection)
        versions = []
        for key, vector, payload in zip(rows.ids, rows.vectors, rows.payloads, strict=True):
            id = key.decode()
            version = points[id].version + 1 if id in points else 1
            versions.append(version)
            points[id] = Record(id, vector, payload, version, self.sequence, 1_000_000 + self.sequence)
        return Outcome(self.sequence, len(rows), True, np.array(versions, np.uint32))

    def _spec(self, collection: str) -> CollectionSpec:
        if collection not in self.collections:
            raise NotFound(
                f"there is no collection {collection!r}", reason="COLLECTION_NOT_FOUND", collection=collection
            )
        return self.collections[collection]

    def _points(self, collection: str) -> dict[str, Record]:
        self._spec(collection)
        return self.stored.setdefault(collection, {})


class FakeReading:
    """The fake points of one collection; not pinned."""

    def __init__(self, points: FakePoints, collection: str) -> None:
        self.dimensions = points.dimensions(collection)
        self.sequence = points.sequence
        for name in ("get", "vector_of", "search", "scroll", "count", "export"):
            setattr(self, name, partial(getattr(points, name), collection))


@dataclass
class FakeCollections:
    """Collections of the fake points, and aliases that nothing resolves."""

    points: FakePoints
    names: dict[str, str] = field(default_factory=dict)

    def create(
        self, name: str, dimensions: int, *, caller: Caller, validate_only: bool = False, **settings: Any
    ) -> CollectionStats:
        if name in self.points.collections:
            raise AlreadyExists(f"{name!r} exists", reason="COLLECTION_EXISTS", collection=name)
        if validate_only:
            spec = CollectionSpec(uuid.UUID(int=0), name, dimensions, **settings)
            return CollectionStats(spec, 0, 0, Digest(), 0, 0, 0.0, 0)
        self.points.add_collection(name, dimensions, **settings)
        return self.stats(name)

    def drop(
        self, name: str, *, caller: Caller, validate_only: bool = False, expected_id: str | None = None
    ) -> Dropped:
        count = self.points.count(name)
        if not validate_only:
            self.points.sequence += 1
            del self.points.collections[name]
            self.points.stored.pop(name, None)
        return Dropped(Outcome(0 if validate_only else self.points.sequence, count, True), ())

    def stats(self, name: str) -> CollectionStats:
        spec = self.points._spec(name)
        count, sequence = self.points.count(name), self.points.sequence
        return CollectionStats(spec, count, 4 * count, Digest(1, 2), sequence, 0, 0.0, 0)

    def list(self) -> Described:
        return [self.stats(name) for name in sorted(self.points.collections)]

    def create_alias(self, alias: str, collection: str, *, caller: Caller) -> AliasChanged:
        self.points._spec(collection)
        self.names[alias] = collection
        return self._changed("")

    def switch_alias(self, alias: str, collection: str, *, caller: Caller, validate_only: bool = False) -> AliasChanged:
        old, self.names[alias] = self.names[alias], collection
        return self._changed(old)

    def delete_alias(self, alias: str, *, caller: Caller, validate_only: bool = False) -> AliasChanged:
        if alias not in self.names:
            raise NotFound(f"there is no alias {alias!r}", reason="ALIAS_NOT_FOUND", alias=alias)
        return self._changed(self.names.pop(alias))

    def _changed(self, before: str) -> AliasChanged:
        self.points.sequence += 1
        return AliasChanged(Outcome(self.points.sequence, 0, True, names=(before,) if before else ()))

    def aliases(self) -> Aliases:
        return sorted(self.names.items())


class FakeEngine:
    """What the server is built from. ``engine`` is it under the type that the server asks for."""

    def __init__(self) -> None:
        self.points = FakePoints()
        self.collections = FakeCollections(self.points)
        self.failure: EngineFailed | None = None
        self.operations = OperationRegistry(MemFileSystem(), ManualClock(), SeededRandomness(), Layout("/data"))
        self.operations.load()
        self.wal = SimpleNamespace()
        self.replay = SimpleNamespace()
        self.snapshots = SimpleNamespace(uploads=None)
        self.schedules = SimpleNamespace()

    @property
    def engine(self) -> Engine:
        return cast("Engine", self)

    @property
    def sequence(self) -> int:
        return self.points.sequence

    @property
    def durable_sequence(self) -> int:
        return self.points.sequence

    def real_path(self, path: str) -> str:
        return path

    def status(self) -> SimpleNamespace:
        return SimpleNamespace(data_dir="/data")

    def alarms(self) -> list[Alarm]:
        return []
