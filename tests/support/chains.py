"""A chain of three snapshots, what it holds, damage to it, and that nothing of it was touched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.errors import Corruption
from holdfastd.storage.names import Layout
from holdfastd.storage.registry import Registry, SnapshotRecord
from tests.support.engines import ROOT
from tests.support.snapshots import COLLECTIONS_DIR, SNAPSHOTS_DIR, Archive, SnapshotKit

HOURLY = "/hourly"


def filled() -> SnapshotKit:
    """A store with one collection."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(list("abcd"), payloads=[b'{"n":1}', None, b"{}", None])
    return kit


def chained(kit: SnapshotKit, **request: Any) -> tuple[SnapshotInfo, SnapshotInfo, SnapshotInfo]:
    """A full snapshot and two increments, the second elsewhere: rows anew, gone and back again."""
    full = kit.later(**request)
    kit.upsert(["b", "e"], 20, 5)
    kit.delete("a")
    one = kit.later(incremental=True, **request)
    kit.upsert(["a", "d"], 10, 40, payloads=[b'{"n":2}', None])
    kit.delete("c")
    two = kit.later(incremental=True, **{**request, "path": HOURLY})
    return full, one, two


def info(kit: SnapshotKit, snapshot: SnapshotInfo) -> SnapshotInfo:
    return kit.engine.snapshots.get(snapshot.id)


def restored(kit: SnapshotKit, snapshot: SnapshotInfo | str, name: str = "c") -> dict[str, tuple[float, int]]:
    """What a restore yields: value and version by id."""
    reference = snapshot if isinstance(snapshot, str) else snapshot.id
    kit.restore(reference, collection="copy", from_collection=name, overwrite=True, verify=True)
    versions = kit.versions("copy")
    return {id: (value, versions[id]) for id, value in kit.values("copy").items()}


def registered(kit: SnapshotKit) -> tuple[list[SnapshotRecord], int]:
    """What the registry on the disk knows, by id, and how much it says is being written."""
    registry = Registry.load(kit.fs, Layout(ROOT))
    return sorted(registry.snapshots, key=lambda record: record.id), len(registry.pending)


def untouched(kit: SnapshotKit, call: Callable[[], object]) -> Any:
    """A call leaves every file and the registry as they were; whatever it raises is returned."""
    everything = (SNAPSHOTS_DIR, HOURLY)
    files = {f"{at}/{name}": kit.fs.read(f"{at}/{name}") for at in everything for name in kit.fs.listdir(at)}
    listed, live = registered(kit), kit.fs.listdir(COLLECTIONS_DIR)
    with pytest.raises(Exception) as caught:
        call()
    assert {f"{at}/{name}": kit.fs.read(f"{at}/{name}") for at in everything for name in kit.fs.listdir(at)} == files
    assert kit.fs.listdir(COLLECTIONS_DIR) == live
    if not isinstance(caught.value, Corruption):
        assert registered(kit) == listed
    return caught.value


def flip(kit: SnapshotKit, path: str, ending: str = "ids.npy", back: int = 1) -> None:
    """Change a byte near the end of a member's content."""
    content = Archive.of(kit.fs.read(path)).find(ending).data
    at = kit.fs.read(path).index(content) + len(content) - back
    kit.fs.damage(path, at, bytes([content[-back] ^ 1]))
