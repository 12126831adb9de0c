"""``storage snapshot pin``, ``unpin`` and ``describe``."""

from __future__ import annotations

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_snapshots
from holdfast.cli.state import State
from holdfast.documents import Document

_KEYS = ("id", "path", "pinned", "description")


@click.command(cls=Command, examples=["holdfast storage snapshot pin snap-2024-01-20-103045"])
@click.argument("snapshot", shell_complete=complete_snapshots)
@pass_state
def pin(state: State, snapshot: str) -> Document:
    """Keep a snapshot from being deleted.

    A pinned one is neither pruned, deleted nor consolidated away, and so is not what it builds on. The daemon keeps
    that, not the file: whoever deletes that one by hand is not asked.
    """
    return _shown(state, state.client.snapshots.update(snapshot, pinned=True))


@click.command(cls=Command, examples=["holdfast storage snapshot unpin snap-2024-01-20-103045"])
@click.argument("snapshot", shell_complete=complete_snapshots)
@pass_state
def unpin(state: State, snapshot: str) -> Document:
    """Let a pinned snapshot be deleted again."""
    return _shown(state, state.client.snapshots.update(snapshot, pinned=False))


@click.command(
    cls=Command,
    examples=[
        'holdfast storage snapshot describe snap-2024-01-20-103045 "before the migration to 768 dimensions"',
        "holdfast storage snapshot describe snap-2024-01-20-103045 --remove",
    ],
)
@click.argument("snapshot", shell_complete=complete_snapshots)
@click.argument("text", required=False)
@click.option("--remove", is_flag=True, help="Take back what was said.")
@pass_state
def describe(state: State, snapshot: str, text: str | None, remove: bool) -> Document:
    """Say what a snapshot is for.

    TEXT is one line of at most 1000 bytes; it takes the place of what was said before.
    """
    if (text is None) is not remove:
        raise click.UsageError("give a TEXT, or --remove")
    return _shown(state, state.client.snapshots.update(snapshot, description=text or ""))


def _shown(state: State, document: Document) -> Document:
    return state.shown(document, _KEYS)
