"""``storage archive …``: status, flush."""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.base import Command, pass_state
from holdfast.cli.follow import conclude
from holdfast.cli.options import no_wait
from holdfast.cli.state import State
from holdfast.documents import Document

_FLUSH_KEYS = ("through_sequence", "through_time", "bytes", "duration_ms", "status")
_UNHEALTHY = ("behind", "failing", "foreign")


@click.command(
    cls=Command, examples=["holdfast storage archive status", "holdfast storage archive status --format yaml"]
)
@pass_state
def status(state: State) -> Document:
    """Show how far the log is archived.

    What is waiting and since when, what the archive holds, and what it does not have: as it was looked over last, with
    every round that wrote there, with each flush, and once an hour. Where the log is archived is said by the daemon's
    settings: --archive-path. Exits with 1 while archiving is behind, failing or foreign.
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
