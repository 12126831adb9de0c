"""Progress of long work on stderr: a bar on a terminal, else a line whenever the phase changes or ten seconds pass."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from holdfast.units import format_size

if TYPE_CHECKING:
    from holdfast.operations import Progress

Show: TypeAlias = "Callable[[Progress], None]"

_LINE_SECONDS = 10.0


@contextmanager
def display(enabled: bool) -> Iterator[Show]:
    """A function that shows progress; one that does nothing unless ``enabled``."""
    if not enabled:
        yield _ignore
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _Lines().show


def describe(progress: Progress) -> str:
    """One line: ``writing 42 % 1.2 GiB/2.9 GiB 310.0 MiB/s ETA 6s``."""
    parts = [progress.phase or progress.state]
    if progress.fraction is not None:
        parts.append(f"{progress.fraction:.0%}".replace("%", " %"))
    if progress.total_bytes:
        parts.append(f"{format_size(progress.done_bytes)}/{format_size(progress.total_bytes)}")
    if progress.total_vectors:
        parts.append(f"{progress.done_vectors:,}/{progress.total_vectors:,} vectors")
    if progress.bytes_per_second:
        parts.append(f"{format_size(progress.bytes_per_second)}/s")
    if progress.eta is not None:
        parts.append(f"ETA {round(progress.eta.total_seconds())}s")
    return "  ".join(parts)


def _ignore(progress: Progress) -> None:
    """Show nothing."""


class _Lines:
    """Progress in a log: one line per phase, and one every ten seconds."""

    def __init__(self) -> None:
        self._phase = ""
        self._shown_at = 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase == self._phase and now - self._shown_at < _LINE_SECONDS:
            return
        self._phase, self._shown_at = progress.phase, now
        print(f"{progress.operation_id}: {describe(progress)}", file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.fields[operation]}"), BarColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, operation="")

        def show(progress: Progress) -> None:
            total = progress.total_bytes or progress.total_vectors or None
            done = progress.done_bytes if progress.total_bytes else progress.done_vectors
            bar.update(
                task, total=total, completed=done, description=describe(progress), operation=progress.operation_id
            )

        yield show
