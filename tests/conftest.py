"""What a whole run has proven, in numbers, at its end."""

from tests.support.crash_count import pytest_sessionfinish, pytest_terminal_summary

__all__ = ["pytest_sessionfinish", "pytest_terminal_summary"]
