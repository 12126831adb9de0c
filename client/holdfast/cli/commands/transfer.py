"""``storage snapshot download`` and ``storage snapshot upload``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_snapshots
from holdfast.cli.state import State
from holdfast.documents import Document
from holdfast.units import format_size

_LINE_SECONDS = 5.0
_TERMINAL_SECONDS = 0.2


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot download latest",
        "holdfast storage snapshot download snap-2024-01-20-020000 --to /mnt/usb/",
    ],
)
@click.argument("snapshot", shell_complete=complete_snapshots)
@click.option("--to", default=".", show_default=True, metavar="PATH", help="A directory or file of this machine.")
@pass_state
def download(state: State, snapshot: str, to: str) -> Document:
    """Copy a snapshot from the daemon to this machine.

    The file appears when it is complete and its SHA-256 holds. A transfer that broke goes on where it broke when the
    same command is run again.
    """
    started = time.perf_counter()
    document = state.client.snapshots.download(snapshot, to, on_bytes=_meter(state))
    return Document(document, duration_ms=round((time.perf_counter() - started) * 1000))


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot upload snap-2024-01-20-020000.gz",
        "holdfast storage snapshot upload /mnt/usb/snap-2024-01-20-020000.gz --path /backups/returned",
    ],
)
@click.argument("file")
@click.option("--path", metavar="DIR", help="Directory on the daemon's machine.  [default: DATA/snapshots]")
@pass_state
def upload(state: State, file: str, path: str | None) -> Document:
    """Copy a snapshot from this machine to the daemon.

    The daemon verifies it before it takes its name. A transfer that broke goes on where it broke when the same command
    is run again.
    """
    started = time.perf_counter()
    document = state.client.snapshots.upload(Path(file), path=path, on_bytes=_meter(state))
    return Document(document, duration_ms=round((time.perf_counter() - started) * 1000))


def _meter(state: State) -> Callable[[int, int], None] | None:
    """With ``-v``: bytes done on stderr, overwritten on a terminal, now and then in a log."""
    if not state.verbose:
        return None
    on_terminal = sys.stderr.isatty()
    every = _TERMINAL_SECONDS if on_terminal else _LINE_SECONDS
    last = [0.0]
    ended = [False]

    def show(done: int, total: int) -> None:
        now = time.monotonic()
        if ended[0] or (now - last[0] < every and done != total):
            return
        last[0], ended[0] = now, done == total
        line = f"{format_size(done)} of {format_size(total)}"
        print(f"\r{line:<40}" if on_terminal else line, end="\n" if done == total or not on_terminal else "",
              file=sys.stderr, flush=True)  # fmt: skip

    return show
