"""Comparing two snapshots, or one with the live store, collection by collection: content, not versions or times.

    sides     what each of the two holds, by its manifest or counters; live is one exact moment
    match     collections by name; where counts and digests are equal nothing is read
    compare   the others, row by row (snapshot_pairs)

Nothing is changed by it. What is staged for it is removed in every case; after a kill, by the next start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import Corruption, InvalidArgument, NotFound
from ..model import CollectionSpec
from .meter import Meter
from .operations import Work
from .row_diff import RowDiff
from .snapshot_catalog import SnapshotCatalog
from .snapshot_chain import ChainFinder
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_info import SnapshotInfo
from .snapshot_pairs import ROOM, Pair, PairReader
from .snapshot_sides import LIVE, Held, Side, live_side, snapshot_side

MAX_SAMPLE = 1000
IDS_IN_ALL = 4_000
"""At most about so many ids are named in one answer, however many collections differ: it is kept with the operation."""

_NO_ROWS = RowDiff()


@dataclass(frozen=True, slots=True)
class DiffRequest:
    """What to compare: ids, paths, ``latest`` or ``live``; ``sample``: ids to name of each kind and collection."""

    first: str
    second: str = LIVE
    collection: str | None = None
    sample: int = 10
    base_path: str | None = None


class SnapshotComparison:
    """One comparison; ``run`` is the whole of it. Runs on an operation's thread; blocks.

    ``infos``: of the first and the second side; None: the live store.
    """

    def __init__(
        self,
        context: SnapshotContext,
        catalog: SnapshotCatalog,
        request: DiffRequest,
        infos: tuple[SnapshotInfo | None, SnapshotInfo | None],
        work: Work,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._request = request
        self._infos = infos
        self._finder = ChainFinder(context.fs, catalog, request.base_path)
        self._meter = Meter(work)
        self._started_ns = context.clock.monotonic_ns()

    def run(self) -> dict[str, Any]:
        """Compare; returns the result document. Raises HoldfastError."""
        try:
            return self._compare(*sides_of(self._context, self._catalog, self._infos))
        except Corruption as error:
            self._catalog.note_damage(error)
            raise
        except OSError as error:
            raise disk_error(error, "nothing was compared", self._context.layout.collections, ROOM) from error

    def _compare(self, first: Side, second: Side) -> dict[str, Any]:
        names, uncovered = names_to_compare(first, second, self._request.collection)
        pairs = []
        for name in names:
            old, new = first.collections.get(name), second.collections.get(name)
            for side, held in ((first, old), (second, new)):
                if held is not None and side.is_live:
                    so = "it cannot be compared; others can, by name: --collection NAME"
                    side.views[held.spec.id].require_whole(so)
            if old is not None and new is not None and old.content != new.content:
                pairs.append(Pair(name, old, new))
        reader = PairReader(
            self._context, self._finder, self._meter, first, second, sample=sample_of(self._request.sample, len(pairs))
        )
        found = reader.compare(pairs)
        collections = [
            entry_of(name, first.collections.get(name), second.collections.get(name), found.get(name, _NO_ROWS))
            for name in names
        ]
        aliases = differing_aliases(first, second, names)
        return {
            "first": first.name,
            "second": second.name,
            "identical": not aliases and all(each["change"] == "none" for each in collections),
            "collections": collections,
            "aliases": aliases,
            "uncovered": uncovered,
            "first_sequence": first.sequence,
            "second_sequence": second.sequence,
            "first_us": first.time_us,
            "second_us": second.time_us,
            "duration_ms": (self._context.clock.monotonic_ns() - self._started_ns) // 1_000_000,
            "warnings": [*_strangers(first, second), *_not_compared(first, second, uncovered), *reader.warnings],
        }


def sides_of(
    context: SnapshotContext, catalog: SnapshotCatalog, infos: tuple[SnapshotInfo | None, SnapshotInfo | None]
) -> tuple[Side, Side]:
    """What is compared. Blocks: reads manifests. Raises NotFound or Corruption."""
    first, second = (
        live_side(context) if info is None else snapshot_side(info, catalog.open(info).manifest) for info in infos
    )
    return first, second


def names_to_compare(first: Side, second: Side, only: str | None) -> tuple[list[str], list[str]]:
    """The collections that both sides tell of, and those of which one of them says nothing; sorted.

    Raises NotFound for a name that neither has, InvalidArgument where nothing is left to be compared.
    """
    names = {*first.collections, *second.collections}
    if only is not None:
        if only not in names:
            raise NotFound(
                f"neither {first.name} nor {second.name} holds a collection {only!r}",
                reason="COLLECTION_NOT_FOUND",
                hint=f"they hold {', '.join(sorted(names)) or 'none'}",
                collection=only,
            )
        names = {only}
    compared = {name for name in names if first.covers(name) and second.covers(name)}
    uncovered = names - compared
    if uncovered and not compared:
        raise InvalidArgument(
            f"{first.name} and {second.name} have nothing to compare: of {', '.join(sorted(uncovered))} only one of "
            "them was made",
            field="second",
            hint="name snapshots of the same collection, or of everything: holdfast storage snapshot list",
        )
    return sorted(compared), sorted(uncovered)


def differing_aliases(first: Side, second: Side, names: Iterable[str]) -> list[dict[str, Any]]:
    """The aliases of the collections compared that lead elsewhere on the other side, or nowhere."""
    compared, found = set(names), []
    for alias in sorted({*first.aliases, *second.aliases}):
        before, after = first.aliases.get(alias), second.aliases.get(alias)
        if before != after and not compared.isdisjoint((before, after)):
            found.append({"alias": alias, "first": before, "second": after})
    return found


def sample_of(asked: int, pairs: int) -> int:
    """Ids to name of each of the four kinds."""
    return max(1, min(asked, MAX_SAMPLE, IDS_IN_ALL // (4 * max(1, pairs))))


def entry_of(name: str, old: Held | None, new: Held | None, rows: RowDiff) -> dict[str, Any]:
    """What is said of one collection. ``rows``: of what differs, where both sides have it."""
    first, second = 0 if old is None else old.count, 0 if new is None else new.count
    notes = [] if old is None or new is None else notes_on(old.spec, new.spec)
    drift = rows.drift
    return {
        "collection": name,
        "change": _change(old, new, settings_of(old) != settings_of(new)),
        "first_count": first,
        "second_count": second,
        "added": second if old is None else rows.added,
        "removed": first if new is None else rows.removed,
        "changed": rows.changed,
        "vector_changed": rows.vectors_changed,
        "payload_changed": rows.payloads_changed,
        "unchanged": 0 if old is None or new is None else first - rows.removed - rows.changed,
        "added_ids": list(rows.added_ids),
        "removed_ids": list(rows.removed_ids),
        "vector_changed_ids": list(rows.vector_ids),
        "payload_changed_ids": list(rows.payload_ids),
        "drift_count": drift.vectors,
        "largest_drift": drift.largest if drift.vectors else None,
        "mean_drift": drift.mean if drift.vectors else None,
        "notes": notes,
    }


def _change(old: Held | None, new: Held | None, settings_differ: bool) -> str:
    if old is None:
        return "added"
    if new is None:
        return "removed"
    return "changed" if settings_differ or old.content != new.content else "none"


def settings_of(held: Held | None) -> tuple[object, ...]:
    """What a collection is besides its rows and its name."""
    if held is None:
        return ()
    spec = held.spec
    return spec.dimensions, spec.metric, spec.storage, spec.schema_json


def notes_on(old: CollectionSpec, new: CollectionSpec) -> list[str]:
    """What has to be known of a collection besides its rows."""
    notes = []
    if old.id != new.id:
        notes.append(
            "not the same collection, but one of the same name: made again, restored, or of another store; rows were "
            "matched by their ids"
        )
    if old.dimensions != new.dimensions:
        notes.append(
            f"{old.dimensions} dimensions on the first side, {new.dimensions} on the second: every vector differs, and "
            "no drift can be told"
        )
    for what, before, after in (("metric", old.metric, new.metric), ("storage", old.storage, new.storage)):
        if before != after:
            notes.append(f"the {what} is {before.value} on the first side, {after.value} on the second")
    if old.schema_json != new.schema_json:
        notes.append("the schemas of the payloads differ")
    return notes


def _strangers(first: Side, second: Side) -> list[str]:
    if first.store_id == second.store_id:
        return []
    return [f"{first.name} and {second.name} are of different stores: collections were matched by name alone"]


def _not_compared(first: Side, second: Side, uncovered: list[str]) -> list[str]:
    """What nobody should take for equal."""
    if not uncovered:
        return []
    parts = [side.name for side in (first, second) if not side.everything]
    made = f"{' and '.join(parts)} {'was' if len(parts) == 1 else 'were'} made of other collections alone"
    return [f"not compared: {', '.join(uncovered)}, since {made}"]
