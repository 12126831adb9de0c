"""``storage snapshot download`` and ``storage snapshot upload``."""

from __future__ import annotations

import sys
import time
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
    with _Meter() as meter:
        document = state.client.snapshots.download(snapshot, to, on_bytes=meter.show if state.verbose else None)
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
    with _Meter() as meter:
        shown = meter.show if state.verbose else None
        document = state.client.snapshots.upload(Path(file), path=path, on_bytes=shown)
    return Document(document, duration_ms=round((time.perf_counter() - started) * 1000))


class _Meter:
    """Bytes done on stderr: overwritten on a terminal, now and then in a log. Leaves no line without its end."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._every = _TERMINAL_SECONDS if self._on_terminal else _LINE_SECONDS
        self._last = 0.0
        self._ended = False
        self._line_is_open = False

    def __enter__(self) -> _Meter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._line_is_open:
            print(file=sys.stderr, flush=True)

    def show(self, done: int, total: int) -> None:
        """So much is done."""
        now = time.monotonic()
        if self._ended or (now - self._last < self._every and done != total):
            return
        self._last, self._ended = now, done == total
        self._line_is_open = self._on_terminal and not self._ended
        line = f"{format_size(done)} of {format_size(total)}"
        end = "" if self._line_is_open else "\n"
        print(f"\r{line:<40}" if self._on_terminal else line, end=end, file=sys.stderr, flush=True)
