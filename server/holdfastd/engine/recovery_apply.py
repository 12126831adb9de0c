"""The log applied at start: every operation that the manifest does not reflect, in order (RULES 19)."""

from __future__ import annotations

from collections.abc import Iterable

from ..format.manifest import Manifest
from ..format.record import RecordHeader
from ..model import Sequence64
from ..storage.names import parse_requests_name
from ..storage.wal_reader import LoggedRecord
from .apply import Applied, Applier
from .change_codec import Logged
from .changes import POINTS, Change
from .logged import decode_record
from .requests import RequestTable
from .tickets import KeptIn, Outcome

_HINT = "report this as a bug; --recovery=point-in-time keeps everything before this place"


def apply_log(records: Iterable[LoggedRecord], manifest: Manifest, applier: Applier, requests: RequestTable) -> int:
    """Apply what is news, and remember its answers that ``requests`` does not hold; returns the number of records.

    What is reflected already has its answer in ``requests`` or, where those were damaged, nowhere: what it did then
    cannot be told any more, and an answer is not made up.
    Raises Corruption for a record that is no operation.
    """
    number = 0
    answered = stored_through(manifest) if len(requests) else 0
    for record in records:
        header, logged = record.header, decode_record(record, hint=_HINT)
        number += 1
        change = logged.change
        if change is None or not _is_news(change, header.sequence, applier, manifest):
            continue
        applied = applier.apply(change, header.sequence, header.timestamp_us, logged.origin_sequence)
        if logged.request_id and header.sequence > answered:
            requests.remember(logged.request_id, _outcome(header, logged, change, applied))
    return number


def stored_through(manifest: Manifest) -> Sequence64:
    """Through which sequence the manifest's table of request ids knows the answers."""
    name = manifest.requests_file
    return 0 if name is None else parse_requests_name(name) or 0


def _outcome(header: RecordHeader, logged: Logged, change: Change, applied: Applied) -> Outcome:
    """What the request of a record was told, or would have been."""
    count = applied.count + logged.rows_left_out
    return Outcome(
        header.sequence,
        count,
        durable=True,
        time_us=header.timestamp_us,
        names=applied.names,
        request_digest=logged.request_digest,
        kept_in=KeptIn.of(change),
    )


def _is_news(change: Change, sequence: Sequence64, applier: Applier, manifest: Manifest) -> bool:
    if isinstance(change, POINTS):
        collection = applier.catalog.get(change.collection_id)
        return collection is not None and sequence > collection.checkpoint_sequence
    return sequence > manifest.sequence
