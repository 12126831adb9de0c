"""What a store ought to hold: plain dicts, and the same facts read out of an engine in every way it offers.

The model shares no code with the engine; its digest is computed from FORMAT.md's definition.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xxhash

from holdfastd.engine.engine import Engine
from holdfastd.engine.reading import ScrollPosition
from holdfastd.model import Digest, Float32Array, Record, StorageKind

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Point:
    """One live point: the vector's raw bytes, the verbatim payload, how often and when it was written."""

    vector: bytes
    payload: bytes | None
    version: int
    sequence: int


@dataclass(frozen=True, slots=True)
class CollectionState:
    """A collection's configuration and its live points by id."""

    dimensions: int
    storage: StorageKind
    points: Mapping[str, Point] = field(default_factory=dict)

    def digest(self) -> Digest:
        """The content digest as FORMAT.md defines it."""
        high = low = 0
        for id, point in self.points.items():
            key = id.encode()
            payload = b"\0" if point.payload is None else b"\1" + point.payload
            value = xxhash.xxh3_128_intdigest(struct.pack("<I", len(key)) + key + point.vector + payload)
            high, low = high + (value >> 64), low + (value & _MASK)
        return Digest(high & _MASK, low & _MASK)


@dataclass(frozen=True, slots=True)
class StoreState:
    """Everything that a client can see of a store at one sequence. A value: changes return another one."""

    collections: Mapping[str, CollectionState] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def created(self, name: str, dimensions: int, storage: StorageKind = StorageKind.DISK) -> StoreState:
        return self._with(name, CollectionState(dimensions, storage))

    def dropped(self, name: str) -> StoreState:
        return StoreState(
            {each: state for each, state in self.collections.items() if each != name},
            {alias: target for alias, target in self.aliases.items() if target != name},
        )

    def upserted(
        self,
        name: str,
        ids: Sequence[str],
        vectors: Float32Array,
        payloads: Sequence[bytes | None],
        sequence: int,
    ) -> StoreState:
        """Of an id that stands twice in the batch, the last counts, as one write."""
        old = self.collections[name].points
        points = dict(old)
        for id, vector, payload in zip(ids, vectors, payloads, strict=True):
            version = old[id].version + 1 if id in old else 1
            points[id] = Point(vector.tobytes(), payload, version, sequence)
        return self._with_points(name, points)

    def deleted(self, name: str, ids: Iterable[str]) -> StoreState:
        gone = set(ids)
        points = self.collections[name].points
        return self._with_points(name, {id: point for id, point in points.items() if id not in gone})

    def aliased(self, alias: str, name: str) -> StoreState:
        return replace(self, aliases={**self.aliases, alias: name})

    def unaliased(self, alias: str) -> StoreState:
        return replace(self, aliases={each: target for each, target in self.aliases.items() if each != alias})

    def restarted(self) -> StoreState:
        """After a restart: memory collections are there, and empty."""
        emptied = {
            name: replace(state, points={}) if state.storage is StorageKind.MEMORY else state
            for name, state in self.collections.items()
        }
        return replace(self, collections=emptied)

    def _with(self, name: str, state: CollectionState) -> StoreState:
        return replace(self, collections={**self.collections, name: state})

    def _with_points(self, name: str, points: Mapping[str, Point]) -> StoreState:
        return self._with(name, replace(self.collections[name], points=points))


def observe(engine: Engine, ids: Iterable[str] = ()) -> StoreState:
    """What the engine holds, read in several ways that must agree. ``ids``: looked up besides those that exist."""
    collections = {}
    for stats in engine.collections.list():
        name = stats.spec.name
        exported = [record for batch in engine.points.export(name) for record in batch]
        points = _points(exported)
        assert len(points) == len(exported), f"{name}: an id lives twice among {[record.id for record in exported]}"
        state = CollectionState(stats.spec.dimensions, stats.spec.storage, points)
        assert stats.vectors == len(points) == engine.points.count(name), f"{name}: counts differ"
        assert stats.digest == state.digest(), f"{name}: the digest does not match the content"
        asked = sorted({*points, *ids})
        found = engine.points.get(name, asked)
        assert _points(found) == points, f"{name}: get differs from export"
        collections[name] = state
    return StoreState(collections, dict(engine.collections.aliases()))


def observe_scrolls(engine: Engine, name: str, page: int = 3) -> None:
    """Page through a collection both ways; either must give exactly what export gives."""
    exported = _points(record for batch in engine.points.export(name) for record in batch)
    assert engine.points.count(name) == len(exported)
    for order in ("timestamp", "id"):
        seen: list[Record] = []
        after: ScrollPosition | None = None
        while True:
            records = engine.points.reading(name).scroll(order=order, after=after, limit=page, vectors=True)
            seen += records
            if len(records) < page:
                break
            after = ScrollPosition(records[-1].sequence, records[-1].id)
        assert _points(seen) == exported
        keys = [(r.sequence, r.id.encode()) if order == "timestamp" else r.id.encode() for r in seen]
        assert keys == sorted(keys), f"scroll by {order} is out of order"


def _points(records: Iterable[Record]) -> dict[str, Point]:
    points = {}
    for record in records:
        assert record.vector is not None
        vector = np.ascontiguousarray(record.vector).tobytes()
        points[record.id] = Point(vector, record.payload, record.version, record.sequence)
    return points
