"""Pruning the archive of the log: removing what no snapshot that is kept is rolled forward with.

look      at the whole archive, and at all snapshots there are (log_archive_footing)
decide    between two rounds of archiving, with the archive proven to be this store's, and the snapshots that it is
          to stand on held, so that nobody deletes them meanwhile: what may go (log_archive_pruning)
publish   where the archive begins from now on (log_archive_beginning): pruned it is, for whoever reads it
remove    the oldest first, beside rounds, which see nothing of it any more. What a kill leaves, the next prune takes
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import Cancelled, HoldfastError
from ..storage.clock import Clock
from ..storage.files import FileSystem
from ..storage.log_archive_beginning import publish_beginning
from ..storage.log_archive_listing import LogArchiveListing, list_log_archive, log_order, wal_name_in
from ..storage.manifest import NO_SPACE
from .disk_errors import disk_errors_of
from .log_archive_footing import Footing, Footings
from .log_archive_pruning import Held, Plan, Run, held_in
from .log_archive_status import ArchiveContents
from .log_archiver import LogArchiver
from .log_holdings import remove_pieces
from .log_now import LogNow
from .operations import Work

AT_ONCE = 100
"""Files are removed between two looks at whether the work was cancelled."""
CUT_SHORT = "left by a prune that was cut short"
_WHAT = "pruning the archive of the log"


@dataclass(frozen=True, slots=True)
class ArchivePruneRequest:
    """What to prune. ``before``: the id of the snapshot that is to be rolled forward, with all later ones, None: all.

    ``within_us``: what is younger than the archive's end by less than that stays.
    """

    before: str | None = None
    within_us: int = 0
    validate_only: bool = False


@dataclass(frozen=True, slots=True)
class PrunedArchive:
    """What became, or would become, of an archive. ``runs``: all of it, the oldest first; ``begins``: what is the first
    now, None where there is nothing.
    """

    runs: tuple[Run, ...]
    begins: Held | None
    duration_ms: float
    warnings: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The result document."""
        return {
            "runs": [asdict(run) for run in self.runs],
            "first_sequence": 0 if self.begins is None else self.begins.first,
            "first_us": 0 if self.begins is None else self.begins.first_us,
            "duration_ms": round(self.duration_ms),
            "warnings": list(self.warnings),
        }


class ArchivePruning:
    """See the module. Any thread; blocks for the archive and for object stores with snapshots."""

    def __init__(self, fs: FileSystem, clock: Clock, archiver: LogArchiver, footings: Footings) -> None:
        self._fs = fs
        self._clock = clock
        self._archiver = archiver
        self._footings = footings

    def run(self, request: ArchivePruneRequest, work: Work) -> PrunedArchive:
        """Prune. Durable on return; what is removed is in the archive no more before the first file of it goes.

        Raises FailedPrecondition where the archive is the only backup of anything, is not this store's or is not there,
        NotFound for a snapshot that is not known, Cancelled, and what the disk or the store says, with how far it came.
        """
        begun_ns = self._clock.monotonic_ns()
        with disk_errors_of(_WHAT):
            work.report(phase="looking")
            while self._archiver.survey().chain.unread:
                work.check_cancelled()
            footing = self._footings.look(request.before)
            plan, left = self._decided(request, footing, work)
            if not request.validate_only:
                try:
                    self._remove(work)
                finally:
                    # For the status, which tells what the last look found.
                    with suppress(OSError, HoldfastError):
                        self._archiver.survey()
        return PrunedArchive(
            runs=(*_left_over(left, plan), *plan.runs),
            begins=plan.begins,
            duration_ms=(self._clock.monotonic_ns() - begun_ns) / 1e6,
            warnings=(*footing.warnings, *_told(plan, footing)),
        )

    def _decided(self, request: ArchivePruneRequest, footing: Footing, work: Work) -> tuple[Plan, dict[str, int]]:
        """What becomes of the archive, which begins there from now on; and what an earlier prune has left."""
        while True:
            with self._archiver.between_rounds() as (now, contents):
                if not contents.chain.unread:
                    return self._plan(request, footing, now, contents, work), contents.listing.pruned
            work.check_cancelled()

    def _plan(
        self, request: ArchivePruneRequest, footing: Footing, now: LogNow, contents: ArchiveContents, work: Work
    ) -> Plan:
        stood_on = [info.path for info in footing.whole]
        with self._footings.in_use(*stood_on):
            held = held_in(contents.listing, contents.chain.links)
            log = now.files[0].name if now.files else ""
            plan = Plan(held, (each.need for each in footing.wanted), log=log, within_us=request.within_us)
            self._footings.check(footing, held[0].begins_after if held else 0)
            if plan.going and not request.validate_only:
                work.check_cancelled()
                self._publish(plan, contents.listing)
        return plan

    def _publish(self, plan: Plan, listing: LogArchiveListing) -> None:
        begins = plan.held[plan.going].name
        try:
            publish_beginning(self._fs, self._archiver.directory, begins)
        except OSError as error:
            oldest = plan.held[0].name
            if error.errno not in NO_SPACE or oldest not in listing.whole:
                raise
            # Without its oldest WAL segment an archive is one as well, and there is room.
            directory = self._archiver.directory
            remove_pieces(self._fs, directory, [piece.path for piece in listing.pieces.get(oldest, ())])
            remove_pieces(self._fs, directory, [piece.path for piece in listing.parts_of(oldest, directory)])
            publish_beginning(self._fs, directory, begins)

    def _remove(self, work: Work) -> None:
        """Remove all that lies in front of where the archive begins."""
        directory = self._archiver.directory
        pruned = list_log_archive(self._fs, directory).pruned
        paths, total, done = list(pruned), sum(pruned.values()), 0
        for start in range(0, len(paths), AT_ONCE):
            try:
                work.report(phase="removing", done_bytes=done, total_bytes=total)
                with disk_errors_of(_WHAT):
                    remove_pieces(self._fs, directory, paths[start : start + AT_ONCE])
            except HoldfastError as error:
                how = "it was cancelled" if isinstance(error, Cancelled) else error.message
                error.message = f"{start} of {len(paths)} files were removed, then: {how}"
                error.hint = "the archive begins behind them already; the next prune removes what is left" + (
                    f"; {error.hint}" if error.hint and not isinstance(error, Cancelled) else ""
                )
                raise
            done += sum(pruned[path] for path in paths[start : start + AT_ONCE])


def _left_over(pruned: dict[str, int], plan: Plan) -> Iterator[Run]:
    """What an earlier prune has left, as far as its names tell."""
    names = {wal_name_in(path.rpartition("/")[2]) for path in pruned}
    if names and plan.begins is not None:
        first, last = min(map(log_order, names))[1], plan.held[0].begins_after
        yield Run(False, len(names), first, last, 0, 0, sum(pruned.values()), (CUT_SHORT,))


def _told(plan: Plan, footing: Footing) -> Iterator[str]:
    """What somebody should know of: what is lost, and what is kept for the sake of what may be of no use."""
    if plan.begins is None:
        return
    began_after, begins_after = plan.held[0].begins_after, plan.begins.begins_after
    oldest = min(footing.whole, key=lambda info: info.record.sequence)
    if plan.going and not began_after:
        yield (
            f"the archive reached back to the beginning of the store; what was before {oldest.id} (sequence "
            f"{oldest.record.sequence}) can no longer be brought back with it"
        )
    alone = [info.id for info in footing.left if began_after <= info.record.sequence < begins_after]
    if alone:
        more = f" and {len(alone) - 1} more" if len(alone) > 1 else ""
        yield f"{alone[0]}{more} can be restored as before, and no longer be rolled forward with this archive"
    for each in footing.wanted:
        if each.flaw and began_after <= each.need.sequence < oldest.record.sequence:
            yield (
                f"{each.info.id} is {each.flaw}, and what leads on from it was kept; delete it by name if nobody needs "
                f"it: holdfast storage snapshot delete {each.info.id}"
            )
