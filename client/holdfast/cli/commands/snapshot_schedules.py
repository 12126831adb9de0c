"""``storage snapshot schedules``."""

from __future__ import annotations

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.state import State
from holdfast.documents import Document

_KEYS = ("name", "cron", "time_zone", "next_at", "last_at", "outcome", "snapshot_id", "message")


@click.command(
    cls=Command,
    examples=["holdfast storage snapshot schedules", "holdfast storage snapshot schedules --format table"],
)
@pass_state
def schedules(state: State) -> Document:
    """Show the schedules of the daemon's settings.

    When each comes due next, and what became of its last run; -v shows all of it. They are [[schedule]] tables in the
    file that "holdfastd --config" names. While one fails there is an alarm.
    """
    found = state.client.snapshots.schedules()
    return Document(schedules=[state.shown(row, _KEYS) for row in found], total=len(found))
