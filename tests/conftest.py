"""What a whole run has proven, in numbers, at its end; and a collector of garbage that leaves alone what stays."""

import gc

import pytest

from tests.support.crash_count import pytest_sessionfinish, pytest_terminal_summary

__all__ = ["pytest_collection_finish", "pytest_sessionfinish", "pytest_terminal_summary"]

GC_THRESHOLDS = (20_000, 20, 20)
"""Starts on thousands of disks make many objects and few cycles; but an engine that is dropped keeps its threads until
its own is collected."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect seldom, and never what was imported."""
    gc.set_threshold(*GC_THRESHOLDS)
    gc.collect()
    gc.freeze()
