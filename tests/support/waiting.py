"""Waiting for another thread."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 20.0


def until(reached: Callable[[], bool]) -> None:
    """Return as soon as ``reached()``; fail after ``PATIENCE_SECONDS``. For what other threads do in their own time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.002)
