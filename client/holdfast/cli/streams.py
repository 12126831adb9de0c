"""Standard streams as a command needs them: those that the caller closed, and the encoding of the others."""

from __future__ import annotations

import io
import os
import sys

_STANDARD_ERROR = 2


def replace_closed_streams() -> None:
    """Put /dev/null in the place of the descriptors 0 to 2 that are closed, and of a closed standard error.

    Else the next file that is opened, such as the socket, would take the number, and what is said on standard error
    would go to it. ``sys.stdin`` and ``sys.stdout`` stay None: to read or write what is closed is an error.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= _STANDARD_ERROR:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_STANDARD_ERROR, "w")


def speak_utf8() -> None:
    """Write and read UTF-8 on standard output and input, whatever the locale: JSON is nothing else, and each id can be
    shown. Bytes of a file's name that are not UTF-8 go through as they are."""
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
