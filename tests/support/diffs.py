"""What a comparison ought to say, worked out from two states of the oracle, id by id; and random lives to compare."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from holdfastd.format.payloads import join_payloads
from holdfastd.model import StorageKind
from tests.support.engines import CALLER
from tests.support.oracle import CollectionState, Point, StoreState, observe
from tests.support.snapshots import SnapshotKit

SAMPLE = 3

_NAMES = ["c", "d", "m"]
_IDS = [f"id-{n}" for n in range(9)] + ["é", "z" * 40]
_PAYLOADS = [None, b"{}", b'{"n":1}']
_ALIASES = ["one", "two"]

_COUNTS = ("added", "removed", "changed", "vector_changed", "payload_changed", "unchanged")


def assert_diff(found: Mapping[str, Any], first: StoreState, second: StoreState) -> None:
    """A result document of everything, with ``sample=SAMPLE``, says what became of the first state."""
    names = sorted({*first.collections, *second.collections})
    assert [each["collection"] for each in found["collections"]] == names
    for each in found["collections"]:
        name = each["collection"]
        assert_rows(each, first.collections.get(name), second.collections.get(name))
    aliases = {each["alias"]: (each["first"], each["second"]) for each in found["aliases"]}
    expected = {
        alias: (first.aliases.get(alias), second.aliases.get(alias)) for alias in {*first.aliases, *second.aliases}
    }
    assert aliases == {alias: both for alias, both in expected.items() if both[0] != both[1]}
    assert found["identical"] == (not aliases and all(each["change"] == "none" for each in found["collections"]))


def assert_rows(found: Mapping[str, Any], first: CollectionState | None, second: CollectionState | None) -> None:
    """One collection of a result document; None: the side has it not."""
    if first is None or second is None:
        assert found["change"] == ("added" if first is None else "removed")
        assert (found["added"], found["removed"]) == (
            len(second.points) if second else 0,
            len(first.points) if first else 0,
        )
        return
    old, new = first.points, second.points
    both = sorted(old.keys() & new.keys(), key=str.encode)
    vectors = [id for id in both if old[id].vector != new[id].vector]
    payloads = [id for id in both if old[id].payload != new[id].payload]
    changed = {*vectors, *payloads}
    added, removed = (sorted(one.keys() - other.keys(), key=str.encode) for one, other in ((new, old), (old, new)))
    counts = [len(added), len(removed), len(changed), len(vectors), len(payloads), len(both) - len(changed)]
    assert {key: found[key] for key in _COUNTS} == dict(zip(_COUNTS, counts, strict=True))
    assert (found["first_count"], found["second_count"]) == (len(old), len(new))
    for key, ids in (
        ("added_ids", added), ("removed_ids", removed), ("vector_changed_ids", vectors),
        ("payload_changed_ids", payloads),
    ):  # fmt: skip
        assert found[key] == ids[:SAMPLE]
    settings = (first.dimensions, first.storage) == (second.dimensions, second.storage)
    assert found["change"] == ("none" if settings and not (added or removed or changed) else "changed")
    drifts = [drift for id in vectors if (drift := _drift(old[id], new[id])) is not None]
    assert found["drift_count"] == len(drifts)
    assert found["largest_drift"] == (pytest.approx(max(drifts), abs=1e-12) if drifts else None)
    assert found["mean_drift"] == (pytest.approx(math.fsum(drifts) / len(drifts), abs=1e-12) if drifts else None)


def _drift(old: Point, new: Point) -> float | None:
    one, other = (struct.unpack(f"<{len(point.vector) // 4}f", point.vector) for point in (old, new))
    lengths = math.hypot(*one) * math.hypot(*other)
    if len(one) != len(other) or not lengths:
        return None
    cosine = math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths
    return min(2.0, max(0.0, 1.0 - cosine))


@dataclass
class Life:
    """A store, and what it was at each snapshot."""

    rng: random.Random
    kit: SnapshotKit = field(default_factory=SnapshotKit)
    moments: dict[str, StoreState] = field(default_factory=dict)

    def step(self) -> None:
        rng, kit, engine = self.rng, self.kit, self.kit.engine
        there = [stats.spec.name for stats in engine.collections.list()]
        name = rng.choice(_NAMES)
        what = rng.random()
        if name not in there:
            kit.create(name, rng.choice([2, 3]), StorageKind.MEMORY if name == "m" else StorageKind.DISK)
        elif what < 0.5:
            self.write(name)
        elif what < 0.65:
            kit.delete(*rng.sample(_IDS, 3), name=name)
        elif what < 0.7:
            engine.collections.drop(name, caller=CALLER)
        elif what < 0.75:
            alias = rng.choice(_ALIASES)
            if alias in dict(engine.collections.aliases()):
                engine.collections.delete_alias(alias, caller=CALLER)
            else:
                engine.collections.create_alias(alias, name, caller=CALLER)
        elif what < 0.87:
            engine.checkpoint()
        elif what < 0.9:
            kit.reopen()
        else:
            self.snapshot()

    def write(self, name: str) -> None:
        ids = self.rng.sample(_IDS, self.rng.randint(1, 5))
        # Few values, so that rows are often written as they were; one of them has no direction.
        values = [[self.rng.choice([-1.0, 0.0, 0.5, 1.0]) for _ in range(self.dimensions(name))] for _ in ids]
        payloads = join_payloads([self.rng.choice(_PAYLOADS) for _ in ids])
        self.kit.engine.points.upsert(name, ids, np.array(values, np.float32), payloads, caller=CALLER)

    def dimensions(self, name: str) -> int:
        return self.kit.engine.points.dimensions(name)

    def snapshot(self) -> None:
        incremental = bool(self.moments) and self.rng.random() < 0.6
        made = self.kit.later(incremental=incremental, compress=self.rng.random() < 0.4)
        self.moments[made.id] = observe(self.kit.engine)
