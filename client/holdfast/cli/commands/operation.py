"""``operation …``: list, show, watch, cancel."""

from __future__ import annotations

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_operations
from holdfast.cli.follow import follow
from holdfast.cli.state import State
from holdfast.documents import Document

_STATES = ["pending", "running", "succeeded", "failed", "cancelled", "interrupted"]
_LIST_KEYS = ("id", "kind", "state", "phase", "progress_percent", "collections", "created_at", "ended_at", "error")


@click.command(
    cls=Command, examples=["holdfast operation list", "holdfast operation list --state running --format table"]
)
@click.option("--state", "states", type=click.Choice(_STATES), multiple=True, help="Only these; may be repeated.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="At most so many."
)
@pass_state
def list_operations(state: State, states: tuple[str, ...], limit: int) -> Document:
    """List operations, newest first.

    Ended ones are kept for 30 days.
    """
    found = state.client.operations.list(states=states, limit=limit)
    return Document(operations=[state.shown(row, _LIST_KEYS) for row in found], total=len(found))


@click.command(cls=Command, examples=["holdfast operation show op-17"])
@click.argument("operation", shell_complete=complete_operations)
@pass_state
def show(state: State, operation: str) -> Document:
    """Show one operation."""
    return state.client.operations.get(operation).document()


@click.command(cls=Command, examples=["holdfast operation watch op-17 -v"])
@click.argument("operation", shell_complete=complete_operations)
@pass_state
def watch(state: State, operation: str) -> Document | None:
    """Follow an operation to its end.

    Shows its result, or fails as it failed. Ctrl-C stops watching; a second one within two seconds cancels it.
    """
    return follow(state, state.client.operations.get(operation))


@click.command(cls=Command, examples=["holdfast operation cancel op-17"])
@click.argument("operation", shell_complete=complete_operations)
@pass_state
def cancel(state: State, operation: str) -> Document:
    """Ask an operation to stop.

    It ends as cancelled and leaves nothing behind; in its final phase it can no longer be cancelled.
    """
    asked = state.client.operations.cancel(operation)
    return Document(id=asked.id, kind=asked.kind, state=asked.state, status="cancelling" if not asked.done else "ended")
