"""Continuous archiving of the log: rounds, what became of them, and what must be known between them.

A round copies what is durable and not in the archive yet (``log_shipping``). When one fails it is tried again, ever
later, for ever, and an alarm says why; the log keeps what is not archived for as long as it may (``retention``). The
committing thread knows nothing of all this, and the log is never rotated for it.
"""

from __future__ import annotations

import errno
import logging
import posixpath
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from ..errors import DataDirectoryLocked, FailedPrecondition, HoldfastError
from ..format.urls import is_object_url
from ..model import Sequence64
from ..storage.bulk import Pace
from ..storage.clock import Clock
from ..storage.files import FileSystem, Lock, make_lasting_dir
from ..storage.log_archive_chain import ArchiveChain
from ..storage.log_archive_listing import LogArchiveListing, log_order
from ..storage.log_archive_note import ArchiveNote, load_note, store_note
from ..storage.names import Layout
from ..storage.wal import WalFileInfo
from .alarms import Alarms
from .disk_errors import disk_errors_of
from .log_archive_alarms import ArchiveAlarms, Failure
from .log_archive_gaps import before_the_beginning, gaps_of, lost_before
from .log_archive_status import ArchiveContents, ArchiveStatus, waiting
from .log_holdings import foreign
from .log_now import LogNow, first_behind
from .log_shipping import LogShipping, start_of
from .wal_locks import LOCK_NAME

LOOK_EVERY_NS = 3600 * 1_000_000_000
"""So often the archive is listed though nothing was written to it, and looked over for what somebody has deleted."""
LINKS_AT_ONCE = 100
"""Of so many WAL segments beginning and end are read in one go, which takes seconds; the next round, soon, goes on."""
NEXT_LOOK_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
_ALL = 1 << 63
_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})

_log = logging.getLogger("holdfastd")


@dataclass(frozen=True, slots=True)
class Shipped:
    """What ``flush`` has brought into the archive, and up to where that now goes."""

    through_sequence: Sequence64
    through_us: int
    bytes: int
    duration_ms: float


class LogArchiver:
    """See the module. Any thread; one round at a time. ``now``: the log at this moment.

    ``covered_through``: a moment of which, or of later ones, every collection is in a snapshot that can be restored.
    ``trim``: have the log give up what it kept for the archive alone.
    """

    def __init__(
        self,
        *,
        fs: FileSystem,
        layout: Layout,
        clock: Clock,
        alarms: Alarms,
        directory: str,
        interval_us: int,
        store_id: uuid.UUID,
        pace: Pace,
        now: Callable[[], LogNow],
        covered_through: Callable[[], Sequence64],
        trim: Callable[[], None],
    ) -> None:
        self._fs = fs
        self._layout = layout
        self._clock = clock
        self._store_id = store_id
        self._now = now
        self._trim = trim
        self.directory = directory
        self.interval_us = interval_us
        self._alarms = ArchiveAlarms(alarms, directory, interval_us, covered_through)
        # Held during a round. Guards what is below.
        self._running = threading.Lock()
        self._shipping = LogShipping(fs, directory, store_id, pace)
        self._trusted = False
        self._looked_ns: int | None = None
        self._held: Lock | None = None
        self._kept = ArchiveNote(directory)
        self._chain = ArchiveChain(fs, directory)
        self._surveyed: LogArchiveListing | None = None
        # Guarded by _lock.
        self._lock = threading.Lock()
        self._contents: ArchiveContents | None = None
        self._note = ArchiveNote(directory)
        self._doubtful = False
        # Whether the archive was seen, since this start, to have what the note says of it.
        self._seen = False
        self._failures = 0
        self._failure: Failure | None = None
        self._last_file = ""
        # Set once, at the end.
        self._hurries = False

    # Any thread -----------------------------------------------------------------------------------------------------

    def load(self) -> str | None:
        """Read what is kept in the data directory; returns what was wrong with it, or None. Blocks; raises OSError."""
        note, problem = load_note(self._fs, self._layout, self.directory)
        now = self._now()
        with self._lock:
            self._note = self._kept = note
            # It may be older than the archive, which alone can tell what was lost before this start.
            self._doubtful = bool(now.files) and lost_before(now, note.through) is not None
        self._note_lost(now)
        return problem or None

    def keeps_from(self, files: tuple[WalFileInfo, ...]) -> Sequence64:
        """The first sequence of the log that is not in a WAL segment which the archive has whole. Does not block.

        All of the log, before the archive was looked at: what the note speaks of may have been lost since.
        """
        with self._lock:
            through, seen = self._note.through, self._seen
        if not seen:
            return files[0].first_sequence if files else _ALL
        archived = log_order(through.file) if through.file else (0, 0)
        for info in files:
            place = (info.header.timeline, info.first_sequence)
            if place > archived or (place == archived and not through.whole):
                return info.first_sequence
        return _ALL

    @property
    def pause_seconds(self) -> float:
        """How long to wait for the next round: ever longer while they fail."""
        with self._lock:
            failures, contents = self._failures, self._contents
        if failures:
            return float(min(2 ** min(failures - 1, 10), LONGEST_PAUSE_SECONDS))
        pause = self.interval_us / 1e6
        return min(pause, NEXT_LOOK_SECONDS) if contents is not None and contents.chain.unread else pause

    def has_rotated(self) -> bool:
        """Whether the log has gone on in another WAL segment since the last round, which went well. Does not block."""
        files = self._now().files
        with self._lock:
            return bool(files) and not self._failures and files[-1].name != self._last_file

    def look(self) -> None:
        """Bring the alarms up to date, without asking the archive. Reads a header of the log at most."""
        now = self._now()
        self._note_lost(now)
        with self._lock:
            note, failure, contents = self._note, self._failure, self._contents
        gaps = (*before_the_beginning(contents), *gaps_of(note, contents))
        self._alarms.tell(gaps, failure, self._behind_us(now, note))

    def release(self) -> None:
        """Give up the lock on the archive, once no round will come any more."""
        held, self._held = self._held, None
        if held is not None:
            held.release()

    def hurry(self) -> None:
        """The daemon ends: what only looks, and brings nothing into the archive, is left out from now on."""
        self._hurries = True

    def status(self) -> ArchiveStatus:
        """How far archiving is, and what the archive held when it was looked over last; it is not asked for this."""
        now = self._now()
        self._note_lost(now)
        with self._lock:
            note, failure, contents = self._note, self._failure, self._contents
        behind_us = self._behind_us(now, note)
        return ArchiveStatus(
            path=self.directory,
            state=self._alarms.state(failure, behind_us),
            interval_us=self.interval_us,
            through=note.through,
            used=note.used,
            behind_us=behind_us,
            waiting=waiting(now, note.through),
            contents=contents,
            gaps=gaps_of(note, contents),
            failure=failure,
        )

    def survey(self) -> ArchiveContents:
        """Look over the archive between two rounds, as far as one look goes. Blocks; raises as ``between_rounds``."""
        with self.between_rounds() as (_, contents):
            return contents

    @contextmanager
    def between_rounds(self) -> Iterator[tuple[LogNow, ArchiveContents]]:
        """Hold rounds off during the block, in which the archive is proven to be that of the log.

        Gives the log and what the archive holds, as far as one look goes. Blocks; raises as ``LogHoldings.look``.
        """
        with self._running:
            # After a look that found something amiss, and after a block that failed, the next round looks, too.
            trusted, self._trusted = self._trusted, False
            seen: list[ArchiveContents] = []
            now = self._unless_trimmed(lambda now: seen.append(self._looked_over(now)))
            yield now, seen[-1]
            self._trusted = trusted

    # Rounds ---------------------------------------------------------------------------------------------------------

    def round(self, *, look: bool = False) -> HoldfastError | None:
        """Bring the archive up to date with what is durable now; returns what kept it from that. Blocks.

        ``look``: see what is there, though nothing else is known than that it is as it was left.
        """
        with self._running:
            self._trusted &= not look
            failure: HoldfastError | None = None
            try:
                with disk_errors_of("archiving the log"):
                    self._round()
            except HoldfastError as error:
                failure = error
            except Exception as error:  # whatever it is: a thread that dies here would stop archiving without a word
                failure = FailedPrecondition(f"archiving the log failed: {type(error).__name__}: {error}")
            self._told(failure)
        try:
            self.look()
        except Exception:  # whoever asks for the alarms is told, too
            _log.exception("what is to be told of the archive could not be found out")
        return failure

    def flush(self) -> Shipped:
        """Bring everything that is durable now into the archive, and see that it is there. Blocks; raises what keeps it
        from that."""
        begun_ns, before = self._clock.monotonic_ns(), self._shipping.sent_bytes
        failure = self.round(look=True)
        if failure is not None:
            raise failure
        with self._lock:
            through = self._note.through
        return Shipped(
            through_sequence=through.sequence,
            through_us=through.time_us,
            bytes=self._shipping.sent_bytes - before,
            duration_ms=(self._clock.monotonic_ns() - begun_ns) / 1e6,
        )

    def _round(self) -> None:
        self._unless_trimmed(self._round_of)

    def _unless_trimmed(self, work: Callable[[LogNow], None]) -> LogNow:
        """Work on the log as it is now; begun anew where that has trimmed a file meanwhile that it was at."""
        while True:
            now = self._now()
            try:
                work(now)
            except FileNotFoundError as error:
                if error.filename not in _paths(now) - _paths(self._now()):
                    raise
            else:
                return now

    def _round_of(self, now: LogNow) -> None:
        self._note_lost(now)
        with self._lock:
            self._last_file = now.files[-1].name if now.files else ""
        trusted = self._trusted and not self._is_due(self._looked_ns) and not self._has_lost_its_lock()
        # Until this round has gone well: what stands there is looked at anew after one that did not.
        self._trusted = False
        if not trusted:
            self._look_at(now)
        self._shipping.ship(now, lambda: self._advance(now))
        self._advance(now)
        self._store()
        if not self._hurries:
            self._survey(now)
        self._trusted = True

    def _looked_over(self, now: LogNow) -> ArchiveContents:
        self._look_at(now)
        return self._survey(now)

    def _survey(self, now: LogNow) -> ArchiveContents:
        """See what the whole archive holds, as far as one look goes; the next round goes on."""
        listing, contents = self._shipping.holdings.listing, self._contents
        looked_us = self._clock.now_us()
        if listing is self._surveyed and contents is not None:
            if not contents.chain.unread:
                return contents
            looked_us = contents.time_us
        here = {stretch.name: stretch.info.path for stretch in now.files}
        chain = self._chain.look(listing, LINKS_AT_ONCE, here, lambda: not self._hurries)
        contents = ArchiveContents(looked_us, listing, chain)
        with self._lock:
            self._contents = contents
        self._surveyed = listing
        strangers = self._chain.stores() - {self._store_id}
        if strangers:
            raise foreign(self.directory, f"has the log of store {min(map(str, strangers))} as well")
        return contents

    def _look_at(self, now: LogNow) -> None:
        """Hold the archive against the log."""
        try:
            self._prepare()
            self._shipping.look(now)
            self._check_there()
        except FailedPrecondition:
            # It is not there, or another's by now: the log may be all that there is.
            with self._lock:
                self._seen = False
            raise
        self._looked_ns = self._clock.monotonic_ns()
        if self._doubtful:
            self._settle(now)
        self._advance(now)

    def _has_lost_its_lock(self) -> bool:
        """Whether the directory is another one than it was: emptied, or no longer mounted."""
        if self._held is None or self._fs.exists(posixpath.join(self.directory, LOCK_NAME)):
            return False
        self.release()
        return True

    def _is_due(self, done_ns: int | None) -> bool:
        return done_ns is None or self._clock.monotonic_ns() - done_ns >= LOOK_EVERY_NS

    def _settle(self, now: LogNow) -> None:
        """Find out what was lost before this start: what lies behind the archive's end, not behind the note's."""
        found = ArchiveChain(self._fs, self.directory).end_before(self._shipping.holdings.listing, now.files[0].name)
        with self._lock:
            if found is not None and found.sequence > self._note.through.sequence:
                self._note = replace(self._note, through=found, used=True)
            self._doubtful = False
        self._note_lost(now)

    def _prepare(self) -> None:
        """See that a directory is there, and nobody else's."""
        if is_object_url(self.directory):
            return
        there = self._fs.exists(self.directory)
        if not there and self._note.used:
            raise _gone(self.directory, "is not there")
        if not there or self._held is None:
            make_lasting_dir(self._fs, self.directory)
            self._held = self._locked()
        # What a kill came too early for: a name that is seen may not be durable yet.
        self._fs.sync_dir(self.directory)

    def _locked(self) -> Lock | None:
        try:
            return self._fs.lock(posixpath.join(self.directory, LOCK_NAME))
        except DataDirectoryLocked as error:
            raise foreign(self.directory, f"is written to by another daemon: {error.message}") from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return None

    def _check_there(self) -> None:
        """A disk that is not mounted leaves an empty directory behind, which must not be taken for the archive."""
        empty = not self._shipping.holdings.listing.names
        if empty and self._note.used and not is_object_url(self.directory):
            raise _gone(self.directory, "is empty")

    def _advance(self, now: LogNow) -> None:
        """Take note of how far the archive goes, and let go of what the log kept for it alone."""
        with self._lock:
            known = self._note.through
        through = self._shipping.through(now, known)
        used = self._note.used or through.whole or through.offset > 0
        with self._lock:
            # A gap may have been noted meanwhile: then the next round tells.
            first, fits = not self._seen, self._note.through == known
            if fits:
                self._note, self._seen = replace(self._note, through=through, used=used), True
        if first or (through.file, through.whole) != (known.file, known.whole):
            with suppress(OSError):
                self._store()
            self._trim()

    def _store(self) -> None:
        with self._lock:
            note = self._note
        if note != self._kept:
            store_note(self._fs, self._layout, note)
            self._kept = note

    def _note_lost(self, now: LogNow) -> None:
        """Note what the log has given up before it was archived, in memory: the next round keeps it."""
        if not now.files:
            return
        with self._lock:
            if not self._note.through.file:
                self._note = replace(self._note, through=start_of(now.files[0]))
            gap = None if self._doubtful else lost_before(now, self._note.through)
            if gap is not None:
                self._note = self._note.with_gap(gap, start_of(now.files[0]))

    def _behind_us(self, now: LogNow, note: ArchiveNote) -> int:
        """For how long the oldest operation that is durable has not been in the archive; 0 where there is none."""
        try:
            since_us = first_behind(self._fs, now, note.through)
        except OSError:
            since_us = None  # trimmed, or unreadable, which the next round tells of
        return 0 if since_us is None else max(0, self._clock.now_us() - since_us)

    def _told(self, failure: HoldfastError | None) -> None:
        """Remember what became of a round, and say in the log when that changes."""
        with self._lock:
            before = self._failures
            self._failures = 0 if failure is None else before + 1
            self._failure = None if failure is None else Failure(failure, self._clock.now_us())
        if failure is not None and not before:
            more = {"archive": self.directory, "reason": failure.message, "hint": failure.hint}
            _log.warning("the log is not archived", extra=more)
        elif failure is None and before:
            _log.info("the log is archived again", extra={"archive": self.directory})


def _paths(now: LogNow) -> set[str]:
    return {stretch.info.path for stretch in now.files}


def _gone(directory: str, what: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"the archive {directory} {what}, though the log was archived there",
        reason="ARCHIVE_NOT_FOUND",
        hint="mount the disk that holds it; if it was removed on purpose, stop the daemon and remove ARCHIVE.json from "
        "its data directory: archiving begins anew with the next start",
        path=directory,
    )
