"""What a whole run has proven, in numbers, at its end; the long tests first; garbage collected as seldom as can be."""

import gc

import pytest

from tests.support.crash_count import pytest_sessionfinish, pytest_terminal_summary

__all__ = [
    "pytest_collection_finish",
    "pytest_collection_modifyitems",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
]

GC_THRESHOLDS = (20_000, 20, 20)
"""Starts on thousands of disks make many objects and few cycles; but an engine that is dropped keeps its threads until
its own is collected."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sweeps and daemons come before the rest: a long test that begins last leaves the other processors idle."""
    items.sort(key=lambda item: not any(mark.name in ("crash", "e2e") for mark in item.iter_markers()))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect seldom, and never what was imported."""
    gc.set_threshold(*GC_THRESHOLDS)
    gc.collect()
    gc.freeze()
