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
from tests.support.memdisk import Disk
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


class Pruned:
    """A life that ends with a prune. ``history``: what was archived; ``kept``: what is, from then on."""

    def __init__(self) -> None:
        self.kit, _ = lived_in()
        in_pieces(self.kit)
        self.history = self.kit.archived()
        self.begun = self.kit.fs.ops
        self.kit.prune()
        self.ended = self.kit.fs.ops
        self.kept = self.kit.archived()


@pytest.fixture
def pruned(monkeypatch: pytest.MonkeyPatch) -> Pruned:
    monkeypatch.setattr(log_archive_prune, "AT_ONCE", 2)
    return Pruned()


def check_found(found: Operations, history: Operations, kept: Operations) -> None:
    """It is contiguous to its end, and all that is needed is there."""
    assert found == history[-len(found) :]
    assert len(kept) <= len(found)


def check_state(pruned: Pruned, disk: Disk, cut: int) -> None:
    """What a start finds, and that it and the next prune make of it what was wanted."""
    fs, store_id = MemFileSystem(disk), pruned.kit.engine.store_id
    check_found(read_archive(fs, store_id), pruned.history, pruned.kept)
    kit = ArchiveKit(fs, seed=1000 + cut)
    kit.round()
    check_found(kit.archived(), pruned.history, pruned.kept)
    assert not [code for code in kit.codes() if code.startswith("ARCHIVE")]
    assert kit.archiver.status().gaps == ()
    kit.prune()
    assert kit.archived() == pruned.kept
    check_tidy(kit)


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
                check_state(pruned, disk, cut)
    record_property("crash_states", states)
    record_property("distinct_states", len(seen))
    assert len(seen) > 10


def test_a_kill_at_any_operation(pruned: Pruned, record_property: Recorder) -> None:
    cuts = range(pruned.begun, pruned.ended + 1)
    assert len(cuts) > 12
    for cut in cuts:
        check_state(pruned, pruned.kit.fs.kill_disk_at(cut), cut)
    record_property("crash_states", len(cuts))


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_any_operation_of_it_may_fail(code: int, forever: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_archive_prune, "AT_ONCE", 2)
    sound = Pruned()
    told = 0
    for step in range(sound.ended - sound.begun):
        kit, _ = lived_in()
        in_pieces(kit)
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
