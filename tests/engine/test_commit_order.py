"""Who commits, and in which order (RULES 14, 16): counted and compared, never timed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from holdfastd.engine.tickets import Caller, Outcome
from holdfastd.model import Digest, SyncMode
from tests.support.engines import Kit, rows

WAIT_SECONDS = 20.0


@pytest.fixture
def committed() -> Iterator[Kit]:
    """A store whose committer thread runs, and no other."""
    kit = Kit()
    kit.create()
    thread = threading.Thread(target=kit.engine._committer.run, name="the committer thread")
    thread.start()
    yield kit
    kit.fs.on_operation = None
    kit.engine._committer.stop()
    thread.join(WAIT_SECONDS)


def test_with_an_empty_queue_the_calling_thread_commits(committed: Kit) -> None:
    """Without a hand-over to another thread: writing and syncing happen where the call was made."""
    threads: list[str] = []

    def note(kind: str, path: str) -> None:
        if "/wal/" in path:
            threads.append(threading.current_thread().name)

    committed.fs.on_operation = note
    for number in range(10):
        assert committed.upsert([f"p{number}"]).durable
    assert len(threads) == 20, "one write and one sync each"
    assert set(threads) == {threading.current_thread().name}


def test_what_gathered_meanwhile_is_left_to_the_committer_thread(committed: Kit) -> None:
    """A caller leads until its own change is done, not for ever on behalf of the others."""
    threads: list[str] = []
    queued = []

    def during_the_first_sync(kind: str, path: str) -> None:
        if "/wal/" not in path:
            return
        threads.append(threading.current_thread().name)
        if kind == "sync" and not queued:
            submission = committed.engine.points.prepare_upsert("c", ["later"], rows(1.0), b"", caller=Caller())
            queued.append(submission)
            committed.engine.points.commit_nowait(submission)

    committed.fs.on_operation = during_the_first_sync
    committed.upsert(["first"])
    assert queued[0].ticket.wait(WAIT_SECONDS).durable
    assert threads == [threading.current_thread().name] * 2 + ["the committer thread"] * 2


def test_a_group_is_numbered_and_written_only_after_the_one_before_is_applied(committed: Kit) -> None:
    """Else a check against what is applied would not see the group that was written just before."""
    log, applier = committed.log, committed.engine._applier
    assert log is not None
    pairs: list[tuple[int, int]] = []

    def note(kind: str, path: str) -> None:
        if kind == "write" and "/wal/" in path:
            pairs.append((log.last_sequence, applier.sequence))

    committed.fs.on_operation = note

    def write(worker: int) -> None:
        for number in range(20):
            committed.upsert([f"w{worker}-{number}"])

    workers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(WAIT_SECONDS)
    assert len(committed.values()) == 80
    assert len(pairs) > 1
    assert [pair for pair in pairs if pair[0] != pair[1]] == []


def test_a_write_that_asks_for_durability_delays_only_its_own_reply() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.engine.start()
    syncing, go_on = threading.Event(), threading.Event()
    outcomes: list[Outcome] = []

    def hold_the_sync(kind: str, path: str) -> None:
        if kind == "sync" and "/wal/" in path:
            syncing.set()
            assert go_on.wait(WAIT_SECONDS)

    kit.fs.on_operation = hold_the_sync
    patient = threading.Thread(target=lambda: outcomes.append(kit.upsert(["patient"], caller=Caller(sync=True))))
    try:
        patient.start()
        assert syncing.wait(WAIT_SECONDS)
        assert not kit.upsert(["quick"]).durable
        assert kit.values().keys() == {"patient", "quick"}, "both are applied, whatever the disk does"
        assert outcomes == [], "the one that asked for it still waits"
    finally:
        go_on.set()
        patient.join(WAIT_SECONDS)
        kit.fs.on_operation = None
        kit.engine.stop()
    assert [outcome.durable for outcome in outcomes] == [True]


def test_the_digest_leaves_out_version_time_and_sequence() -> None:
    """Two histories that end with the same points end with the same digest; the order of writing is history, too."""
    digests = []
    for ids in (["a", "b", "c"], ["c", "b", "a", "b"]):
        kit = Kit()
        kit.create()
        for id in ids:
            kit.clock.advance_us(1_000_000)
            kit.upsert([id], float(ord(id)))
        digests.append(kit.engine.collections.stats("c").digest)
    assert digests[0] == digests[1] != Digest()
    assert kit.versions() == {"a": 1, "b": 2, "c": 1}
