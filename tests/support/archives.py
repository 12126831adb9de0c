"""Archiving in tests: a store whose log is archived, and what the archive says when it is read."""

from __future__ import annotations

import posixpath
from typing import Any

import xxhash

from holdfastd.engine.log_archive_prune import ArchivePruneRequest, PrunedArchive
from holdfastd.engine.log_archiver import LogArchiver
from holdfastd.engine.log_now import log_now
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.storage.archived_log import ArchivedLog
from holdfastd.storage.files import FileSystem
from holdfastd.storage.names import parse_piece_name, parse_wal_name
from holdfastd.storage.wal_reader import read_log
from holdfastd.storage.wal_verify import verify_log
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit

ARCHIVE = "/archive"
SEGMENT = 700
"""A WAL segment holds a handful of small writes."""

Operations = list[tuple[int, bytes]]

_READ: dict[bytes, Operations] = {}
"""What sound archives hold, by their bytes: most crash states leave the same ones."""


class ArchiveKit(SnapshotKit):
    """A store that archives its log; rounds come when a test asks for one."""

    def __init__(self, *args: object, archive_path: str = ARCHIVE, segment_size: int = SEGMENT, **more: object) -> None:
        super().__init__(*args, archive_path=archive_path, segment_size=segment_size, **more)  # type: ignore[arg-type]

    @property
    def archiver(self) -> LogArchiver:
        archiver = self.engine.archiving.archiver
        assert archiver is not None
        return archiver

    def round(self) -> None:
        """A round that goes well."""
        failure = self.archiver.round()
        if failure is not None:
            raise failure

    def write(self, count: int = 1) -> None:
        """Some single writes."""
        for _ in range(count):
            self.upsert([f"p{self.engine.sequence}"], payloads=[b'{"text":"%s"}' % (b"x" * 40)])

    def logged(self) -> Operations:
        """(sequence, payload) of what is durable in the log."""
        return [(each.record.sequence, bytes(each.record.payload)) for each in self.engine.wal.records()]

    def archived(self) -> Operations:
        """The same of the archive."""
        return read_archive(self.fs, self.engine.store_id, self.archiver.directory)

    def names(self) -> list[str]:
        """What lies in the archive, but for the lock."""
        found = self.fs.listdir(self.archiver.directory) if self.fs.exists(self.archiver.directory) else []
        return [name for name in found if name != "LOCK"]

    def whole(self) -> list[str]:
        """The WAL segments that it has whole."""
        return [name for name in self.names() if parse_wal_name(name)]

    def pieces(self) -> list[str]:
        """What it has in pieces."""
        return [name for name in self.names() if parse_piece_name(name)]

    def complete_names(self) -> list[str]:
        """Base names of the log's WAL segments that are written no more."""
        now = log_now(self.log, self.engine.wal.files_before_gap())
        return [posixpath.basename(stretch.info.path) for stretch in now.complete]

    def prune(self, **request: Any) -> PrunedArchive:
        """Prune the archive."""
        return self.engine.archiving.prune(ArchivePruneRequest(**request), Idle())  # type: ignore[arg-type]

    def day(self, *, snapshot: bool = True, **request: Any) -> int:
        """A minute with some writes, a snapshot and a round, behind which the log is trimmed; returns its sequence."""
        self.write(8)
        self.clock.advance_us(60_000_000)
        if snapshot:
            self.later(**request)
        sequence = self.engine.sequence
        self.write(8)
        self.clock.advance_us(60_000_000)
        self.round()
        self.engine.checkpoint()
        self.engine.checkpoint()
        return sequence

    def codes(self) -> list[str]:
        """The codes of the active alarms."""
        return [alarm.code for alarm in self.engine.alarms()]

    def text(self, code: str) -> str:
        """What an alarm says."""
        return next(alarm.message for alarm in self.engine.alarms() if alarm.code == code)


class Idle:
    """Work that nobody watches."""

    def report(self, **changes: object) -> None:
        """Nobody hears of it."""

    def check_cancelled(self) -> None:
        """Nobody cancels it."""


def lived_in(kit: ArchiveKit | None = None) -> tuple[ArchiveKit, list[int]]:
    """An archive that goes back to the store's first record, and further than the log; what its snapshots hold."""
    kit = kit or ArchiveKit()
    kit.create()
    kit.engine.wal.enable(WalChanges(retention_us=1_000_000), caller=Caller())
    kit.day(snapshot=False)
    return kit, [kit.day() for _ in range(3)]


def read_archive(fs: FileSystem, store_id: object, directory: str = ARCHIVE) -> Operations:
    """(sequence, payload) of an archive that is sound, whatever gaps of history there are; nothing where none is."""
    if not fs.exists(directory):
        return []
    if not isinstance(fs, MemFileSystem):
        return _read_archive(fs, store_id, directory)
    digest = xxhash.xxh3_128(f"{store_id} {directory}".encode())
    for name in fs.listdir(directory):
        content = fs.read(f"{directory}/{name}")
        digest.update(f"{name} {len(content)} ".encode() + content)
    key = digest.digest()
    if key not in _READ:
        _READ[key] = _read_archive(fs, store_id, directory)
    return [*_READ[key]]


def _read_archive(fs: FileSystem, store_id: object, directory: str) -> Operations:
    archived = ArchivedLog(fs, directory)
    check = verify_log(archived, [directory], store_id=store_id)  # type: ignore[arg-type]
    assert check.problems == ()
    records = read_log(archived, [directory], store_id=store_id, allow_gaps=True)  # type: ignore[arg-type]
    return [(record.sequence, bytes(record.payload)) for record in records]
