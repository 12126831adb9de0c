"""Power cuts at every file operation of a log's life, against an oracle of what was acknowledged.

A random life (appends, syncs, rotations, moves, trims, markers, lack of space) is recorded once; then the power goes
after each of its operations, and the disk keeps a random part of what was not synced: sectors and names. Whatever is
left must recover without complaint to a gapless run of operations that holds everything acknowledged as durable and
nothing that was refused. Recovery is then cut as well, and what it leaves is held to the same.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from holdfastd.errors import Corruption, HoldfastError, ResourceExhausted
from holdfastd.format.checksum import crc32c
from holdfastd.format.record import RecordKind
from holdfastd.storage.files import make_dirs
from holdfastd.storage.wal import Entry
from tests.support.log_damages import Corrupt
from tests.support.log_file_damages import TABLE, A, B, C, table_log
from tests.support.log_surgery import sync_file
from tests.support.logs import LogKit, payload_of
from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem
from tests.support.snapshot_sweeps import KILLS

SEEDS = int(os.environ.get("HOLDFAST_CRASH_SEEDS", "12"))
DRAWS = int(os.environ.get("HOLDFAST_CRASH_DRAWS", "12"))
DIRECTORIES = ("/wal", "/other")

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@dataclass(slots=True)
class Attempt:
    """One payload offered to the log at operation ``begun``; ``refused``: when its writer was told no."""

    payload: bytes
    begun: int
    refused: int | None = None

    def may_survive(self, cut: int) -> bool:
        return self.begun < cut and (self.refused is None or cut < self.refused)


@dataclass
class Oracle:
    """What was offered, what was acknowledged as durable, and from where on the log was still wanted."""

    attempts: dict[int, list[Attempt]] = field(default_factory=dict)
    durable: list[tuple[int, int]] = field(default_factory=list)
    trimmed: list[tuple[int, int]] = field(default_factory=list)

    def durable_at(self, cut: int) -> int:
        return max((sequence for ops, sequence in self.durable if ops <= cut), default=0)

    def wanted_from(self, cut: int) -> int:
        return max((sequence for ops, sequence in self.trimmed if ops <= cut), default=1)

    def promises_at(self, cut: int) -> tuple[int, int, int]:
        """What a state has to hold, as numbers: the same disk may be right earlier and wrong later."""
        attempts = (attempt for each in self.attempts.values() for attempt in each)
        refused = sum(1 for attempt in attempts if attempt.refused is not None and attempt.refused <= cut)
        return self.durable_at(cut), self.wanted_from(cut), refused

    def killed(self, cut: int, last: int, recovered: int) -> Oracle:
        """What holds on the file system that goes on from a kill at ``cut``.

        A start took its first ``recovered`` operations, and has found the log to end after ``last``.
        """
        attempts = {
            sequence: [
                Attempt(a.payload, -1, None if sequence <= last else recovered) for a in each if a.may_survive(cut)
            ]
            for sequence, each in self.attempts.items()
        }
        durable = [(0, self.durable_at(cut)), (recovered, last)]
        return Oracle(attempts, durable, [(0, self.wanted_from(cut))])

    def check(self, cut: int, last: int, records: Sequence[tuple[int, bytes]]) -> None:
        """``records`` and ``last`` are what was recovered after a cut at operation ``cut``."""
        sequences = [sequence for sequence, _ in records]
        durable, wanted = self.durable_at(cut), self.wanted_from(cut)
        assert last >= durable, f"acknowledged through {durable}, recovered through {last}"
        assert sequences == list(range(last + 1 - len(sequences), last + 1)), (
            f"a hole in {sequences}, the end is {last}"
        )
        assert not sequences or sequences[0] <= wanted, f"{wanted} is wanted, the log begins at {sequences[0]}"
        assert sequences or wanted > last, f"{wanted} to {last} are wanted, the log is empty"
        for sequence, payload in records:
            survivors = [a.payload for a in self.attempts[sequence] if a.may_survive(cut)]
            assert payload in survivors, f"operation {sequence} is not one that may have survived"


class Life:
    """A random life of a log on a recording file system."""

    def __init__(self, seed: int, fs: MemFileSystem) -> None:
        self.rng = random.Random(seed)
        self.fs = fs
        self.oracle = Oracle()
        self.kit = LogKit(fs, segment_size=4096, max_payload=900, seed=seed, locks=False)
        self.kit.directories = list(DIRECTORIES)
        self.nonce = 0

    def run(self, steps: int) -> None:
        for directory in DIRECTORIES:
            make_dirs(self.fs, directory)
        self.kit.create()
        actions: list[tuple[Callable[[], None], int]] = [
            (self.append, 70),
            (self.sync, 10),
            (self.no_space, 6),
            (self.marker, 8),
            (self.prepare, 5),
            (self.write_ahead, 6),
            (self.rotate, 4),
            (self.move, 3),
            (self.trim, 4),
        ]
        chosen = self.rng.choices([a for a, _ in actions], [w for _, w in actions], k=steps)
        for action in chosen:
            action()
        self.sync()

    def entries(self) -> list[Entry]:
        group = []
        for _ in range(self.rng.choice((1, 1, 1, 2, 3))):
            size = self.rng.choice((0, 7, 40, 300, 300, 1000, 2500))
            self.nonce += 1
            word = b"%d.%d|" % (self.kit.sequence + 1, self.nonce)
            payload = (word * (size // len(word) + 1))[:size]
            entry = self.kit.entry(0)
            group.append(
                Entry(RecordKind.OPERATION, entry.sequence, [payload], size, crc32c(payload), entry.timestamp_us, 0)
            )
            self.oracle.attempts.setdefault(entry.sequence, []).append(Attempt(payload, self.fs.ops))
        return group

    def append(self) -> None:
        group = self.entries()
        try:
            self.kit.wal.append(group)
        except ResourceExhausted:
            for entry in group:
                self.oracle.attempts[entry.sequence][-1].refused = self.fs.ops
            self.kit.sequence = group[0].sequence - 1
            return
        if self.rng.random() < 0.3:
            self.sync()

    def sync(self) -> None:
        sequence = self.kit.wal.sync()
        self.acknowledge(sequence)

    def acknowledge(self, sequence: int) -> None:
        self.oracle.durable.append((self.fs.ops, sequence))

    def no_space(self) -> None:
        self.fs.fail_on(self.rng.choice(("write", "write", "create", "resize")), "*wal*", errno.ENOSPC)
        self.append()
        self.fs.heal()

    def marker(self) -> None:
        self.kit.wal.marker()
        self.acknowledge(self.kit.wal.synced_sequence)

    def prepare(self) -> None:
        self.kit.wal.prepare_next()

    def write_ahead(self) -> None:
        self.kit.wal.write_ahead()
        self.acknowledge(self.kit.wal.synced_sequence)

    def rotate(self) -> None:
        self.kit.wal.rotate()
        self.acknowledge(self.kit.wal.synced_sequence)

    def move(self) -> None:
        self.kit.wal.rotate(directory=self.rng.choice(DIRECTORIES))
        self.acknowledge(self.kit.wal.synced_sequence)

    def trim(self) -> None:
        before = self.rng.randint(1, self.kit.wal.synced_sequence + 1)
        self.oracle.trimmed.append((self.fs.ops, before))
        self.kit.wal.trim(before)


@dataclass
class Sweep:
    """Crash states looked at, and how many of them differed. ``kills``: how often a kill comes before a power cut."""

    kills: float = KILLS
    states: int = 0
    seen: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def distinct(self) -> int:
        return len(self.seen)

    def run(self, life: Life, draws: int) -> None:
        rng = random.Random(0)
        for cut in range(life.fs.ops + 1):
            for draw in range(draws):
                disk = life.fs.crash_disk_at(cut, rng, "prefix" if draw % 3 == 0 else "subset")
                self.check(life.oracle, disk, cut, rng)
            if rng.random() < self.kills:
                self.kill(life.oracle, life.fs.killed_at(cut), cut, rng)

    def kill(self, oracle: Oracle, fs: MemFileSystem, cut: int, rng: random.Random) -> None:
        """A kill, a recovery that believes what the kernel holds, an append, and a power cut: meanwhile or then."""
        kit = kit_on(fs)
        if DIRECTORIES[0] not in kit.directories:
            return
        for directory in kit.directories:
            fs.sync_dir(directory)  # the engine does that first of all
        recovered = kit.recover(required=oracle.durable_at(cut))
        if recovered.tail is None:
            return
        after = oracle.killed(cut, recovered.last_sequence, fs.ops)
        kit.reopen(recovered)
        begun, sequence = fs.ops, recovered.last_sequence + 1
        kit.append(30)
        after.attempts.setdefault(sequence, []).append(Attempt(payload_of(sequence, 30), begun))
        after.durable.append((fs.ops, sequence))
        for again in (rng.randint(0, fs.ops), fs.ops):
            self.states += 1
            recover_and_check(after, MemFileSystem(fs.crash_disk_at(again, rng, "nothing")), again)

    def check(self, oracle: Oracle, disk: Disk, cut: int, rng: random.Random) -> None:
        self.states += 1
        key = (disk.digest(), *oracle.promises_at(cut))
        if key in self.seen:
            return
        self.seen.add(key)
        fs = MemFileSystem(disk)
        recovery_ops = recover_and_check(oracle, fs, cut)
        if rng.random() < 0.25:
            self.cut_recovery(oracle, fs, cut, recovery_ops, rng)

    def cut_recovery(self, oracle: Oracle, fs: MemFileSystem, cut: int, recovery_ops: int, rng: random.Random) -> None:
        """The power goes again, while the recovery that has just been checked was at work."""
        for again in range(recovery_ops + 1):
            disk = fs.crash_disk_at(again, rng)
            self.states += 1
            key = (disk.digest(), *oracle.promises_at(cut))
            if key not in self.seen:
                self.seen.add(key)
                recover_and_check(oracle, MemFileSystem(disk), cut)


def kit_on(fs: MemFileSystem) -> LogKit:
    """The log on what is left of a life's file system."""
    kit = LogKit(fs, segment_size=4096, max_payload=900, locks=False)
    kit.directories = [directory for directory in DIRECTORIES if fs.exists(directory)]
    return kit


def recover_and_check(oracle: Oracle, fs: MemFileSystem, cut: int) -> int:
    """Recover, check, go on writing, read again. Returns the number of operations that recovery took."""
    kit = kit_on(fs)
    if not kit.directories:
        assert not oracle.durable_at(cut)
        return 0
    recovered = kit.recover(required=oracle.durable_at(cut))
    recovery_ops = fs.ops
    if recovered.tail is None:
        assert not oracle.durable_at(cut), "no log is left"
        return recovery_ops
    records = kit.read()
    oracle.check(cut, recovered.last_sequence, records)
    if DIRECTORIES[0] in kit.directories:
        kit.reopen(recovered)
        kit.append(30)
        assert kit.sequences() == [*(sequence for sequence, _ in records), recovered.last_sequence + 1]
    return recovery_ops


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_power_cut_at_any_operation(seed: int, record_property: Callable[[str, object], None]) -> None:
    life = Life(seed, MemFileSystem())
    life.run(steps=40)
    sweep = Sweep()
    sweep.run(life, DRAWS)
    record_property("crash_states", sweep.states)
    record_property("distinct_states", sweep.distinct)
    assert life.oracle.durable_at(life.fs.ops) > 5, "the life wrote too little to prove anything"
    assert sweep.distinct > life.fs.ops, "the power cuts left too few different disks"


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("name", ["full_file_damaged", "payload_of_a_proven_record", "file_header_checksum"])
def test_a_power_cut_while_damage_is_being_cut_off(name: str, synced: bool) -> None:
    """Point-in-time recovery deletes nothing and ends at the same place, however often it is interrupted."""
    damage, outcome = TABLE[name]
    assert isinstance(outcome, Corrupt)
    kit = table_log()
    damage(kit)
    if synced:
        sync_file(kit, C)
    written = {kit.fs.read(path).rstrip(b"\0") for path in (A, B, C)}
    start = kit.fs.ops
    kit.recover(mode="point-in-time")
    rng = random.Random(1)
    # Before recovery has synced what it found, a power cut may take the tail of the last file, which never was.
    cuts = range(start, kit.fs.ops + 1) if synced else [kit.fs.ops]
    for cut in cuts:
        for _ in range(20):
            after = LogKit(kit.fs.crash_at(cut, rng, "subset"))
            assert after.recover(mode="point-in-time").last_sequence == outcome.last
            kept = {after.fs.read(f"/wal/{each}").rstrip(b"\0") for each in after.fs.listdir("/wal")}
            assert written <= kept


@pytest.mark.parametrize("name", ["unsynced_record_lost_before_one_that_arrived", "full_file_damaged"])
def test_every_operation_of_a_recovery_failing_in_turn(name: str) -> None:
    """The start is refused in our words; the next one, on a healed disk, finds what this one would have."""
    damage, outcome = TABLE[name]
    for code in (errno.EIO, errno.ENOSPC):
        for failing in range(100):
            kit = table_log()
            damage(kit)
            kit.fs.fail_at(kit.fs.ops + failing, code)
            before = kit.fs.ops
            try:
                kit.recover(mode="point-in-time")
            except HoldfastError:
                kit.fs.heal()
                assert kit.recover(mode="point-in-time").last_sequence == outcome.last
                continue
            assert failing >= kit.fs.ops - before
            break


class LyingSync(MemFileSystem):
    """A disk that says it has synced and has not."""

    def sync_node(self, node: int, path: str) -> None:
        """Nothing."""


class LyingDirectorySync(MemFileSystem):
    """A disk that says it has synced names and has not."""

    def sync_dir(self, path: str) -> None:
        """Nothing."""


class UncutFailures(MemFileSystem):
    """A file system on which a failed write cannot be taken back."""

    def resize_node(self, node: int, path: str, size: int, *, grow: bool) -> None:
        if grow:
            super().resize_node(node, path, size, grow=grow)


@pytest.mark.parametrize("fs", [LyingSync, LyingDirectorySync, UncutFailures])
def test_the_sweep_notices_a_missing(fs: type[MemFileSystem]) -> None:
    """A sweep that cannot fail proves nothing."""
    with pytest.raises((AssertionError, Corruption)):
        live_and_sweep(fs)


def live_and_sweep(fs: type[MemFileSystem]) -> None:
    for seed in range(6):
        life = Life(seed, fs())
        life.run(steps=40)
        Sweep().run(life, 3)
