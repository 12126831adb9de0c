"""What a comparison ought to say: worked out from two states of the oracle, id by id."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import pytest

from tests.support.oracle import CollectionState, Point, StoreState

SAMPLE = 3

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
