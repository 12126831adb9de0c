"""What a search of the log is asked and what it answers: the wanted, the range, the findings, and runs of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from ..format.operation import LogOperation
from ..format.record import RecordKind, padded_size
from ..model import Sequence64
from ..storage.wal_reader import LoggedRecord

RUN_RECORDS = 256
RUN_BYTES = 16 << 20
BARE_KINDS = {RecordKind.MARKER: "marker", RecordKind.CLOSED: "closed"}
"""Records that are no operations, and have the sequence of the one before."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for; all of it must hold, and what is empty or None asks for nothing.

    ``collection_id``: one collection, by its id. ``name``: every collection that is or was called so, and with
    ``collection_id`` the one as well that an alias of this name points to. ``kinds``: names of bodies of a
    ``LogOperation``, and of ``BARE_KINDS``; none of them asks for all but markers. ``ids``: of points; what changes
    every point of a collection is found with any of them. ``request_ids``: see ``RequestWords``.
    """

    collection_id: uuid.UUID | None = None
    name: str | None = None
    kinds: frozenset[str] = frozenset()
    ids: tuple[str, ...] = ()
    actors: frozenset[str] = frozenset()
    request_ids: frozenset[str] = frozenset()

    def takes_bare(self, kind: str) -> bool:
        """Whether a record of this kind, which is no operation, is looked for."""
        about = self.collection_id or self.name or self.ids or self.actors or self.request_ids
        return not about and (kind in self.kinds if self.kinds else kind != "marker")


@dataclass(frozen=True, slots=True)
class Range:
    """Where to look: bounds inclusive, None = open; sequence 0 = the oldest. ``path``: of another log, absolute."""

    from_sequence: Sequence64 = 0
    to_sequence: Sequence64 | None = None
    from_us: int | None = None
    to_us: int | None = None
    path: str | None = None

    def before(self) -> Range | None:
        """What lies in front of it; None where it begins with the oldest."""
        if self.from_sequence > 1:
            return Range(to_sequence=self.from_sequence - 1, path=self.path)
        if self.from_us:
            return Range(to_us=self.from_us - 1, path=self.path)
        return None


@dataclass(frozen=True, slots=True)
class Finding:
    """One record that was looked for. ``collection``: its name, None where that is not known or it has none.

    ``operation``: an empty one where it is none; of a large upsert, without the matrix. ``ids``: those of the ids
    looked for that it names.
    """

    record: LoggedRecord
    operation: LogOperation
    collection: str | None = None
    ids: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """What it does: the name of its body, or one of ``BARE_KINDS``."""
        return BARE_KINDS.get(RecordKind(self.record.kind)) or kind_of(self.operation)


@dataclass(slots=True)
class Run:
    """What was found since the run before, perhaps nothing. ``through``: the last sequence looked at.

    ``warnings``: what may be missing from all that was found so far.
    """

    findings: list[Finding] = field(default_factory=list)
    through: Sequence64 = 0
    bytes: int = 0
    warnings: list[str] = field(default_factory=list)

    def looked_at(self, record: LoggedRecord) -> None:
        """Count one record, found or not."""
        self.through = record.sequence
        self.bytes += padded_size(len(record.payload))

    @property
    def full(self) -> bool:
        """Whether whoever waits for it should hear of it now."""
        return len(self.findings) >= RUN_RECORDS or self.bytes >= RUN_BYTES


def kind_of(operation: LogOperation) -> str:
    """What an operation does: the name of its body."""
    return operation.WhichOneof("body") or ""
