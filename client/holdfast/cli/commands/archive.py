"""``storage archive …``: status, flush, prune."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli import exit_codes
from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_snapshots
from holdfast.cli.confirm import confirm_plan
from holdfast.cli.follow import conclude
from holdfast.cli.options import dry_run, no_wait
from holdfast.cli.state import State
from holdfast.cli.types import DURATION
from holdfast.documents import Document
from holdfast.units import format_size

if TYPE_CHECKING:
    from datetime import timedelta

_FLUSH_KEYS = ("through_sequence", "through_time", "bytes", "duration_ms", "status")
_PRUNE_KEYS = ("runs", "kept", "deleted", "freed_bytes", "begins", "duration_ms", "status")
_UNHEALTHY = ("behind", "failing", "foreign")


@click.command(
    cls=Command, examples=["holdfast storage archive status", "holdfast storage archive status --format yaml"]
)
@pass_state
def status(state: State) -> Document:
    """Show how far the log is archived.

    What is waiting and since when, what the archive holds, and what it does not have: as it was looked over last, with
    every round that wrote there, with each flush and prune, and once an hour. Where the log is archived is said by the
    daemon's settings: --archive-path. Exits with 1 while archiving is behind, failing or foreign.
    """
    found = state.client.archive.status()
    if found.state in _UNHEALTHY:
        state.exit_code = exit_codes.FAILURE
    return found


@click.command(cls=Command, examples=["holdfast storage archive flush"])
@no_wait
@pass_state
def flush(state: State, no_wait: bool) -> Document | None:
    """Bring all of the log into its archive now.

    What was acknowledged before this command is in the archive when it returns: for before a planned move, when an
    interval is too long to lose.
    """
    return conclude(state, state.client.archive.flush(wait=False), _FLUSH_KEYS, wait=not no_wait)


@click.command(
    cls=Command,
    examples=[
        "holdfast storage archive prune --dry-run --format table",
        "holdfast storage archive prune --keep-within 30d --confirm",
        "holdfast storage archive prune --before-snapshot snap-2024-01-20-020000 --confirm",
    ],
)
@click.option(
    "--before-snapshot",
    metavar="ID",
    shell_complete=complete_snapshots,
    help="Keep what rolls this one and later ones forward.  [default: every snapshot that is known]",
)
@click.option(
    "--keep-within",
    type=DURATION,
    metavar="DURATION",
    help="Also keep what is younger, counted from the archive's end.",
)
@click.option("--confirm", "confirmed", is_flag=True, help="Do not ask.")
@dry_run
@no_wait
@pass_state
def prune(
    state: State,
    before_snapshot: str | None,
    keep_within: timedelta | None,
    confirmed: bool,
    dry_run: bool,
    no_wait: bool,
) -> Document | None:
    """Remove from the archive what no snapshot needs.

    A snapshot needs the log from its own moment on: what lies in front of the oldest goes, WAL segments as a whole,
    oldest first; "reasons" says why the rest stays. What the log itself still has stays, and so does all of an archive
    that is the only backup of a collection: that is refused. One that is missing or damaged keeps what it would need
    until it is deleted. From then on the archive begins later, which is no gap: "archive status" says so.

    --dry-run tells all that would be done. On a terminal it asks first; elsewhere --confirm is required.
    """
    if keep_within is not None and not keep_within:
        raise click.UsageError("--keep-within 0 keeps nothing: leave it out, or give it a duration")
    archive = state.client.archive
    if dry_run or not confirmed:
        plan = archive.prune(before_snapshot=before_snapshot, keep_within=keep_within, validate_only=True)
        if dry_run:
            return _as_table(state, state.shown(plan, _PRUNE_KEYS))
        confirm_plan(state, plan, _question(plan))
    started = archive.prune(before_snapshot=before_snapshot, keep_within=keep_within, wait=False)
    document = conclude(state, started, _PRUNE_KEYS, wait=not no_wait)
    return document if document is None or "operation_id" in document else _as_table(state, document)


def _question(plan: Document) -> str:
    """What a person is asked before anything is removed."""
    what = "1 WAL segment" if plan.deleted == 1 else f"{plan.deleted} WAL segments"
    return f"Remove {what} ({format_size(plan.freed_bytes)}) from the archive and keep {plan.kept}?"


def _as_table(state: State, document: Document) -> Document:
    """A prune as rows of its runs, where rows are asked for."""
    if state.output_format not in ("table", "csv"):
        return document
    rows = [Document(row, reasons="; ".join(row.reasons)) for row in document.runs]
    begins = document.begins and document.begins.sequence
    return Document({**document, "runs": rows, "begins": begins}, total=len(rows))
