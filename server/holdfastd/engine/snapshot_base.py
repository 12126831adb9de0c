"""The snapshot that an increment builds on: chosen before anything is written, or refused with the remedy.

A base has to hold a moment of the very history that the store is on (RULES 2), to cover what is asked for, and to be
where it was: an increment on a file that is gone can never be restored.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from ..errors import Corruption, FailedPrecondition, InvalidArgument
from ..format.manifest import Manifest
from ..format.snapshot import SnapshotBase
from ..model import Sequence64
from ..storage.registry import SnapshotMember, SnapshotRecord
from .snapshot_catalog import SnapshotCatalog
from .snapshot_info import BASE_MISSING, READY, SnapshotInfo

NO_BASE = "NO_BASE"
_FULL = "make a full one: the same command without --incremental"


@dataclass(frozen=True, slots=True)
class Base:
    """A snapshot to build on, and as what the increment names it."""

    info: SnapshotInfo
    named: SnapshotBase

    @property
    def sequence(self) -> Sequence64:
        """The moment that it holds."""
        return self.info.record.sequence

    def member(self, collection_id: uuid.UUID) -> SnapshotMember | None:
        """A collection as the base has it, or None."""
        return next((each for each in self.info.record.members if each.collection_id == str(collection_id)), None)

    def since(self, manifest: Manifest, collection_id: uuid.UUID) -> Sequence64:
        """From where on an increment has to tell of a collection; 0: all of it, since the base or its history lacks."""
        if self.member(collection_id) is None:
            return 0
        return self.sequence if remembers(manifest, collection_id, self.sequence) else 0


def choose_base(
    catalog: SnapshotCatalog, manifest: Manifest, collection_id: uuid.UUID | None, base_id: str | None
) -> Base:
    """The base of an increment of one collection or (None) of the whole store: the newest, or the one that is named.

    Blocks: reads the sums of the base's file. Raises FailedPrecondition with the remedy where none will do, NotFound
    or InvalidArgument for a ``base_id`` that names none, Corruption where the file's end is damaged.
    """
    if base_id is not None:
        info = catalog.get(base_id)
        problem = _problem_with(info, manifest, collection_id)
        if problem is not None:
            raise InvalidArgument(
                f"{info.id} cannot be the base of this snapshot: {problem}",
                field="base_id",
                reason=NO_BASE,
                hint=f"leave --base out, or {_FULL}",
                snapshot=info.id,
            )
    else:
        info = _newest(catalog, manifest, collection_id)
    return Base(info, _named(catalog, info))


def _newest(catalog: SnapshotCatalog, manifest: Manifest, collection_id: uuid.UUID | None) -> SnapshotInfo:
    passed_over = []
    # By the moment that they hold: the clock may have jumped between two of them.
    for info in sorted(catalog.listing().snapshots, key=lambda info: -info.record.sequence):
        problem = _problem_with(info, manifest, collection_id)
        if problem is None:
            return info
        if _covers(info.record, collection_id) and info.record.store_id == str(manifest.store_id):
            passed_over.append(f"{info.id} {problem}")
    why = f" ({passed_over[0]})" if passed_over else ""
    raise FailedPrecondition(
        f"there is no snapshot that an incremental one could build on{why}", reason=NO_BASE, hint=_FULL
    )


def _problem_with(info: SnapshotInfo, manifest: Manifest, collection_id: uuid.UUID | None) -> str | None:
    """Why a snapshot cannot be the base, or None."""
    record = info.record
    if record.store_id != str(manifest.store_id):
        return "was made by another store"
    if not _covers(record, collection_id):
        return "does not hold all that is asked for"
    if info.state == BASE_MISSING:
        return f"is of no use now: {info.problem}"
    if info.state != READY:
        return f"is {info.state}: {info.path}"
    if not manifest.reaches_back_to(record.timeline, record.sequence):
        return f"holds a moment that history was cut before: sequence {record.sequence} of timeline {record.timeline}"
    if collection_id is not None and not remembers(manifest, collection_id, record.sequence):
        return "is older than what the store remembers of deletions"
    return None


def remembers(manifest: Manifest, collection_id: uuid.UUID, sequence: Sequence64) -> bool:
    """Whether what died in a collection after ``sequence`` is kept.

    What died before its high water may have been dropped, and a memory collection has none (RULES 21, 30).
    """
    kept_from = next((entry.high_water for entry in manifest.collections if entry.spec.id == collection_id), 0)
    return 0 < kept_from <= sequence


def _covers(record: SnapshotRecord, collection_id: uuid.UUID | None) -> bool:
    if collection_id is None:
        return record.everything
    return any(member.collection_id == str(collection_id) for member in record.members)


def _named(catalog: SnapshotCatalog, info: SnapshotInfo) -> SnapshotBase:
    record = info.record
    sums = catalog.sums_sha256(info)
    if record.sha256 not in ("", sums):
        raise Corruption(
            "its SHA256SUMS is not what it was when the snapshot was made: nothing can be built on it",
            path=info.path,
            reason="SNAPSHOT_DAMAGED",
            hint=f"check it: holdfast storage snapshot verify {info.id}; {_FULL}",
        )
    return SnapshotBase(record.id, uuid.UUID(record.store_id), record.timeline, record.sequence, sums, info.path)
