"""Power cuts, kills and failures at every file operation of archiving: the archive is what it was said to be."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

import pytest

from holdfastd.engine import log_shipping
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from tests.support.archives import ARCHIVE, ArchiveKit, Operations, read_archive
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.snapshot_sweeps import Recorder

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]

DRAWS = int(os.environ.get("HOLDFAST_CRASH_DRAWS", "3"))


class Lived:
    """A life with everything in it: pieces, their merging, whole files, trimming, the log off and on, a restart.

    ``durable``: after which operation of the disk how much of ``history`` was durable.
    """

    def __init__(self) -> None:
        self.kit = ArchiveKit()
        self.kit.create()
        self.kit.engine.wal.enable(WalChanges(retention_us=1_000_000), caller=Caller())
        self.history: Operations = []
        self.durable: list[tuple[int, int]] = []
        self.archived: list[tuple[int, int]] = []
        for step in (self._pieces, self._trimmed, self._switched, self._pieces):
            step()

    def _pieces(self) -> None:
        for _ in range(6):
            self.kit.write()
            self.note()
            self.kit.round()
            self.archived.append((self.kit.fs.ops, len(self.history)))

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

    def note(self) -> None:
        """What is durable by now."""
        last = self.history[-1][0] if self.history else 0
        self.history += [each for each in self.kit.logged() if each[0] > last]
        self.durable.append((self.kit.fs.ops, len(self.history)))

    def at_least(self, cut: int) -> int:
        """How much of history was reported as archived by then."""
        return max((count for ops, count in self.archived if ops <= cut), default=0)

    def at_most(self, cut: int) -> int:
        """How much of history may have been durable by then."""
        return min((count for ops, count in self.durable if ops >= cut), default=len(self.history))


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch) -> Lived:
    monkeypatch.setattr(log_shipping, "MOST_PIECES", 3)
    return Lived()


def check_state(lived: Lived, disk: Disk, cut: int) -> ArchiveKit:
    """What a start finds, and what it makes of it."""
    fs = MemFileSystem(disk)
    history, store_id = lived.history, lived.kit.engine.store_id
    found = read_archive(fs, store_id)
    assert found == history[: len(found)]
    assert lived.at_least(cut) <= len(found) <= lived.at_most(cut)
    kit = ArchiveKit(fs, seed=1000 + cut)
    kit.round()
    logged = kit.logged() if kit.log is not None else []
    through = max(logged[-1][0] if logged else 0, found[-1][0] if found else 0)
    assert kit.archived() == [each for each in history if each[0] <= through]
    assert not [name for name in kit.names() if name.endswith(".part")]
    assert not [code for code in kit.codes() if code.startswith("ARCHIVE")]
    return kit


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
        check_state(lived, disk, cut)


def test_a_kill_at_any_operation_and_a_power_cut_behind_the_next_round(lived: Lived, record_property: Recorder) -> None:
    rng, states = random.Random(6), 0
    for cut in range(lived.durable[0][0], lived.kit.fs.ops + 1):
        kit = check_state(lived, lived.kit.fs.kill_disk_at(cut), cut)
        assert read_archive(kit.fs.crash(rng), kit.engine.store_id) == kit.archived()
        states += 1
    record_property("crash_states", states)


# Failures -------------------------------------------------------------------------------------------------------------


def prepared() -> ArchiveKit:
    """A store with an archive, and something of everything to be done in the next round."""
    kit = ArchiveKit()
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=1_000_000), caller=Caller())
    for _ in range(3):
        kit.write()
        kit.round()
    kit.write(5)
    kit.clock.advance_us(5_000_000)
    kit.engine.checkpoint()
    kit.engine.checkpoint()
    return kit


def steps_of(prepare: Callable[[], ArchiveKit]) -> int:
    kit = prepare()
    before = kit.fs.ops
    kit.round()
    return kit.fs.ops - before


@pytest.mark.parametrize("forever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_any_operation_of_a_round_may_fail(code: int, forever: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_shipping, "MOST_PIECES", 2)
    count, told = steps_of(prepared), 0
    assert count > 20
    for step in range(count):
        kit = prepared()
        begun = kit.archived()
        everything = begun + [each for each in kit.logged() if each[0] > begun[-1][0]]
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
