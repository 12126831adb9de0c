"""Deleting a snapshot that increments build on: these are made full ones first, which need nobody.

    look      which increments build on it, the whole chain of each, the room that it takes
    rewrite   each of them beside its file (snapshot_rewrite); no file that is there is touched
    publish   each new file in the place of the old one, durable; then the registry: once nobody reads the old ones
    delete    the snapshot itself, as any other

What is damaged or missing is named before anything is published. A failure, a cancellation or a crash before that
leaves everything as it was; after it, the increments stand alone, and the command sent again deletes what is left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import Corruption, FailedPrecondition, HoldfastError
from ..storage.files import parent_of
from ..storage.registry import SnapshotRecord
from .meter import Meter
from .operations import Work
from .places import check_can_be_rewritten
from .room import Room
from .snapshot_catalog import SnapshotCatalog
from .snapshot_chain import ChainFinder
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_info import DAMAGED, MISSING, SnapshotInfo
from .snapshot_receipts import note_damage
from .snapshot_rewrite import Rewriter, Rewriting

POLL_SECONDS = 0.2
_ROOM = "no snapshot was touched; free space there and try again, or delete the increments, newest first"
_GO_ON = "free space there and send the command again: what stands alone by now does so for good, and nothing is lost"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What became, or would become, of one increment. Sizes in bytes."""

    before: SnapshotInfo
    chain: tuple[str, ...]
    size_bytes: int

    def document(self) -> dict[str, Any]:
        """As the result has it."""
        return {
            "snapshot_id": self.before.id,
            "path": self.before.path,
            "chain": list(self.chain),
            "before_size_bytes": self.before.exclusive_bytes,
            "size_bytes": self.size_bytes,
        }


class Consolidation:
    """One deletion; ``run`` is the whole of it. Runs on an operation's thread; blocks.

    ``delete``: deletes the snapshot itself, once nobody needs it.
    """

    def __init__(
        self,
        context: SnapshotContext,
        catalog: SnapshotCatalog,
        room: Room,
        info: SnapshotInfo,
        delete: Callable[[SnapshotInfo], None],
        work: Work,
        *,
        validate_only: bool,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._room = room
        self._info = info
        self._delete = delete
        self._work = work
        self._validate_only = validate_only
        self._meter = Meter(work)
        self._started_ns = context.clock.monotonic_ns()
        self._working_bytes = 0
        self._publishes = False

    def run(self) -> dict[str, Any]:
        """Consolidate and delete; returns the result document. Raises HoldfastError."""
        try:
            done = self._rewrite_all()
        except Corruption as error:
            note_damage(self._context, self._catalog, error)
            error.message = f"{self._not_deleted(', and no file was changed')}: {error.message}"
            raise
        except OSError as error:
            path, hint = error.filename or self._info.path, _GO_ON if self._publishes else _ROOM
            raise disk_error(error, self._not_deleted(), path, hint) from error
        if not self._validate_only:
            self._work.begin_final_phase("deleting")
            self._delete_base(done)
        return self._document(done)

    def _not_deleted(self, before: str = "") -> str:
        """What has become of the request; ``before``: what holds as long as nothing is published."""
        what = ", and what builds on it may stand alone by now" if self._publishes else before
        return f"{self._info.id} was not deleted{what}"

    def _rewrite_all(self) -> list[Rewritten]:
        with contextlib.ExitStack() as held:
            found = look(self._catalog, self._info)
            if not found:
                return []
            finder = finder_of(self._context, self._catalog)
            wanted = [Rewriting(each, held.enter_context(finder.hold(each))) for each in found]
            self._check_space(wanted)
            if self._validate_only:
                return [_rewritten(each, each.file_bytes) for each in wanted]
            records = self._rewrite(wanted)
            return [_rewritten(each, record.size_bytes) for each, record in zip(wanted, records, strict=True)]

    def _rewrite(self, wanted: list[Rewriting]) -> list[SnapshotRecord]:
        pending = self._catalog.begin_rewriting(*(each.info for each in wanted))
        try:
            records = [
                Rewriter(self._context, rewriting, self._meter).write(each)
                for rewriting, each in zip(wanted, pending, strict=True)
            ]
            self._publish(records, [each.path for each in pending])
            return records
        finally:
            # What cannot be removed now is removed by the next start.
            with contextlib.suppress(OSError):
                self._catalog.end_writing(*pending)

    def _publish(self, records: list[SnapshotRecord], paths: list[str]) -> None:
        """Put the new files in their places as soon as nobody reads the old ones."""
        while self._catalog.is_in_use(*paths):
            self._work.report(phase="waiting for readers")
            self._work.wait(POLL_SECONDS)
        self._work.begin_final_phase("publishing")
        self._publishes = True
        while not self._room.insist(lambda: self._catalog.replace_files(records)):
            self._work.wait(POLL_SECONDS)

    def _delete_base(self, done: list[Rewritten]) -> None:
        try:
            self._delete(self._info)
        except HoldfastError as error:
            if done:
                names = ", ".join(each.before.id for each in done)
                error.message = (
                    f"{names} {'stands' if len(done) == 1 else 'stand'} alone now, but {self._info.id} was not "
                    f"deleted: {error.message}"
                )
            raise

    # What it takes --------------------------------------------------------------------------------------------------

    def _check_space(self, wanted: list[Rewriting]) -> None:
        """Raise ResourceExhausted unless all of it fits at once, wherever some of it shares a disk."""
        fs = self._context.fs
        # One after the other is staged.
        self._working_bytes = max((each.working_bytes for each in wanted), default=0)
        needed = [(self._context.layout.collections, self._working_bytes)]
        needed += [(parent_of(each.info.path), each.file_bytes) for each in wanted]
        while needed:
            directory = needed[0][0]
            here = [each for each in needed if fs.same_disk(directory, each[0])]
            self._context.check_space(directory, sum(size for _, size in here), _ROOM)
            needed = [each for each in needed if each not in here]

    # The result -----------------------------------------------------------------------------------------------------

    def _document(self, done: list[Rewritten]) -> dict[str, Any]:
        written = sum(each.size_bytes for each in done)
        freed = self._info.exclusive_bytes + sum(each.before.exclusive_bytes for each in done)
        warnings = []
        if written * 10 > freed * 11:
            warnings.append(
                f"the new files take {written - freed} bytes more than those that go; deleting the increments, "
                "newest first, frees room"
            )
        return {
            "snapshot_id": self._info.id,
            "path": self._info.path,
            "rewritten": [each.document() for each in done],
            "written_bytes": written,
            "working_bytes": self._working_bytes,
            "freed_bytes": freed,
            "duration_ms": (self._context.clock.monotonic_ns() - self._started_ns) // 1_000_000,
            "status": "planned" if self._validate_only else "completed",
            "warnings": warnings,
        }


def look(catalog: SnapshotCatalog, info: SnapshotInfo) -> tuple[SnapshotInfo, ...]:
    """The increments that have to stand alone before a snapshot can be deleted. Blocks.

    Raises FailedPrecondition or Corruption where one of them is missing, damaged, in an object store, or being
    rewritten already.
    """
    increments = catalog.increments_on(info)
    catalog.check_not_rewritten((info, *increments))
    check_can_be_rewritten(increments)
    for each in increments:
        if each.state == MISSING:
            raise FailedPrecondition(
                f"{each.id}, which builds on {info.id}, is missing: {each.problem}",
                reason="SNAPSHOT_MISSING",
                hint=f"bring its file back, or give it up: holdfast storage snapshot delete {each.id}",
                snapshot=each.id,
                path=each.path,
            )
        if each.state == DAMAGED:
            raise Corruption(
                f"{each.id}, which builds on {info.id}, is damaged: {each.problem}",
                path=each.path,
                reason="SNAPSHOT_DAMAGED",
                hint=f"nothing was touched; give it up: holdfast storage snapshot delete {each.id}",
                snapshot=each.id,
            )
    return increments


def finder_of(context: SnapshotContext, catalog: SnapshotCatalog) -> ChainFinder:
    """Finds the chains that a consolidation reads: in the places that the store knows, and in no others."""
    return ChainFinder(
        context.fs, catalog, elsewhere="let the daemon look there: holdfast storage snapshot list --path DIR"
    )


def _rewritten(rewriting: Rewriting, size_bytes: int) -> Rewritten:
    return Rewritten(rewriting.info, tuple(rewriting.chain.ids), size_bytes)
