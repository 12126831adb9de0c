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
    """A long test that begins last leaves the other processors idle: what may take longest comes first."""
    items.sort(key=patience, reverse=True)


def patience(item: pytest.Item) -> tuple[bool, bool]:
    """Whether a test has a time limit of its own, which only long ones need; whether it sweeps or starts a daemon."""
    marks = {mark.name for mark in item.iter_markers()}
    return "timeout" in marks, bool(marks & {"crash", "e2e"})


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect seldom, and never what was imported."""
    gc.set_threshold(*GC_THRESHOLDS)
    gc.collect()
    gc.freeze()
