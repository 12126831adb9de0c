"""Power cuts, kills and failures at every file operation of archiving: the archive is what it was said to be."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator

import pytest

from holdfastd.engine import log_shipping
from holdfastd.engine.log_archiver import LogArchiver
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import HoldfastError
from tests.support.archives import ARCHIVE, ArchiveKit, Operations, read_archive
from tests.support.left_over import left_over
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.mutants import Mutant, mutate
from tests.support.snapshot_sweeps import KILLS, Recorder

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

DRAWS = int(os.environ.get("HOLDFAST_CRASH_DRAWS", "3"))


class Told:
    """What was said of a log and its archive. ``history``: what of the log was durable, at the latest by the end.

    ``durable``, ``archived``: after which operation of the disk how much of it was said to be the one and the other;
    at first so much was ``archived``.
    """

    def __init__(self, kit: ArchiveKit, history: Operations, archived: int = 0) -> None:
        self.kit = kit
        self.history = history
        self.durable: list[tuple[int, int]] = []
        self.archived = [(0, archived)]

    def note(self) -> None:
        """What is durable by now."""
        last = self.history[-1][0] if self.history else 0
        self.history += [each for each in self.kit.logged() if each[0] > last]
        self.durable.append((self.kit.fs.ops, len(self.history)))

    def write(self) -> None:
        """Something is acknowledged, then archived."""
        self.kit.write()
        self.note()
        self.kit.round()
        self.archived.append((self.kit.fs.ops, len(self.history)))

    def kept_at(self, cut: int) -> int:
        """How much of history was acknowledged by then."""
        return max((count for ops, count in self.durable if ops <= cut), default=0)

    def at_least(self, cut: int) -> int:
        """How much of history was reported as archived by then."""
        return max(count for ops, count in self.archived if ops <= cut)

    def at_most(self, cut: int) -> int:
        """How much of history may have been durable by then."""
        return min((count for ops, count in self.durable if ops >= cut), default=len(self.history))

    def at(self, cut: int) -> tuple[int, int, int]:
        """All three."""
        return self.kept_at(cut), self.at_least(cut), self.at_most(cut)


class Lived(Told):
    """A life with everything in it: pieces, their merging, whole files, trimming, the log off and on, a restart."""

    def __init__(self) -> None:
        super().__init__(ArchiveKit(), [])
        self.kit.create()
        self.kit.engine.wal.enable(WalChanges(retention_us=1_000_000), caller=Caller())
        for step in (self._pieces, self._trimmed, self._switched, self._pieces):
            step()

    def _pieces(self) -> None:
        for _ in range(6):
            self.write()

    def _trimmed(self) -> None:
        self.kit.clock.advance_us(5_000_000)
        self.kit.engine.checkpoint()
        self.kit.clock.advance_us(5_000_000)
        self.kit.engine.checkpoint()
        self.kit.reopen()
        self._pieces()
        assert self.kit.logged()[0][0] > 1

    def _switched(self) -> None:
        self.kit.engine.wal.disable(caller=Caller())
        self.kit.round()
        self.kit.engine.wal.enable(WalChanges(), caller=Caller())


@pytest.fixture(scope="module")
def lived() -> Iterator[Lived]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_shipping, "MOST_PIECES", 3)
        yield Lived()


def check_state(told: Told, fs: MemFileSystem, cut: int) -> Told:
    """What a start finds, and what it makes of it in a round; returns what can be told after that."""
    history, store_id = told.history, told.kit.engine.store_id
    found = read_archive(fs, store_id)
    assert found == history[: len(found)]
    assert told.at_least(cut) <= len(found) <= told.at_most(cut)
    kit = ArchiveKit(fs, seed=1000 + cut)
    kit.round()
    logged = kit.logged() if kit.log is not None else []
    through = max(logged[-1][0] if logged else 0, found[-1][0] if found else 0)
    archived = kit.archived()
    assert archived == [each for each in history if each[0] <= through]
    assert len(archived) >= told.kept_at(cut)
    assert not [name for name in kit.names() if name.endswith(".part")]
    assert not [code for code in kit.codes() if code.startswith("ARCHIVE")]
    unnamed = {path for path in left_over(fs, kit.engine) if not path.startswith(ARCHIVE)}
    assert not unnamed, sorted(unnamed)
    now = Told(kit, archived, told.at_least(cut))
    now.durable.append((fs.ops, len(archived)))
    now.archived.append((fs.ops, len(archived)))
    return now


def test_a_power_cut_at_any_operation(lived: Lived, record_property: Recorder) -> None:
    rng, seen, states = random.Random(5), set(), 0
    for cut in range(lived.kit.fs.ops + 1):
        for draw in range(DRAWS):
            disk = lived.kit.fs.crash_disk_at(cut, rng, "prefix" if (cut + draw) % 3 == 0 else "subset")
            states += 1
            if disk.digest() not in seen:
                seen.add(disk.digest())
                if disk.directories:
                    check_state_if_begun(lived, disk, cut)
    record_property("crash_states", states)
    record_property("distinct_states", len(seen))
    assert len(seen) > 200


def check_state_if_begun(lived: Lived, disk: Disk, cut: int) -> None:
    """Before the store is there a start makes another one, with another history."""
    if cut >= lived.durable[0][0]:
        check_state(lived, MemFileSystem(disk), cut)


def test_a_kill_at_any_operation_and_a_power_cut_behind_the_next_round(lived: Lived, record_property: Recorder) -> None:
    """What the start and the round believe of what only the kernel holds is durable once they say so."""
    rng, seen, states = random.Random(6), set(), 0
    for cut in range(lived.durable[0][0], lived.kit.fs.ops + 1):
        states += 1
        key = (lived.kit.fs.kill_disk_at(cut).digest(), lived.at(cut))
        chosen = rng.random() < KILLS
        if key in seen and not chosen:
            continue
        seen.add(key)
        after = check_state(lived, lived.kit.fs.killed_at(cut), cut)
        fs = after.kit.fs
        if not chosen:
            disk = fs.crash_disk_at(fs.ops, rng, "nothing")
            assert read_archive(MemFileSystem(disk), after.kit.engine.store_id) == after.history
            continue
        if after.kit.log is not None:
            after.write()
        again = rng.randint(0, fs.ops)
        check_state(after, fs.crash_at(again, rng, "subset"), again)
        check_state(after, fs.crash_at(fs.ops, rng, "nothing"), fs.ops)
        states += 2
    record_property("crash_states", states)
    record_property("distinct_states", len(seen))


def test_the_sweep_notices_a_name_that_a_kill_has_left_and_that_is_believed(
    lived: Lived, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, Mutant(LogArchiver, "_prepare", "self._fs.sync_dir(self.directory)", "pass"))
    with pytest.raises((AssertionError, HoldfastError)):
        test_a_kill_at_any_operation_and_a_power_cut_behind_the_next_round(lived, lambda *_: None)


# Failures -------------------------------------------------------------------------------------------------------------


def begun() -> ArchiveKit:
    """A store with an archive."""
    kit = ArchiveKit()
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=1_000_000), caller=Caller())
    for _ in range(3):
        kit.write()
        kit.round()
    return kit


def prepared(begun: ArchiveKit) -> ArchiveKit:
    """A store that goes on from there, with something of everything to be done in the next round."""
    kit = begun.twin()
    kit.round()
    kit.write(5)
    kit.clock.advance_us(5_000_000)
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    return kit


def steps_of(kit: ArchiveKit) -> int:
    before = kit.fs.ops
    kit.round()
    return kit.fs.ops - before


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_any_operation_of_a_round_may_fail(code: int, forever: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_shipping, "MOST_PIECES", 2)
    ready = begun()
    count, told = steps_of(prepared(ready)), 0
    assert count > 20
    for step in range(count):
        kit = prepared(ready)
        archived = kit.archived()
        everything = archived + [each for each in kit.logged() if each[0] > archived[-1][0]]
        kit.fs.fail_at(kit.fs.ops + step, code, forever)
        failure = kit.archiver.round()
        told += failure is not None
        kit.fs.heal()
        assert ("ARCHIVE_FAILING" in kit.codes()) == (failure is not None)
        found = read_archive(kit.fs, kit.engine.store_id)
        assert found == everything[: len(found)]
        assert kit.upsert(["later"]).durable
        kit.round()
        assert not [code for code in kit.codes() if code.startswith("ARCHIVE")]
        assert kit.archived()[: len(everything)] == everything
        assert kit.archived()[-1][0] == kit.engine.sequence
        assert not [name for name in kit.names() if name.endswith(".part")]
    assert told > count // 2


def test_a_name_that_is_seen_is_made_durable_before_it_is_believed() -> None:
    """The daemon was killed between the rename and the sync of the directory."""
    kit = ArchiveKit(segment_size=4096)
    kit.create()
    kit.round()
    kit.write()
    kit.fs.fail_on("sync_dir", ARCHIVE)
    assert kit.archiver.round() is not None
    assert len(kit.pieces()) == 2
    kit.reopen()
    kit.round()
    for seed in range(20):
        assert read_archive(kit.fs.crash(random.Random(seed)), kit.engine.store_id) == kit.archived()
