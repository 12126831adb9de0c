"""A write-ahead log to test with: made, filled, damaged, recovered and read in one line each."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Sequence

from holdfastd.format.checksum import crc32c
from holdfastd.format.record import RecordKind
from holdfastd.storage.files import FileSystem
from holdfastd.storage.wal import Entry, Position, Wal
from holdfastd.storage.wal_reader import Mode, read_log
from holdfastd.storage.wal_recovery import RecoveredLog, recover_tail
from tests.support.clock import ManualClock, SeededRandomness
from tests.support.memfs import MemFileSystem

STORE = uuid.UUID("6f6c6466-6173-4a00-8000-686f6c646661")
DIRECTORY = "/wal"


def payload_of(sequence: int, size: int) -> bytes:
    """``size`` bytes that no other sequence has and that hold no zero, so that a lost sector always shows."""
    word = b"%d|" % sequence
    return (word * (size // len(word) + 1))[:size]


class LogKit:
    """One log on one file system. ``wal`` is the open log; ``read`` and ``recover`` look at the files."""

    def __init__(
        self,
        fs: MemFileSystem | None = None,
        *,
        segment_size: int = 4096,
        max_payload: int = 1 << 20,
        directory: str = DIRECTORY,
        seed: int = 7,
        locks: bool = True,
    ) -> None:
        self.fs = MemFileSystem() if fs is None else fs
        self.clock = ManualClock()
        self.rng = SeededRandomness(seed)
        self.segment_size = segment_size
        self.max_payload = max_payload
        self.directory = directory
        self.directories = [directory]
        self.new_lock = threading.Lock if locks else contextlib.nullcontext
        self.sequence = 0
        self.time_us = 0
        self.wal: Wal

    def create(self, **options: object) -> Wal:
        """Begin a log."""
        settings = {
            "store_id": STORE,
            "timeline": 1,
            "segment_size_bytes": self.segment_size,
            "max_payload_bytes": self.max_payload,
        } | options
        self.wal = Wal.create(self.fs, self.clock, self.rng, self.new_lock, self.directory, **settings)  # type: ignore[arg-type]
        return self.wal

    def recover(self, *, mode: Mode = "strict", required: int = 0, from_sequence: int = 0) -> RecoveredLog:
        """What a start does first."""
        return recover_tail(
            self.fs,
            self.directories,
            store_id=STORE,
            mode=mode,
            required_sequence=required,
            from_sequence=from_sequence,
        )

    def reopen(self, recovered: RecoveredLog | None = None, *, timeline: int = 1) -> Wal:
        """Recover and go on."""
        recovered = recovered or self.recover()
        self.wal = Wal.open_after_recovery(
            self.fs,
            self.clock,
            self.rng,
            self.new_lock,
            recovered,
            directory=self.directory,
            timeline=timeline,
            segment_size_bytes=self.segment_size,
            max_payload_bytes=self.max_payload,
        )
        self.sequence = recovered.last_sequence
        self.time_us = recovered.last_timestamp_us
        return self.wal

    def entry(self, size: int = 100, *, sequence: int | None = None, parts: int = 1) -> Entry:
        """The next operation, with a payload of ``size`` bytes in ``parts`` pieces."""
        self.sequence = self.sequence + 1 if sequence is None else sequence
        self.time_us = max(self.time_us + 1, self.clock.now_us())
        payload = payload_of(self.sequence, size)
        step = max(1, -(-size // parts))
        pieces = [payload[start : start + step] for start in range(0, size, step)]
        wall_us = self.clock.wall_us
        return Entry(RecordKind.OPERATION, self.sequence, pieces, size, crc32c(payload), self.time_us, wall_us)

    def group(self, *sizes: int) -> list[Entry]:
        """Operations with payloads of these sizes."""
        return [self.entry(size) for size in sizes]

    def append(self, *sizes: int, sync: bool = True) -> None:
        """Append one group, and sync it."""
        self.wal.append(self.group(*sizes))
        if sync:
            self.wal.sync()

    def read(
        self, from_sequence: int = 0, *, mode: Mode = "strict", upto: Position | None = None
    ) -> list[tuple[int, bytes]]:
        """(sequence, payload) of what the files hold."""
        records = read_log(
            self.fs, self.directories, store_id=STORE, from_sequence=from_sequence, mode=mode, upto_synced=upto
        )
        return [(record.sequence, bytes(record.payload)) for record in records]

    def sequences(self, **options: object) -> list[int]:
        """The sequences that the files hold."""
        return [sequence for sequence, _ in self.read(**options)]  # type: ignore[arg-type]


def flip(fs: FileSystem, path: str, offset: int, mask: int = 0x10) -> None:
    """Change one byte, durably, as a failing disk would."""
    overwrite(fs, path, offset, [fs.read(path, offset, 1)[0] ^ mask])


def overwrite(fs: FileSystem, path: str, offset: int, data: Sequence[int] | bytes) -> None:
    """Replace bytes, durably."""
    file = fs.open(path)
    file.pwrite([bytes(data)], offset)
    file.sync()
    file.close()
