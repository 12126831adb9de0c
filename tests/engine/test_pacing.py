"""Bulk writes give way to the log, and only then (RULES 25)."""

from __future__ import annotations

import numpy as np
import pytest

from holdfastd.engine.pacing import AT_ONCE_BYTES, LONG_QUIET_NS, QUIET_NS, Pacer
from holdfastd.storage.bulk import LARGE_PIECE_BYTES, LARGEST_PIECE_BYTES, Pace
from tests.support.clock import ManualClock
from tests.support.snapshots import SnapshotKit

RATE = 100 << 20
PIECE = 256 << 10


class Foreground:
    """A log that was last written to when the test says so."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.last_write_ns = -(1 << 60)

    def write(self) -> None:
        self.last_write_ns = self.clock.monotonic_ns()

    def pacer(self, rate: int = RATE) -> Pacer:
        return Pacer(self.clock, rate, lambda: self.last_write_ns)


def spent(clock: ManualClock, pace: Pace, count: int, foreground: Foreground | None = None) -> float:
    """Seconds that it takes to be let through with ``count`` bytes, piece by piece."""
    before = sum(clock.slept)
    for _ in range(count // PIECE):
        if foreground is not None:
            foreground.write()
        pace(PIECE)
    return sum(clock.slept) - before


def test_an_idle_store_writes_at_full_speed() -> None:
    store = Foreground()
    assert spent(store.clock, store.pacer(), 1 << 30) == 0


def test_beside_writes_the_rate_is_kept_after_what_may_go_at_once() -> None:
    store = Foreground()
    seconds = spent(store.clock, store.pacer(), AT_ONCE_BYTES + 4 * RATE, store)
    assert seconds == pytest.approx(4, rel=0.05)


def test_full_speed_again_once_the_log_is_quiet() -> None:
    store = Foreground()
    pace = store.pacer()
    spent(store.clock, pace, 2 * RATE, store)
    store.clock.sleep(QUIET_NS / 1e9 + 0.001)
    assert spent(store.clock, pace, RATE) == 0


def test_a_long_silence_is_no_credit_beyond_what_may_go_at_once() -> None:
    store = Foreground()
    pace = store.pacer()
    spent(store.clock, pace, RATE, store)
    store.clock.sleep(60)
    assert spent(store.clock, pace, AT_ONCE_BYTES + RATE, store) == pytest.approx(1, rel=0.05)


def test_several_writers_share_one_rate() -> None:
    store = Foreground()
    pace = store.pacer()
    both = spent(store.clock, pace, RATE + AT_ONCE_BYTES, store) + spent(store.clock, pace, RATE, store)
    assert both == pytest.approx(2, rel=0.05)


def test_who_yields_to_readers_as_well_keeps_the_rate_beside_either_and_shares_it() -> None:
    store = Foreground()
    read_ns = -(1 << 60)
    alone = store.pacer()
    yielding = alone.that_yields_to(lambda: read_ns)
    assert spent(store.clock, yielding, 2 * RATE) == 0
    read_ns = store.clock.monotonic_ns() + 10**12
    assert spent(store.clock, alone, 2 * RATE) == 0
    assert spent(store.clock, yielding, RATE + AT_ONCE_BYTES) == pytest.approx(1, rel=0.05)
    read_ns = -(1 << 60)
    both = spent(store.clock, alone, RATE, store) + spent(store.clock, yielding, RATE, store)
    assert both == pytest.approx(2, rel=0.1)


def test_no_rate_is_no_waiting() -> None:
    store = Foreground()
    assert spent(store.clock, store.pacer(rate=0), 1 << 30, store) == 0


def test_it_is_quiet_a_good_while_after_the_last_write() -> None:
    store = Foreground()
    pace = store.pacer()
    assert pace.is_quiet()
    store.write()
    assert not pace.is_quiet()
    store.clock.sleep(LONG_QUIET_NS / 2e9)
    assert not pace.is_quiet()
    store.clock.sleep(LONG_QUIET_NS / 2e9)
    assert pace.is_quiet()


WIDE = 3000


@pytest.fixture(params=[64 << 20, 5 << 20], ids=["in time", "behind"])
def kit(request: pytest.FixtureRequest) -> SnapshotKit:
    """About 12 MiB of points, acknowledged just now; ``behind``: writers will soon wait for a checkpoint."""
    kit = SnapshotKit(memtable_bytes=request.param)
    kit.create(dimensions=WIDE)
    for start in range(0, 1000, 100):
        kit.upsert([f"p{start + n}" for n in range(100)])
    return kit


def test_a_checkpoint_yields_to_writers_unless_they_would_have_to_wait_for_it(kit: SnapshotKit) -> None:
    kit.engine.checkpoint()
    assert bool(kit.clock.slept) == (kit.memtable_bytes == 64 << 20)


def test_a_checkpoint_yields_to_nobody_while_the_log_is_quiet(kit: SnapshotKit) -> None:
    kit.clock.advance_us(1_000_000)
    kit.engine.checkpoint()
    assert not kit.clock.slept


def test_a_snapshot_yields_to_writers(kit: SnapshotKit) -> None:
    kit.engine.checkpoint()
    kit.upsert(["last"])
    kit.clock.slept.clear()
    kit.snapshot()
    assert kit.clock.slept


@pytest.mark.parametrize("reads", ["search", "get", "scroll", "count", "nothing"])
def test_a_compaction_yields_to_readers_and_a_snapshot_does_not(kit: SnapshotKit, reads: str) -> None:
    kit.engine.checkpoint()
    kit.delete("p0")
    kit.clock.advance_us(1_000_000)
    reading = kit.engine.points.reading("c")
    {
        "search": lambda: reading.search(np.ones((1, WIDE), np.float32), k=1),
        "get": lambda: reading.get(["p1"]),
        "scroll": lambda: reading.scroll(limit=3),
        "count": lambda: reading.count("version = 1"),
        "nothing": lambda: None,
    }[reads]()
    kit.clock.slept.clear()
    kit.snapshot()
    assert not kit.clock.slept
    kit.compact("c", aggressive=True)
    assert bool(kit.clock.slept) == (reads != "nothing")


def test_a_snapshot_writes_larger_pieces_while_nobody_writes(kit: SnapshotKit) -> None:
    kit.engine.checkpoint()
    pieces: list[str] = []

    def note(kind: str, path: str) -> None:
        if kind == "write" and path.endswith(".part"):
            pieces.append(path)

    kit.fs.on_operation = note
    kit.upsert(["last"])
    size = kit.snapshot()["size_bytes"]
    assert len(pieces) == -(-size // LARGE_PIECE_BYTES)
    pieces.clear()
    kit.clock.sleep(LONG_QUIET_NS / 1e9 + 0.001)
    kit.snapshot()
    assert len(pieces) == -(-size // LARGEST_PIECE_BYTES)
