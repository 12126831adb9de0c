"""``storage wal dump`` and ``storage wal tail``: reading the log, one record per line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from holdfast.checks import INT64_MAX
from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections
from holdfast.cli.numbers import float32_numbers
from holdfast.cli.options import before_option, log_path, refuse_two_ends
from holdfast.cli.state import State
from holdfast.cli.types import MOMENT
from holdfast.documents import Document

if TYPE_CHECKING:
    from holdfast.times import Target

OPERATIONS = [
    "upsert", "delete", "truncate", "create_collection", "drop_collection", "put_alias", "delete_alias", "restore",
    "mark", "replayed",
]  # fmt: skip
"""Operations. What else the log may hold has no sequence of its own."""

_BARE_KINDS = ["marker", "closed"]


def _kind_option(kinds: list[str]) -> Callable[[Callable[..., object]], Callable[..., object]]:
    return click.option(
        "--kind", "kinds", type=click.Choice(kinds), multiple=True, metavar="KIND",
        help=f"Only these; may be repeated: {', '.join(kinds)}.",
    )  # fmt: skip


points_option = click.option(
    "--points",
    is_flag=True,
    help="With what was written, ids, vectors and payloads, and with the ids of what was deleted.",
)
"""For all that a record did, and not only what is to be known of it."""

_KEYS = ("sequence", "time", "kind", "collection", "count", "size_bytes", "actor", "first_ids", "detail")


@click.command(
    cls=Command,
    examples=[
        "holdfast storage wal dump --from -1h",
        "holdfast storage wal dump --collection products --kind delete --format table",
        "holdfast storage wal dump --stats --from -24h --format table",
    ],
)
@log_path
@click.option("--from", "start", type=MOMENT, metavar="WHEN", help="First time, sequence or mark.  [default: oldest]")
@click.option("--to", type=MOMENT, metavar="WHEN", help="Last time, sequence or mark (inclusive).  [default: newest]")
@before_option
@click.option("--collection", metavar="NAME", shell_complete=complete_collections, help="Only this collection.")
@_kind_option([*OPERATIONS, *_BARE_KINDS])
@click.option("--limit", type=click.IntRange(1, INT64_MAX), metavar="N", help="At most so many records.")
@points_option
@click.option("--stats", is_flag=True, help="Count them instead: in all, by collection and kind, and by actor.")
@pass_state
def dump(
    state: State,
    path: str | None,
    start: Target | None,
    to: Target | None,
    before: Target | None,
    collection: str | None,
    kinds: tuple[str, ...],
    limit: int | None,
    points: bool,
    stats: bool,
) -> Document | Iterator[Document]:
    """Show the log's records.

    Oldest first, one per line, as JSON (the default) or in a table. At damage it fails with path and offset, after the
    records before it; where the log was disabled meanwhile, a warning says so. Markers, which an idle log writes to
    prove that what comes before is on the disk, are shown with --kind marker alone. WHEN is a time
    (2024-01-20T10:00:00Z, -2h, 'yesterday 10:32'), a sequence, or a mark.
    """
    refuse_two_ends(to, before)
    if stats:
        if limit is not None:
            raise click.UsageError("--stats counts every record of a range, so that --limit contradicts it")
        if points:
            raise click.UsageError("--stats shows no record, so that --points contradicts it")
        return state.client.wal.stats(path=path, start=start, to=to, before=before, collection=collection, kinds=kinds)
    records = state.client.wal.dump(
        path=path,
        start=start,
        to=to,
        before=before,
        collection=collection,
        kinds=kinds,
        limit=limit,
        points=points,
        on_warning=state.warn,
    )
    return (_shown(state, record, points=points) for record in records)


@click.command(
    cls=Command,
    examples=[
        "holdfast storage wal tail",
        "holdfast storage wal tail --from -5m --collection products",
        "holdfast storage wal tail --from 4712 --kind delete",
        "holdfast storage wal tail --follow --from 4712 --points",
    ],
)
@click.option("--from", "start", type=MOMENT, metavar="WHEN", help="First time, sequence or mark.  [default: now]")
@click.option("--collection", metavar="NAME", shell_complete=complete_collections, help="Only this collection.")
@_kind_option(OPERATIONS)
@points_option
@click.option("--follow", is_flag=True, help="Go on with what comes: said or not, it always does.")
@pass_state
def tail(
    state: State,
    start: Target | None,
    collection: str | None,
    kinds: tuple[str, ...],
    points: bool,
    follow: bool,
) -> Iterator[Document]:
    """Follow the log.

    Records appear when they are on the disk, one per line, until Ctrl-C; a daemon that restarts is waited for, a minute
    at most. None is missed but for what was done while the log was disabled, of which a warning tells. To go on another
    time, give --from the sequence behind the last one that you have seen. With --points each line has all that another
    program needs to do the same; what a restore brought is not in the log, but in the snapshot that the line names.
    WHEN is a time (2024-01-20T10:00:00Z, -2h, 'yesterday 10:32'), a sequence, or a mark.
    """
    records = state.client.wal.tail(
        start=start, collection=collection, kinds=kinds, points=points, on_warning=state.warn
    )
    return (_shown(state, record, points=points) for record in records)


def _shown(state: State, record: Document, *, points: bool) -> Document:
    """What is shown of a record; vectors as the numbers that they are."""
    for point in record.get("points") or ():
        if "vector" in point:
            point["vector"] = float32_numbers(point["vector"])
    return state.shown(record, (*_KEYS, "points") if points else _KEYS)
