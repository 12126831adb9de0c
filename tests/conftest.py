"""What a whole run has proven, in numbers, at its end."""

from __future__ import annotations

from collections import Counter

import pytest

COUNTED = {"crash_states": "crash states recovered", "distinct_states": "of them distinct"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up what the crash sweeps have recorded, on however many processes they ran."""
    totals: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                totals.update({name: int(value) for name, value in report.user_properties if name in COUNTED})
    if totals:
        counts = ", ".join(f"{totals[name]:,} {text}" for name, text in COUNTED.items())
        terminalreporter.write_line(f"power cuts: {counts}")
