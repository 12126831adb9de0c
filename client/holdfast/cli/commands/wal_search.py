"""``storage wal grep``: which operation was it? Found by the daemon, with the next command to type."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import TYPE_CHECKING

import click

from holdfast.checks import INT64_MAX
from holdfast.cli import exit_codes
from holdfast.cli.base import Command, pass_state
from holdfast.cli.commands.wal_read import OPERATIONS
from holdfast.cli.complete import complete_collections
from holdfast.cli.options import before_option, ids_option, log_path, refuse_two_ends
from holdfast.cli.state import State
from holdfast.cli.types import MOMENT
from holdfast.documents import Document

if TYPE_CHECKING:
    from holdfast.times import Target

_KEYS = ("sequence", "time", "actor", "op", "collection", "count", "first_ids", "request_id", "detail")
_UNDONE = frozenset(("upsert", "delete", "truncate", "drop_collection", "restore"))
"""What somebody may want to be without."""


@click.command(
    cls=Command,
    examples=[
        "holdfast storage wal grep --collection products --op delete --since -1h --format table",
        "holdfast storage wal grep --id order-17 --id order-18",
        "holdfast storage wal grep --op drop_collection --op truncate",
        "holdfast storage wal grep --request-id nightly-import-7 --since 'yesterday 22:00'",
        "holdfast storage wal grep --request-id '4f0c9c3a7be14d1f9b6e0d7c21aa53d2-*'",
    ],
)
@click.option(
    "--collection", metavar="NAME", shell_complete=complete_collections,
    help="Only this collection: the name that it has or had, or its uuid.",
)  # fmt: skip
@click.option(
    "--op", "kinds", type=click.Choice(OPERATIONS), multiple=True, metavar="OP",
    help=f"Only these; may be repeated: {', '.join(OPERATIONS)}.",
)  # fmt: skip
@ids_option()
@click.option("--actor", "actors", multiple=True, metavar="NAME", help="Only what this one asked for; may be repeated.")
@click.option(
    "--request-id", "request_ids", multiple=True, metavar="ID",
    help="Only what came with this request id, or with one that begins so where it ends with a *; may be repeated.",
)  # fmt: skip
@click.option("--since", type=MOMENT, metavar="WHEN", help="First time, sequence or mark.  [default: oldest]")
@click.option("--to", type=MOMENT, metavar="WHEN", help="Last time, sequence or mark (inclusive).  [default: newest]")
@before_option
@click.option("--limit", type=click.IntRange(1, INT64_MAX), metavar="N", help="At most so many operations.")
@log_path
@pass_state
def grep(
    state: State,
    collection: str | None,
    kinds: tuple[str, ...],
    ids: list[str] | None,
    actors: tuple[str, ...],
    request_ids: tuple[str, ...],
    since: Target | None,
    to: Target | None,
    before: Target | None,
    limit: int | None,
    path: str | None,
) -> Iterator[Document]:
    """Find operations in the log.

    Oldest first, one per line, and on standard error the command that shows the collection as it was before. At least
    one thing to look for is needed; what is given must all hold. With --id it finds every write and delete of these
    points, in batches of any size, and what changes every point of a collection. Exits with 4 where nothing matches.
    WHEN is a time (2024-01-20T10:00:00Z, -2h, 'yesterday 10:32'), a sequence, or a mark.
    """
    refuse_two_ends(to, before)
    if collection is None and not (kinds or ids or actors or request_ids):
        raise click.UsageError(
            "say what to look for: --collection, --op, --id, --actor or --request-id; `storage wal dump` shows all"
        )
    records = state.client.wal.dump(
        path=path,
        start=since,
        to=to,
        before=before,
        collection=collection,
        kinds=kinds,
        ids=ids or (),
        actors=actors,
        request_ids=request_ids,
        limit=limit,
        on_warning=state.warn,
    )
    return _found(state, records, last=bool(ids), ours=path is None)


def _found(state: State, records: Iterator[Document], *, last: bool, ours: bool) -> Iterator[Document]:
    """The rows, and behind them what to do next. ``last``: about the last of them, instead of the first."""
    found, suspects, suspect = 0, 0, None
    for record in records:
        found += 1
        if record.kind in _UNDONE and record.collection not in (None, record.collection_id):
            suspects += 1
            suspect = record if last or suspect is None else suspect
        yield state.shown(Document({"op": record.kind} | record), _KEYS)
    if not found:
        state.say("nothing in this part of the log matches")
        state.exit_code = exit_codes.OF_STATUS["NOT_FOUND"]
    elif suspect is not None and ours:
        which = "" if suspects == 1 else f"the {'last' if last else 'first'} of them, "
        state.say(f"hint: {suspect.collection} as it was before {which}sequence {suspect.sequence}: {_replay(suspect)}")


def _replay(record: Document) -> str:
    name = quote(record.collection)
    return f"holdfast storage wal replay --collection {name} --before {record.sequence} --into {name}-before"
