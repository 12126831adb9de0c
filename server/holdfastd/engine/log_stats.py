"""What a range of the log consists of: operations, points and bytes by collection and kind, and by actor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..format.logged_ids import count_ids
from ..format.record import padded_size
from ..model import Sequence64
from .log_findings import Finding
from .log_names import collection_of


@dataclass(slots=True)
class Tally:
    """Counts of some operations. Sequences and times (microseconds): of the first and the last of them; 0 of none.

    ``points``: written and deleted by id, in batches of any size.
    """

    operations: int = 0
    points: int = 0
    bytes: int = 0
    first_sequence: Sequence64 = 0
    first_us: int = 0
    last_sequence: Sequence64 = 0
    last_us: int = 0

    def add(self, finding: Finding) -> None:
        """Count one more, behind those before it."""
        record = finding.record
        self.operations += 1
        self.points += count_ids(finding.operation)
        self.bytes += padded_size(len(record.payload))
        if not self.first_sequence:
            self.first_sequence, self.first_us = record.sequence, record.timestamp_us
        self.last_sequence, self.last_us = record.sequence, record.timestamp_us


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that are counted together. ``collection_id``: empty for the store as a whole."""

    collection_id: bytes
    kind: str


@dataclass(slots=True)
class LogStats:
    """See the module. ``names``: of the collections counted, as far as they are known."""

    total: Tally = field(default_factory=Tally)
    groups: dict[Group, Tally] = field(default_factory=dict)
    actors: dict[str, Tally] = field(default_factory=dict)
    names: dict[bytes, str] = field(default_factory=dict)

    def add_all(self, findings: Iterable[Finding]) -> None:
        """Count these operations, behind those before them."""
        for finding in findings:
            self._add(finding)

    def _add(self, finding: Finding) -> None:
        collection_id = collection_of(finding.operation) or b""
        if finding.collection is not None:
            self.names[collection_id] = finding.collection
        group = Group(collection_id, finding.kind)
        for tally in (
            self.total,
            self.groups.setdefault(group, Tally()),
            self.actors.setdefault(finding.operation.actor, Tally()),
        ):
            tally.add(finding)
