"""Power cuts at every file operation of a store whose disk is full: while the reserve is given up, while room is made.

What was acknowledged is there after the next start, on the same full disk; what was refused never comes back; and the
recovered store still takes what frees space.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import ResourceExhausted
from tests.support.engines import CALLER, Kit
from tests.support.memfs import MemFileSystem

CAPACITY = 700_000
RESERVE = 1 << 17
DRAWS = int(os.environ.get("HOLDFAST_FULL_DISK_DRAWS", "2"))

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

Content = dict[str, frozenset[str]]
"""The ids in each collection."""


def noise(number: int) -> bytes:
    return b'{"text":"%s"}' % random.Random(number).randbytes(10_000).hex().encode()


@dataclass
class Story:
    """A store on a small disk, and what it had to hold at each of its file operations."""

    fs: MemFileSystem = field(default_factory=lambda: MemFileSystem(capacity=CAPACITY))
    now: Content = field(default_factory=dict)
    moments: list[tuple[int, Content]] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self.kit = open_kit(self.fs)
        self.moments.append((self.fs.ops, {}))

    def do(self, action: Callable[[Kit], object], then: Content) -> bool:
        """Do it; once it is acknowledged the store holds ``then``. False when the disk was full."""
        begun = self.fs.ops
        try:
            action(self.kit)
        except ResourceExhausted:
            self.refused += 1
            return False
        # While it was under way, either state may be found; ``begun`` is the last at which it must be the old one.
        self.moments.append((begun, self.now))
        self.now = then
        self.moments.append((self.fs.ops, then))
        return True

    def create(self, name: str) -> None:
        assert self.do(lambda kit: kit.create(name), {**self.now, name: frozenset()})

    def upsert(self, name: str, id: str, payload: bytes) -> bool:
        ids = self.now[name] | {id}
        return self.do(lambda kit: kit.upsert([id], name=name, payloads=[payload]), {**self.now, name: ids})

    def fill(self, name: str) -> None:
        number = 0
        while self.upsert(name, f"{name}-{number}", noise(number)):
            number += 1

    def allowed(self, cut: int) -> list[Content]:
        """What may be found when the power goes after ``cut`` operations."""
        before = [content for ops, content in self.moments if ops <= cut]
        after = [content for ops, content in self.moments if ops > cut]
        return [*before[-1:], *after[:2]] if before else [{}, *after[:2]]


def open_kit(fs: MemFileSystem) -> Kit:
    return Kit(fs, disk_reserve_bytes=RESERVE, segment_size=1 << 15)


def content(kit: Kit) -> Content:
    names = [stats.spec.name for stats in kit.engine.collections.list()]
    return {name: frozenset(kit.values(name)) for name in names}


def live() -> Story:
    """Fill the disk, free space in every way there is, fill it again, stop, start, and fill it once more."""
    story = Story()
    story.create("a")
    story.create("b")
    story.upsert("a", "first", noise(99))
    story.kit.engine.checkpoint()
    story.fill("b")
    assert story.kit.engine.status().state == "full"
    assert story.do(lambda kit: kit.delete("b-0", name="b"), {**story.now, "b": story.now["b"] - {"b-0"}})
    story.kit.engine._checkpoints.tend()
    assert story.do(lambda kit: kit.engine.points.truncate("b", caller=CALLER), {**story.now, "b": frozenset()})
    story.kit.engine.wal.enable(WalChanges(retention_us=0), caller=Caller())
    assert story.do(lambda kit: kit.engine.collections.drop("b", caller=CALLER), {"a": story.now["a"]})
    story.kit.clock.advance_us(1_000_000)
    for _ in range(2):
        story.kit.engine._checkpoints.tend()
    assert story.kit.engine.status().state == "serving"
    story.fill("a")
    story.kit.restart()
    assert content(story.kit) == story.now
    assert story.do(lambda kit: kit.engine.points.truncate("a", caller=CALLER), {"a": frozenset()})
    story.kit.clock.advance_us(1_000_000)
    for _ in range(2):
        story.kit.engine._checkpoints.tend()
    assert story.kit.engine.status().state == "serving"
    return story


def test_a_power_cut_on_a_full_disk(record_property: Callable[[str, object], None]) -> None:
    story, rng = live(), random.Random(5)
    assert story.refused >= 2
    states = impossible = 0
    known: dict[int, Content] = {}
    for cut in range(story.moments[0][0], story.fs.ops + 1):
        for draw in range(DRAWS):
            fs = story.fs.crash_at(cut, rng, "prefix" if draw % 2 else "subset")
            if fs.free_bytes("/") == 0 and used(fs) > CAPACITY:
                # What is overwritten before its removal is durable: no disk does that.
                impossible += 1
                continue
            states += 1
            digest = fs.state_digest()
            if digest not in known:
                kit = open_kit(fs)
                known[digest] = content(kit)
                if rng.random() < 0.2:
                    go_on(kit, known[digest])
            assert known[digest] in story.allowed(cut), f"after {cut} operations"
    assert states > 20 * impossible
    record_property("crash_states", states)
    record_property("distinct_states", len(known))


def used(fs: MemFileSystem) -> int:
    """Bytes that all files take."""
    fs.leave_free(0)
    taken, fs.capacity = fs.capacity, CAPACITY
    assert taken is not None
    return taken


def go_on(kit: Kit, found: Content) -> None:
    """What frees space works on what was recovered, however full the disk is."""
    for name, ids in found.items():
        # The last part of the reserve is not for single deletes.
        with contextlib.suppress(ResourceExhausted):
            kit.delete("unknown", *sorted(ids)[:1], name=name)
        kit.engine.points.truncate(name, caller=CALLER)
        kit.engine.collections.drop(name, caller=CALLER)
    kit.restart()
    assert content(kit) == {}
