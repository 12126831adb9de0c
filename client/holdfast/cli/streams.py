"""Standard streams that the caller closed."""

from __future__ import annotations

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
