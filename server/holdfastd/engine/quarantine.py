"""What a collection with a quarantined segment may still answer, and how it says no.

Of a quarantined segment the id index and the kills file, which lie outside it, still tell which ids it held and which
of its rows are dead. So a point that is found elsewhere is the truth: whatever superseded it would have killed it
there. A point that is found nowhere does not exist, unless a row of the segment may have been it: then nobody can
tell, and the answer is DATA_LOSS. So is everything that would need all points, and every write: the version, the count
and the digest that it changes start from rows that cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Corruption
from ..model import Alarm, CollectionSpec, Int64Array, QuarantinedPart, Sequence64, Uint64Array
from ..storage.id_index import IdIndex
from ..storage.quarantine import QuarantinedSegment

if TYPE_CHECKING:
    from .collection import Collection

CODE = "SEGMENT_QUARANTINED"
SHOWN = 10


def lost_rows(
    quarantined: Iterable[QuarantinedSegment], index: IdIndex, id_hashes: Uint64Array, sequence: Sequence64
) -> Iterator[tuple[QuarantinedSegment, Int64Array, Int64Array]]:
    """Rows of quarantined segments that may be alive at ``sequence`` and be one of the ids asked for.

    Per segment: its rows, and the positions of the ids that they may be. An id whose rows cannot be told (the index
    does not list the segment) has position, but no row: both arrays differ in length then.
    """
    segments = list(quarantined)
    positions, ordinals, rows = index.lookup(id_hashes)
    for segment in segments:
        if not segment.indexed:
            if not segment.harmless:
                yield segment, _NONE, np.arange(len(id_hashes), dtype=np.int64)
            continue
        here = ordinals == segment.ordinal
        candidates, at = rows[here].astype(np.int64), positions[here]
        alive = segment.alive(candidates, sequence)
        if alive.any():
            yield segment, candidates[alive], at[alive]


def require_whole(spec: CollectionSpec, quarantined: Sequence[QuarantinedSegment], so: str) -> None:
    """Raise Corruption if rows of the collection may be missing; ``so`` says what is refused for that."""
    missing = [segment for segment in quarantined if not segment.harmless]
    if missing:
        raise refusal(spec, missing, so)


def require_writable(spec: CollectionSpec, quarantined: Sequence[QuarantinedSegment]) -> None:
    """Raise Corruption if the collection has a quarantined segment: what a write does to it could not be told."""
    if quarantined:
        raise refusal(spec, quarantined, "it takes no writes")


def ids_lost(spec: CollectionSpec, quarantined: Sequence[QuarantinedSegment], ids: Sequence[bytes]) -> Corruption:
    """The answer to a get that asks for points which may have been in a quarantined segment."""
    shown = ", ".join(repr(id.decode()) for id in ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")
    return refusal(spec, quarantined, f"nothing certain can be said of {len(ids)} of the points asked for: {shown}")


def refusal(spec: CollectionSpec, quarantined: Sequence[QuarantinedSegment], so: str) -> Corruption:
    """DATA_LOSS: which file is damaged, what it held, what is refused for that, and how to repair it."""
    first, more = quarantined[0], len(quarantined) - 1
    others = f", and {more} more with {sum(s.rows_count for s in quarantined[1:])} rows," if more else ""
    return Corruption(
        f"{first.problem}; segment {first.id} of {spec.name!r} with {first.rows_count} rows{others} is quarantined, "
        f"so {so}",
        path=first.path,
        offset=first.offset,
        reason=CODE,
        hint=repair_hint(spec),
        collection=spec.name,
        segment=first.id,
        rows=first.rows_count,
    )


def repair_hint(spec: CollectionSpec) -> str:
    """The commands that repair a collection with a quarantined segment, the least final first."""
    restore = f"holdfast storage snapshot restore latest --from-collection {spec.name}"
    return (
        f"restore it beside what is left: {restore} --collection {spec.name}-restored; or in its place: {restore} "
        f"--overwrite; or give it up: holdfast collection delete {spec.name} --confirm; if the file itself can be put "
        "back as it was, put it back and restart the daemon"
    )


def quarantine_alarms(collections: Iterable[Collection], since_us: int) -> list[Alarm]:
    """One alarm for each collection with quarantined segments, by name: it goes with the collection."""
    found = []
    for collection in sorted(collections, key=lambda collection: collection.spec.name):
        segments, name = collection.quarantined, collection.spec.name
        if not segments:
            continue
        what = f"{len(segments)} segments" if len(segments) > 1 else "a segment"
        rows = sum(segment.rows_count for segment in segments)
        kept = ""
        if collection.held_back:
            kept = f"; the log is kept from sequence {collection.checkpoint_sequence + 1} on for it"
        message = (
            f"{name}: {what} with {rows} rows cannot be read and {'are' if len(segments) > 1 else 'is'} quarantined: "
            f"{segments[0].path}: {segments[0].problem}; it takes no writes, and only what is certain is read{kept}"
        )
        found.append(Alarm(CODE, message, repair_hint(collection.spec), "critical", since_us))
    return found


def quarantined_parts(quarantined: Sequence[QuarantinedSegment]) -> tuple[QuarantinedPart, ...]:
    """What ``collection stats`` says of quarantined segments."""
    return tuple(QuarantinedPart(str(s.id), s.path, s.rows_count, s.problem) for s in quarantined)


_NONE: Int64Array = np.zeros(0, np.int64)
