"""The write-ahead log: groups of operations appended with one write, made durable with one sync, kept in WAL segments.

A record carries its own checksum, the checksum of the record before it, and how far its file was known durable when it
was written (``durable_offset``); with these, recovery tells a torn tail from damage. Order of a rotation: sync the old
file; allocate the new one under another name, write its header; sync it, rename it, sync the directory; first record.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NoReturn

from ..errors import EngineFailed, FailedPrecondition
from ..format.record import RecordKind
from ..format.walfile import FILE_HEADER_SIZE, WalFileFlag, WalFileHeader
from .clock import Clock, Randomness
from .files import FileSystem
from .log import Log
from .wal_active import ActiveFile, StagedFile, next_header, publish_file, remove_files, stage_file
from .wal_entry import MAX_PAYLOAD_BYTES, Entry, Link, encode_group, group_size
from .wal_errors import is_lack_of_space, no_log, refusal, sync_failure
from .wal_files import Position, WalFileInfo
from .wal_reader import LoggedRecord, read_log
from .wal_recovery import RecoveredLog
from .wal_spare import Spare

__all__ = ["Entry", "Link", "Log", "LoggedRecord", "Position", "Wal", "WalFileInfo"]

NewLock = Callable[[], AbstractContextManager[object]]
"""Makes a new lock, such as ``threading.Lock``."""


class Wal:
    """The log as files.

    ``append``, ``rotate``, ``marker``, ``write_ahead``, ``close_log``, ``close``: one thread at a time, the committing
    one. ``sync``, ``prepare_next``, ``trim``, ``read`` and the properties: any thread, meanwhile. A failed sync is
    final: ``failed`` is set and every later change raises EngineFailed, until the log is opened anew.
    """

    def __init__(
        self,
        fs: FileSystem,
        clock: Clock,
        rng: Randomness,
        new_lock: NewLock,
        *,
        active: ActiveFile,
        older: Sequence[WalFileInfo],
        link: Link,
        offset: int,
        segment_size_bytes: int,
        marked: bool = False,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> None:
        self._fs = fs
        self._clock = clock
        self._rng = rng
        self._segment_size = segment_size_bytes
        self._spare = Spare(fs, rng, new_lock(), segment_size_bytes)
        self._max_payload = max_payload_bytes
        # Held while a sync runs and while files change hands, so that no sync misses another one's failure: the kernel
        # reports an error once. Always taken before _lock.
        self._syncing = new_lock()
        # Guards everything below; never held during a system call. Those marked * change only on the committing thread.
        self._lock = new_lock()
        self._active = active  # *
        self._offset = offset  # *
        self._link = link  # *
        self._marked = marked  # *
        self._closed = False  # *
        self._older = list(older)
        self._durable = offset
        self._synced_sequence = link.sequence
        self.failed: EngineFailed | None = None

    @classmethod
    def create(
        cls,
        fs: FileSystem,
        clock: Clock,
        rng: Randomness,
        new_lock: NewLock,
        directory: str,
        *,
        store_id: uuid.UUID,
        timeline: int,
        segment_size_bytes: int,
        first_sequence: int = 1,
        previous_sequence: int = 0,
        chain: int = 0,
        last_timestamp_us: int = 0,
        gap_before: bool = False,
        older: Sequence[WalFileInfo] = (),
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> Wal:
        """Begin a log, or begin it anew after a time without one (``gap_before``). Durable on return.

        ``directory`` is made where it is missing. ``older``: WAL segments that are kept for as long as retention says;
        one without operations that holds the new one's place is removed.
        Raises ResourceExhausted or FailedPrecondition when the disk refuses, EngineFailed when it cannot be synced.
        """
        twins = [file for file in older if (file.header.timeline, file.first_sequence) == (timeline, first_sequence)]
        header = WalFileHeader(
            store_id, timeline, chain, rng.u64(), first_sequence, previous_sequence,
            created_us=max(last_timestamp_us, clock.now_us(), *(twin.header.created_us + 1 for twin in twins)),
            flags=int(WalFileFlag.GAP_BEFORE) if gap_before else 0,
        )  # fmt: skip
        try:
            staged = stage_file(fs, directory, header, segment_size_bytes, None, least=1)
        except OSError as error:
            raise refusal(f"no WAL segment can be made in {directory}", error) from error
        try:
            active = publish_file(fs, staged, directory, header)
            remove_files(fs, [twin.path for twin in twins if twin.path != active.path])
        except OSError as error:
            raise sync_failure("a new WAL segment", error) from error
        return cls(
            fs,
            clock,
            rng,
            new_lock,
            active=active,
            older=[file for file in older if file not in twins],
            link=Link(chain, previous_sequence, last_timestamp_us),
            offset=FILE_HEADER_SIZE,
            segment_size_bytes=segment_size_bytes,
            max_payload_bytes=max_payload_bytes,
        )

    @classmethod
    def open_after_recovery(
        cls,
        fs: FileSystem,
        clock: Clock,
        rng: Randomness,
        new_lock: NewLock,
        recovered: RecoveredLog,
        *,
        directory: str,
        timeline: int,
        segment_size_bytes: int,
        first_sequence: int = 0,
        max_payload_bytes: int = MAX_PAYLOAD_BYTES,
    ) -> Wal:
        """Go on with a recovered log, in a new WAL segment where ``directory`` or ``timeline`` is not that of the last.

        Raises FailedPrecondition for a log that is empty or closed: such a log is begun anew with ``create``.
        """
        if recovered.tail is None or recovered.closed:
            raise no_log("the log is closed" if recovered.closed else "there is no log to go on with")
        last = recovered.files[-1]
        active = ActiveFile(
            file=fs.open(last.path),
            path=last.path,
            header=last.header,
            limit=max(segment_size_bytes, last.size_bytes),
            first_timestamp_us=last.first_timestamp_us,
            has_operations=recovered.operations_in_last_file,
        )
        wal = cls(
            fs, clock, rng, new_lock,
            active=active, older=recovered.files[:-1], link=recovered.link, offset=recovered.tail.offset,
            marked=recovered.marked, segment_size_bytes=segment_size_bytes, max_payload_bytes=max_payload_bytes,
        )  # fmt: skip
        if (directory, timeline) != (last.directory, last.header.timeline):
            wal.rotate(directory=directory, timeline=timeline, first_sequence=first_sequence)
        return wal

    # Any thread -----------------------------------------------------------------------------------------------------

    @property
    def last_sequence(self) -> int:
        """The last sequence appended, durable or not."""
        return self._link.sequence

    @property
    def last_timestamp_us(self) -> int:
        """The time of the last operation; the next one's must be greater."""
        return self._link.timestamp_us

    @property
    def synced_sequence(self) -> int:
        """The last sequence known durable."""
        return self._synced_sequence

    @property
    def closed(self) -> bool:
        """Whether the log has had its last word, so that nothing can be appended to it."""
        return self._closed

    @property
    def position(self) -> Position:
        """Where the next record will stand."""
        with self._lock:
            return Position(self._active.path, self._offset, self._link.sequence)

    @property
    def synced_position(self) -> Position:
        """Up to where the log is durable: what may be read, archived, sent to followers."""
        with self._lock:
            return Position(self._active.path, self._durable, self._synced_sequence)

    @property
    def files(self) -> tuple[WalFileInfo, ...]:
        """Every WAL segment in log order, the one being written last."""
        with self._lock:
            return (*self._older, self._active_info())

    @property
    def directories(self) -> tuple[str, ...]:
        """Every directory with a WAL segment, the oldest first; the manifest has to list them all."""
        return tuple(dict.fromkeys(file.directory for file in self.files))

    @property
    def size_bytes(self) -> int:
        """Bytes of log, without what is only preallocated."""
        return sum(file.size_bytes for file in self.files)

    def sync(self) -> int:
        """Make durable what was appended before the call; returns the durable sequence. Blocks for the disk.

        Raises EngineFailed when the disk fails, now or earlier: then nothing appended since the last successful sync is
        known to be durable or not.
        """
        with self._syncing:
            with self._lock:
                self._check_failed()
                file, offset, sequence = self._active.file, self._offset, self._link.sequence
                if offset == self._durable:
                    return self._synced_sequence
            try:
                file.sync()
            except OSError as error:
                self._fail("the log", error)
            with self._lock:
                self._durable, self._synced_sequence = offset, sequence
            return sequence

    def prepare_next(self) -> bool:
        """Allocate the next WAL segment ahead of its rotation; False when that is done or under way. Blocks.

        Raises ResourceExhausted or FailedPrecondition when the disk refuses; the log itself is untouched.
        """
        return not self._closed and self.failed is None and self._spare.prepare(self._active.directory)

    def read(self, from_sequence: int) -> Iterator[LoggedRecord]:
        """The durable operations from ``from_sequence`` on, as far as they are durable now. See ``read_log``."""
        upto = self.synced_position
        return read_log(
            self._fs,
            self.directories,
            store_id=self._active.header.store_id,
            from_sequence=from_sequence,
            upto_synced=upto,
        )

    def trim(self, before_sequence: int) -> tuple[WalFileInfo, ...]:
        """Remove the oldest WAL segments that hold only sequences below ``before_sequence``; returns those removed.

        Whole files, never the one being written, nor one before a gap that reaches further: there a start looks for
        what it needs. Each is durably gone before the next one is touched, so that a crash leaves no hole. One thread
        at a time. Raises FailedPrecondition when a file cannot be removed.
        """
        removed: list[WalFileInfo] = []
        while True:
            self._check_failed()
            oldest, *more = self.files
            if not more or max(oldest.last_sequence, more[0].header.previous_sequence) >= before_sequence:
                return tuple(removed)
            try:
                remove_files(self._fs, [oldest.path])
            except OSError as error:
                raise FailedPrecondition(
                    f"{oldest.path} cannot be removed: {error}",
                    reason="WAL_TRIM_FAILED",
                    hint="make the WAL directory writable for the daemon",
                    path=oldest.path,
                ) from error
            with self._lock:
                del self._older[0]
            removed.append(oldest)

    # The committing thread ------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry]) -> None:
        """Hand a group of operations to the operating system with one write; not durable before the next ``sync``.

        All or nothing: a group never spans WAL segments, and a failed write is cut off again, durably, before the error
        is raised. Raises ResourceExhausted when there is no room (nothing was logged; later appends may succeed),
        FailedPrecondition when a new WAL segment is refused or the log is closed, EngineFailed when the log is in
        doubt, ValueError for entries out of order. Blocks for the disk only when a new WAL segment has to be made.
        """
        self._check_open()
        if not entries:
            return
        size = group_size(entries, self._max_payload)
        if self._offset + size > self._active.limit:
            self._make_room(size)
        self._write(entries, size)

    def rotate(self, *, directory: str | None = None, timeline: int | None = None, first_sequence: int = 0) -> None:
        """Go on in a new WAL segment, in another ``directory`` or on another ``timeline`` if given. Durable on return.

        Everything appended so far is durable, too. A WAL segment without operations that is left for another directory
        is taken along. ``first_sequence``: what comes has at least this one. Raises as ``append`` does.
        """
        self._check_open()
        old, size = self._active, self._segment_size
        self._rotate(directory or old.directory, timeline or old.header.timeline, size, first=first_sequence)

    def resize(self, segment_size_bytes: int) -> None:
        """Make WAL segments of this size from the next rotation on."""
        self._segment_size = segment_size_bytes
        self._spare.resize(segment_size_bytes)

    def marker(self) -> bool:
        """Sync, then write and sync a marker that proves it: damage to the log can no longer pass for a torn tail.

        For a log that has become idle, and before closing. False when there is nothing to prove. Raises as ``append``.
        """
        self._check_failed()
        if self._closed or self._marked or self._offset == FILE_HEADER_SIZE:
            return False
        self.sync()
        self._append_bare(RecordKind.MARKER)
        self._marked = True
        self.sync()
        return True

    @property
    def zeros_ahead(self) -> int:
        """Bytes behind the log's end that ``write_ahead`` has been over; never below 0. Any thread."""
        return max(0, self._active.zeroed - self._offset)

    def write_ahead(self) -> bool:
        """Zeros over the next piece of preallocated space, synced; False when all of it is done. Blocks for the disk.

        Raises EngineFailed.
        """
        self._check_failed()
        try:
            if self._closed or not self._active.write_zeros(self._offset):
                return False
        except OSError as error:
            self._fail("the log", error)
        with self._syncing:
            self._sync_active()
        return True

    def close_log(self) -> None:
        """Record durably that logging ends here, on the user's command; then ``append`` is refused."""
        self._check_open()
        self.sync()
        self._append_bare(RecordKind.CLOSED)
        self.sync()
        self._closed = True

    def close(self) -> None:
        """Release the files, without a sync; call ``marker`` before. Closing twice is allowed."""
        with self._syncing:
            with self._lock:
                self._closed = True
            self._spare.give_back()
            self._active.file.close()

    def _write(self, entries: Sequence[Entry], size: int) -> None:
        active, offset = self._active, self._offset
        buffers, link = encode_group(
            entries,
            self._link,
            salt=active.header.salt,
            offset=offset,
            durable_offset=self._durable,
            max_payload=self._max_payload,
        )
        try:
            active.file.pwrite(buffers, offset)
        except BaseException as error:
            self._undo(offset, error)
        with self._lock:
            self._offset, self._link, self._marked = offset + size, link, False
            if not active.has_operations:
                active.first_timestamp_us = active.first_timestamp_us or entries[0].timestamp_us
                active.has_operations = entries[0].kind == RecordKind.OPERATION

    def _append_bare(self, kind: RecordKind) -> None:
        """A record without payload, which repeats sequence and time of the operation before it."""
        link = self._link
        self.append([Entry(kind, link.sequence, (), 0, 0, link.timestamp_us, self._clock.now_us())])

    def _undo(self, offset: int, error: BaseException) -> NoReturn:
        """Cut a failed write off before anybody hears of it: after a crash it must not come back."""
        with self._syncing:
            file = self._active.file
            try:
                file.truncate(offset)
                self._active.zeroed = self._active.limit  # what was preallocated is gone with it
                file.sync()
            except OSError as second:
                self._fail("the log after a failed write", second)
            with self._lock:
                self._durable, self._synced_sequence = offset, self._link.sequence
        if not isinstance(error, OSError):
            raise error
        if not is_lack_of_space(error):
            self._fail("the log", error)
        raise refusal(f"no room for a write in {self._active.path}", error) from error

    def _make_room(self, size: int) -> None:
        active = self._active
        needed = FILE_HEADER_SIZE + size
        if active.has_operations:
            self._rotate(active.directory, active.header.timeline, max(self._segment_size, needed), needed)
            return
        # Its successor would have the same place in the log, and so the same name: let it grow instead.
        try:
            active.file.allocate(self._offset + size)
        except OSError as error:
            raise refusal(f"no room for a write of {size} bytes in {active.path}", error) from error
        active.limit = self._offset + size

    def _rotate(self, directory: str, timeline: int, size: int, least: int = 0, first: int = 0) -> None:
        with self._syncing:
            old = self._active
            self._seal()
            replaces = not old.has_operations and timeline == old.header.timeline
            if replaces and directory == old.directory:
                return
            salt, now_us = self._rng.u64(), self._clock.now_us()
            header = next_header(old.header, self._link, salt, now_us, timeline, replaces, first)
            staged = self._stage(directory, header, size, least)
            try:
                active = publish_file(self._fs, staged, directory, header)
                old.file.close()
                if replaces:
                    remove_files(self._fs, [old.path])
            except OSError as error:
                self._fail("a new WAL segment", error)
            with self._lock:
                if not replaces:
                    self._older.append(self._active_info(header.created_us))
                self._active = active
                self._offset = self._durable = FILE_HEADER_SIZE
                self._link = self._link._replace(chain=header.chain)
                self._marked = False

    def _stage(self, directory: str, header: WalFileHeader, size: int, least: int) -> StagedFile:
        try:
            return stage_file(self._fs, directory, header, size, self._spare.take(), least=least)
        except OSError as error:
            raise refusal(f"no WAL segment of {size} bytes can be made in {directory}", error) from error

    def _seal(self) -> None:
        """Cut the active file to its content and sync it."""
        with self._lock:
            self._check_failed()
        try:
            self._active.file.truncate(self._offset)
        except OSError as error:
            raise refusal(f"{self._active.path} cannot be cut to its content", error) from error
        self._sync_active()

    def _sync_active(self) -> None:
        """Sync whatever the active file holds (committing thread; ``_syncing`` is held)."""
        try:
            self._active.file.sync()
        except OSError as error:
            self._fail("the log", error)
        with self._lock:
            self._durable, self._synced_sequence = self._offset, self._link.sequence

    # Helpers ---------------------------------------------------------------------------------------------------------

    def _active_info(self, last_timestamp_us: int | None = None) -> WalFileInfo:
        return WalFileInfo(
            path=self._active.path,
            header=self._active.header,
            last_sequence=self._link.sequence,
            first_timestamp_us=self._active.first_timestamp_us,
            last_timestamp_us=self._link.timestamp_us if last_timestamp_us is None else last_timestamp_us,
            size_bytes=self._offset,
        )

    def _check_open(self) -> None:
        self._check_failed()
        if self._closed:
            raise no_log("the log is closed, and no other has been begun")

    def _check_failed(self) -> None:
        if self.failed is not None:
            raise self.failed

    def _fail(self, what: str, error: OSError) -> NoReturn:
        """Remember the first failure for ever, and raise it."""
        self.failed = self.failed or sync_failure(what, error)
        raise self.failed from error
