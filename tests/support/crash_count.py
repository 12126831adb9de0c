"""How many power cuts a run of the tests has recovered from: said at the end of every run, demanded of a whole one.

A pytest plugin. Sweeps record ``crash_states`` and ``distinct_states`` as properties of their tests; the numbers are
added up on however many processes they ran. A run of everything fails below ``LEAST``; one of some files, of a
selection, or one that was broken off, is only told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

LEAST: Mapping[str, int] = {"crash_states": 100_000, "distinct_states": 10_000}
TEXTS = {"crash_states": "crash states", "distinct_states": "of them distinct"}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a whole run that has proven too little. In a process that another one leads, do nothing."""
    if not hasattr(session.config, "workerinput") and missing(session.config, counted(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what the sweeps have recorded."""
    totals = counted(config)
    if totals:
        counts = ", ".join(f"{totals[name]:,} {text}" for name, text in TEXTS.items())
        terminalreporter.write_line(f"power cuts: {counts}")
    for name, least in missing(config, totals).items():
        line = f"error: a whole run needs {least:,} {TEXTS[name]}, this one has {totals[name]:,}"
        terminalreporter.write_line(line, red=True)


def counted(config: pytest.Config) -> Counter[str]:
    """What the tests of this run have recorded."""
    totals: Counter[str] = Counter()
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for reports in reporter.stats.values() if reporter else ():
        for report in reports:
            # The report of a test's teardown repeats what the test has recorded.
            if isinstance(report, pytest.TestReport) and report.when == "call":
                totals.update({name: int(str(value)) for name, value in report.user_properties if name in TEXTS})
    return totals


def missing(config: pytest.Config, totals: Mapping[str, int]) -> dict[str, int]:
    """The numbers that a whole run has to reach and this one, if it is one, has not."""
    if not is_whole(config):
        return {}
    return {name: least for name, least in LEAST.items() if totals.get(name, 0) < least}


def is_whole(config: pytest.Config) -> bool:
    """Whether everything was to run, and nothing stopped it."""
    option = config.option
    chosen = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "stepwise", "collectonly", "maxfail")
    session = config.pluginmanager.get_plugin("session")
    stopped = session is not None and bool(session.shouldstop or session.shouldfail)
    everything = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return everything and not stopped and not any(getattr(option, name, None) for name in chosen)
