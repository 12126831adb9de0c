"""What the daemon died of, in its own last words: ``FAULT.log``, written by the handler of fatal signals.

A block that can no longer be read, under a map whose page has left the page cache, ends the process by SIGBUS where it
is touched, and no handler in Python can do anything about it. What can be done is to remember: the next start then
reads every mapped file through calls that fail instead, and sets aside what it finds (RULES 28).
"""

from __future__ import annotations

import os

from .files import FileSystem, replace_file
from .names import Layout

BUS_ERROR = "Bus error"


def last_words(fs: FileSystem, layout: Layout) -> str | None:
    """The first line of the trace that a fatal signal left, such as "Fatal Python error: Bus error"; None without."""
    if not fs.exists(layout.faults):
        return None
    text = fs.read(layout.faults).decode(errors="replace").strip()
    return text.splitlines()[0] if text else None


def open_for_last_words(layout: Layout) -> int:
    """A descriptor of the real file, for the handler of fatal signals; it stays open. Raises OSError.

    For appending: what the last daemon died of is still to be read, and another daemon may be at work here.
    """
    return os.open(layout.faults, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def set_aside(fs: FileSystem, layout: Layout) -> None:
    """Keep the trace as the one of the last fault, and begin anew. Durable on return.

    The file itself stays: the process that is to write into it has opened it.
    """
    replace_file(fs, layout.last_faults, fs.read(layout.faults))
    file = fs.open(layout.faults)
    try:
        file.truncate(0)
        file.sync()
    finally:
        file.close()
