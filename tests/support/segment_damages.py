"""A store with segments to damage, and what tests of damage ask of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfastd.engine.engine import Engine
from holdfastd.errors import Corruption
from holdfastd.model import Record
from tests.support.engines import Kit, abandon
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit


def kit_with_two_segments() -> SnapshotKit:
    """``c``: a and b in a segment, b and d in another; b is dead in the first. ``other``: one point in a segment."""
    kit = SnapshotKit()
    kit.create()
    kit.create("other")
    kit.upsert(["a", "b"], 1, 2)
    kit.upsert(["x"], 9, name="other")
    kit.engine.checkpoint()
    kit.upsert(["b", "d"], 3, 4)
    kit.engine.checkpoint()
    return kit


def segment_dir(kit: Kit, number: int = 0, name: str = "c") -> str:
    """The directory of a collection's segment, oldest first."""
    collection = kit.engine._applier.catalog.resolve(name)
    return collection.segments[number].directory


def file_of(kit: Kit, file: str, number: int = 0) -> str:
    """A file of a segment; ``kills``: its kills file."""
    directory = segment_dir(kit, number)
    if file == "kills":
        file = max(name for name in kit.fs.listdir(directory) if name.startswith("kills-"))
    return f"{directory}/{file}"


def lose(fs: MemFileSystem, path: str) -> str:
    fs.unlink(path)
    return f"{path}: the file is missing"


def start(kit: Kit) -> Engine:
    abandon(kit.fs)
    kit.engine = kit._open()
    return kit.engine


def refused(call: Callable[[], Any]) -> Corruption:
    with pytest.raises(Corruption) as caught:
        call()
    assert caught.value.reason == "SEGMENT_QUARANTINED"
    return caught.value


def ids(records: list[Record]) -> list[str]:
    return [record.id for record in records]
