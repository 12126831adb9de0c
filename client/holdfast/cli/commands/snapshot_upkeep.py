"""``storage snapshot prune`` and ``storage snapshot diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.checks import INT32_MAX
from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections, complete_snapshots
from holdfast.cli.confirm import confirm_plan
from holdfast.cli.follow import conclude
from holdfast.cli.options import dry_run, no_wait
from holdfast.cli.state import State
from holdfast.cli.types import DURATION
from holdfast.documents import Document, pick
from holdfast.keeping import Keep
from holdfast.units import format_size

if TYPE_CHECKING:
    from datetime import timedelta

_DIFF_KEYS = ("first", "second", "identical", "collections", "aliases", "uncovered", "duration_ms", "status")
_ROW_KEYS = (
    "collection", "change", "added", "removed", "changed", "vector_changed", "payload_changed", "unchanged",
    "largest_drift", "mean_drift",
)  # fmt: skip
_PRUNE_KEYS = ("id", "type", "collections", "created_at", "size_bytes", "keep", "reasons")
_COUNT = click.IntRange(1, INT32_MAX)


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot prune --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run",
        "holdfast storage snapshot prune --path /backups/hourly --keep-within 2d --confirm",
        "holdfast storage snapshot prune --keep-last 3 --collection products --format table",
    ],
)
@click.option("--keep-last", type=_COUNT, metavar="N", help="The newest N.")
@click.option("--keep-hourly", type=_COUNT, metavar="N", help="The newest of each of the last N hours that have one.")
@click.option("--keep-daily", type=_COUNT, metavar="N", help="The same by days.")
@click.option("--keep-weekly", type=_COUNT, metavar="N", help="The same by weeks.")
@click.option("--keep-monthly", type=_COUNT, metavar="N", help="The same by months.")
@click.option("--keep-yearly", type=_COUNT, metavar="N", help="The same by years.")
@click.option("--keep-within", type=DURATION, metavar="DURATION", help="All that are younger, counted from the newest.")
@click.option(
    "--path",
    metavar="DIR|URL",
    help="Only in this directory of the daemon's machine, or below this s3://, gs://, az://.  [default: all known]",
)
@click.option(
    "--collection", metavar="NAME", shell_complete=complete_collections, help="Only those of this collection alone."
)
@click.option("--confirm", "confirmed", is_flag=True, help="Do not ask.")
@dry_run
@pass_state
def prune(
    state: State,
    keep_last: int | None,
    keep_hourly: int | None,
    keep_daily: int | None,
    keep_weekly: int | None,
    keep_monthly: int | None,
    keep_yearly: int | None,
    keep_within: timedelta | None,
    path: str | None,
    collection: str | None,
    confirmed: bool,
    dry_run: bool,
) -> Document:
    """Delete the snapshots that a policy does not keep.

    One stays if any rule keeps it, and as long as one that stays builds on it; "reasons" says why. Rules count whole
    snapshots of this store, those of everything and those of each collection on their own; hours, days, ISO weeks,
    months and years are those of UTC. A rule that has not found as many as it may keep keeps the oldest as well. The
    newest whole one stays under any policy. What is missing, damaged, in use, of another store, a copy, or dated in the
    future is left.

    --dry-run tells all that would be done. On a terminal it asks first; elsewhere --confirm is required.
    """
    keep = Keep(
        keep_last or 0, keep_hourly or 0, keep_daily or 0, keep_weekly or 0, keep_monthly or 0, keep_yearly or 0,
        keep_within,
    )  # fmt: skip
    if keep_within is not None and not keep_within:
        raise click.UsageError("--keep-within 0 keeps nothing: leave it out, or give it a duration")
    if keep == Keep():
        raise click.UsageError("nothing would be kept: give at least one --keep-… rule")
    snapshots = state.client.snapshots
    if dry_run or not confirmed:
        plan = snapshots.prune(keep, path=path, collection=collection, validate_only=True)
        if dry_run:
            return as_table(state, plan)
        confirm_plan(state, plan, _question(plan))
    return as_table(state, snapshots.prune(keep, path=path, collection=collection))


def _question(plan: Document) -> str:
    """What a person is asked before anything is deleted."""
    what = "1 snapshot" if plan.deleted == 1 else f"{plan.deleted} snapshots"
    return f"Delete {what} ({format_size(plan.freed_bytes)}) and keep {plan.kept}?"


def as_table(state: State, document: Document) -> Document:
    """A prune as rows of its decisions, where rows are asked for."""
    if state.output_format not in ("table", "csv"):
        return document
    rows = [Document(row, reasons="; ".join(row.reasons)) for row in document.snapshots]
    return Document({**document, "snapshots": [state.shown(row, _PRUNE_KEYS) for row in rows]}, total=len(rows))


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot diff latest",
        "holdfast storage snapshot diff snap-2024-01-19-020000 snap-2024-01-20-020000 --collection products",
        "holdfast storage snapshot diff live /backups/daily/snap-2024-01-20-020000.gz --format table",
    ],
)
@click.argument("first", shell_complete=complete_snapshots)
@click.argument("second", required=False, shell_complete=complete_snapshots)
@click.option("--collection", metavar="NAME", shell_complete=complete_collections, help="Only this collection.")
@click.option(
    "--sample",
    type=_COUNT,
    metavar="N",
    default=10,
    show_default=True,
    help="Ids to name per kind of change; 1000 at most.",
)
@click.option("--base-path", metavar="DIR", help="Where else to look for the snapshots that they build on.")
@no_wait
@pass_state
def diff(
    state: State,
    first: str,
    second: str | None,
    collection: str | None,
    sample: int,
    base_path: str | None,
    no_wait: bool,
) -> Document | None:
    """Compare two snapshots, or one with the live store.

    Tells what became of FIRST on the way to SECOND; without SECOND that is the store as it is now. "live" stands for it
    as well: "diff live ID" tells what a restore of ID would change. Nothing is changed by looking.

    By collection: points added, removed, and changed, in vector, in payload or in both; the first ids of each kind; how
    far vectors turned (drift: 1 - cosine, 0 is the same direction, 2 the opposite one). Content counts, not versions or
    times. What is equal is not read, nor is a snapshot of which the live store still knows what changed since; others
    take room in the data directory while they are read. This does not look for damage: "verify" does.
    """
    started = state.client.snapshots.diff(
        first, second, collection=collection, sample_size=sample, base_path=base_path, wait=False
    )
    document = conclude(state, started, _DIFF_KEYS, wait=not no_wait)
    if document is None or "operation_id" in document or state.output_format not in ("table", "csv"):
        return document
    return as_rows(document)


def as_rows(document: Document) -> Document:
    """A comparison as a row for each collection, with the rest of it in a line."""
    rows = [Document(pick(row, _ROW_KEYS), notes="; ".join(row.notes)) for row in document.collections]
    aliases = [f"{each.alias}: {each.first or 'none'} -> {each.second or 'none'}" for each in document.aliases]
    rest = {key: value for key, value in document.items() if not isinstance(value, list)}
    warnings = {"warnings": document.warnings} if document.get("warnings") else {}
    return Document(
        **rest, total=len(rows), collections=rows, aliases=", ".join(aliases) or None, **warnings,
        uncovered=", ".join(document.uncovered) or None,
    )  # fmt: skip
