"""One life lived three times: with maps, with reads, and with a change between the two after every step.

Same results, same digests, the same bytes in a snapshot.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from holdfastd.engine.mmap_control import MmapChanges
from holdfastd.model import Advice, Hit, Record
from tests.support.compactions import collection_of, while_compacting
from tests.support.engines import CALLER, ROOT
from tests.support.oracle import observe, observe_scrolls
from tests.support.snapshots import SnapshotKit

IDS = [f"p{number}" for number in range(12)]
STEPS = 30
FILTERS = [None, "n >= 3", "n = 1"]

Step = Callable[[SnapshotKit], object]


class Twins:
    """Stores that do the same, and are read in different ways. The last one changes its way."""

    def __init__(self) -> None:
        self.kits = [SnapshotKit(seed=5) for _ in range(3)]
        self.turn = 0
        for kit in self.kits:
            kit.create("c", 6)
        self.configure(self.kits[1], enabled=False)

    def configure(self, kit: SnapshotKit, enabled: bool, advise: Advice | None = None) -> None:
        kit.engine.mmap.configure(MmapChanges(enabled=enabled, advise=advise), caller=CALLER)

    def do(self, step: Step) -> None:
        for kit in self.kits:
            step(kit)
        self.turn += 1
        self.configure(self.kits[2], self.turn % 2 == 0, list(Advice)[self.turn % 3])

    def compare(self) -> None:
        first, *others = (self.seen(kit) for kit in self.kits)
        for other in others:
            assert other == first

    def seen(self, kit: SnapshotKit) -> list[object]:
        """Everything that a reader can ask."""
        reading = kit.engine.points.reading("c")
        queries = np.random.default_rng(1).standard_normal((3, 6)).astype(np.float32)
        observe_scrolls(kit.engine, "c")
        return [
            observe(kit.engine, IDS),
            *(
                [[hit_of(hit) for hit in hits] for hits in reading.search(queries, k=4, filter_text=text, vectors=True)]
                for text in FILTERS
            ),
            *([record_of(each) for each in reading.scroll(order="id", limit=5, filter_text=text)] for text in FILTERS),
            reading.count("n >= 3"),
        ]


def record_of(record: Record) -> tuple[object, ...]:
    vector = None if record.vector is None else record.vector.tobytes()
    return record.id, vector, record.payload, record.version, record.sequence


def hit_of(hit: Hit) -> tuple[object, ...]:
    return *record_of(hit.record), hit.score


def upsert(rng: random.Random) -> Step:
    ids, values = rng.sample(IDS, rng.randrange(1, 6)), [rng.randrange(1, 9) for _ in range(6)]
    payloads = [rng.choice([None, b'{"n":%d}' % rng.randrange(5), b'{"n":1,"t":"%s"}' % (b"x" * 5000)]) for _ in ids]
    return lambda kit: kit.upsert(ids, *values[: len(ids)], payloads=payloads)


def deletion(ids: list[str]) -> Step:
    return lambda kit: kit.delete(*ids)


def steps(seed: int) -> list[Step]:
    rng = random.Random(seed)
    out: list[Step] = []
    for _ in range(STEPS):
        kind = rng.choice(["upsert", "upsert", "delete", "checkpoint", "checkpoint", "compact", "restart", "reopen"])
        out.append(
            {
                "upsert": upsert(rng),
                "delete": deletion(rng.sample(IDS, 2)),
                "checkpoint": lambda kit: kit.engine.checkpoint(),
                "compact": compact,
                "restart": lambda kit: kit.restart(),
                "reopen": lambda kit: kit.reopen(),
            }[kind]
        )
    return out


def compact(kit: SnapshotKit) -> None:
    kit.engine.checkpoint()
    if collection_of(kit).segments:
        while_compacting(kit, index_anew=True)


@pytest.mark.parametrize("seed", range(6))
def test_a_life_is_the_same_in_every_mode(seed: int) -> None:
    twins = Twins()
    for step in steps(seed):
        twins.do(step)
        twins.compare()
    assert any(collection_of(kit).segments for kit in twins.kits)
    archives = set()
    for kit in twins.kits:
        for segment in collection_of(kit).segments:
            segment.verify(deep=True)
        kit.snapshot()
        [info] = kit.engine.snapshots.list()
        archives.add(kit.fs.read(f"{ROOT}/{info.record.path}"))
        kit.restore("latest", collection="copy")
        assert record_bytes(kit, "copy") == record_bytes(kit, "c")
    assert len(archives) == 1, "the bytes of a snapshot depend on how they were read"
    assert not any(twins.kits[1].engine.mmap.status().residence)


def record_bytes(kit: SnapshotKit, name: str) -> list[tuple[object, ...]]:
    return sorted(record_of(each)[:3] for batch in kit.engine.points.export(name) for each in batch)


def test_a_batch_of_many_ids_is_found_in_both_modes() -> None:
    """Beyond what a binary search serves, and sorted by hash; rewritten often, so that a hash stands in many runs."""
    kits = [SnapshotKit(seed=5), SnapshotKit(seed=5)]
    ids = [f"id-{number}" for number in range(1500)]
    for kit in kits:
        kit.create("c")
        for start in range(0, 1500, 300):
            kit.upsert(ids[start : start + 300], *range(1, 301))
            kit.upsert(ids[:7], *range(2, 9))
            kit.engine.checkpoint()
    kits[1].engine.mmap.configure(MmapChanges(enabled=False), caller=CALLER)
    asked = ["none", *reversed(ids), "nobody"]
    found = [[record_of(each) for each in kit.engine.points.get("c", asked)] for kit in kits]
    assert found[0] == found[1]
    assert [each[0] for each in found[0]] == ids[::-1]
    for kit in kits:
        kit.delete(*ids[:3], "none")
    assert kits[0].versions() == kits[1].versions()
