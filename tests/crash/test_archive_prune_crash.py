"""Power cuts, kills and failures at every operation of a prune: what is read of the archive has no hole, to its end."""

from __future__ import annotations

import errno
import os
import random
from contextlib import suppress

import pytest

from holdfastd.engine import log_archive_prune
from holdfastd.errors import HoldfastError
from holdfastd.storage.names import parse_beginning_name, parse_piece_name, parse_wal_name
from holdfastd.storage.store_errors import StoreError, StoreProblem
from tests.support.archives import ARCHIVE, SEGMENT, ArchiveKit, Operations, lived_in, read_archive
from tests.support.memfs import MemFileSystem
from tests.support.object_memory import MemoryPlaces
from tests.support.snapshot_sweeps import Recorder

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

DRAWS = int(os.environ.get("HOLDFAST_CRASH_DRAWS", "3"))
BUCKET = "s3://bucket/wal"


def in_pieces(kit: ArchiveKit) -> None:
    """The archive as it is where rounds were killed: one of the oldest has pieces alone, one pieces and the whole."""
    for name, pieces_alone in ((kit.whole()[1], True), (kit.whole()[2], False)):
        data = kit.fs.read(f"{ARCHIVE}/{name}")
        for start, end in ((0, 200), (200, 400), (400, len(data))):
            kit.put(f"{ARCHIVE}/{name}.{start:012d}-{end:012d}", data[start:end])
        if pieces_alone:
            kit.fs.unlink(f"{ARCHIVE}/{name}")
    kit.fs.sync_dir(ARCHIVE)


def to_prune() -> ArchiveKit:
    """A store with an archive of which most can go."""
    kit, _ = lived_in()
    in_pieces(kit)
    return kit


class Pruned:
    """A life that ends with a prune. ``history``: what was archived; ``kept``: what is, from then on."""

    def __init__(self, kit: ArchiveKit) -> None:
        self.kit = kit
        self.history = self.kit.archived()
        self.begun = self.kit.fs.ops
        self.kit.prune()
        self.ended = self.kit.fs.ops
        self.kept = self.kit.archived()


@pytest.fixture
def pruned(monkeypatch: pytest.MonkeyPatch) -> Pruned:
    monkeypatch.setattr(log_archive_prune, "AT_ONCE", 2)
    return Pruned(to_prune())


def check_found(found: Operations, history: Operations, kept: Operations) -> None:
    """It is contiguous to its end, and all that is needed is there."""
    assert found == history[-len(found) :]
    assert len(kept) <= len(found)


def check_state(pruned: Pruned, fs: MemFileSystem, cut: int) -> ArchiveKit:
    """What a start finds, and that it and the next prune make of it what was wanted."""
    store_id = pruned.kit.engine.store_id
    check_found(read_archive(fs, store_id), pruned.history, pruned.kept)
    kit = ArchiveKit(fs, seed=1000 + cut)
    kit.round()
    check_found(kit.archived(), pruned.history, pruned.kept)
    assert not [code for code in kit.codes() if code.startswith("ARCHIVE")]
    assert kit.archiver.status().gaps == ()
    kit.prune()
    assert kit.archived() == pruned.kept
    check_tidy(kit)
    return kit


def check_tidy(kit: ArchiveKit) -> None:
    """Nothing is left of a prune that was cut short."""
    first = int(kit.archiver.survey().listing.names[0][9:29])
    (beginning,) = filter(parse_beginning_name, kit.names())
    assert parse_beginning_name(beginning) is not None
    assert all(int(name[9:29]) >= first for name in kit.names())
    assert all(parse_wal_name(name) or parse_piece_name(name) or name == beginning for name in kit.names())


def test_a_power_cut_at_any_operation(pruned: Pruned, record_property: Recorder) -> None:
    rng, seen, states = random.Random(5), set(), 0
    for cut in range(pruned.begun, pruned.ended + 1):
        for draw in range(DRAWS):
            disk = pruned.kit.fs.crash_disk_at(cut, rng, "prefix" if (cut + draw) % 3 == 0 else "subset")
            states += 1
            if disk.digest() not in seen:
                seen.add(disk.digest())
                check_state(pruned, MemFileSystem(disk), cut)
    record_property("crash_states", states)
    record_property("distinct_states", len(seen))
    assert len(seen) > 10


def test_a_kill_at_any_operation_and_a_power_cut_behind_it(pruned: Pruned, record_property: Recorder) -> None:
    """During the start, the round and the prune behind the kill, and behind what is archived after them."""
    rng, cuts = random.Random(6), range(pruned.begun, pruned.ended + 1)
    assert len(cuts) > 12
    for cut in cuts:
        kit = check_state(pruned, pruned.kit.fs.killed_at(cut), cut)
        disk = kit.fs.crash_disk_at(rng.randint(0, kit.fs.ops), rng, rng.choice(("subset", "nothing")))
        check_state(pruned, MemFileSystem(disk), cut)
        assert kit.upsert(["later"]).durable
        kit.round()
        after = ArchiveKit(MemFileSystem(kit.fs.crash_disk_at(kit.fs.ops, rng, "nothing")), seed=3000 + cut)
        assert after.archived() == kit.archived()
        assert "later" in after.values()
        after.round()
        assert after.codes() == kit.codes()
        check_tidy(after)
    record_property("crash_states", 3 * len(cuts))


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_any_operation_of_it_may_fail(code: int, forever: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_archive_prune, "AT_ONCE", 2)
    ready = to_prune()
    sound = Pruned(ready.twin())
    told = 0
    for step in range(sound.ended - sound.begun):
        kit = ready.twin()
        kit.fs.fail_at(kit.fs.ops + step, code, forever)
        try:
            kit.prune()
        except HoldfastError:
            told += 1
        kit.fs.heal()
        check_found(read_archive(kit.fs, kit.engine.store_id), sound.history, sound.kept)
        assert kit.upsert(["later"]).durable
        kit.round()
        assert not [code for code in kit.codes() if code.startswith("ARCHIVE")]
        kit.prune()
        assert kit.archived()[: len(sound.kept)] == sound.kept
        assert kit.archived()[-1][0] == kit.engine.sequence
        check_tidy(kit)
    assert told > (sound.ended - sound.begun) // 2


# In an object store ---------------------------------------------------------------------------------------------------


def in_a_bucket() -> tuple[ArchiveKit, MemoryPlaces]:
    places = MemoryPlaces()
    kit, _ = lived_in(ArchiveKit(places, archive_path=BUCKET, segment_size=SEGMENT))
    return kit, places


def test_a_kill_between_any_two_requests_leaves_no_hole() -> None:
    kit, places = in_a_bucket()
    history, begun = kit.archived(), len(places.states)
    kit.prune()
    kept = kit.archived()
    assert len(places.states) - begun > 8
    for ops, objects in places.states[begun - 1 :]:
        after = MemoryPlaces(MemFileSystem(places.disk.kill_disk_at(ops)), objects)
        check_found(read_archive(after, kit.engine.store_id, BUCKET), history, kept)  # type: ignore[arg-type]
        next_one = ArchiveKit(after, archive_path=BUCKET, seed=8)
        next_one.round()
        assert next_one.archiver.status().gaps == ()
        assert next_one.codes() == []
        next_one.prune()
        assert next_one.archived() == kept
        check_tidy(next_one)


@pytest.mark.parametrize("method", ["facts", "create", "rename", "unlink", "read"])
def test_any_request_may_be_refused(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kit, places = in_a_bucket()
    history = kit.archived()
    kept = len(history) - kit.prune(validate_only=True).runs[0].last
    asked = getattr(places.objects, method)
    refused = 0
    for which in range(200):
        # One that has not looked into the archive yet.
        places.disk.locked.clear()
        kit.engine = kit._open()
        calls = [0]

        def ask(*args: object, calls: list[int] = calls, which: int = which, **more: object) -> object:
            calls[0] += 1
            if calls[0] > which:
                raise StoreError(StoreProblem.UNREACHABLE, BUCKET)
            return asked(*args, **more)

        with monkeypatch.context() as patched:
            patched.setattr(places.objects, method, ask)
            with suppress(HoldfastError):
                kit.prune()
        refused += calls[0] > which
        found = kit.archived()
        assert found == history[-len(found) :]
        assert len(found) >= kept
        kit.round()
        assert kit.codes() == []
        if calls[0] <= which:
            break
    assert refused
    kit.prune()
    check_tidy(kit)
