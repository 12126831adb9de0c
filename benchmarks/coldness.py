"""The rows of the report about data that is not in memory: what reading it costs others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.ours.cold import ROUNDS
from benchmarks.pairs import spread
from benchmarks.report import Row, below, quantity

Result = dict[str, Any]
LIMIT_MS = 5


def beside(runs: list[Result]) -> Iterator[Row]:
    """A reader of single points beside scans of cold data, and beside the same scans of warm data."""
    rows = runs[0]["rows"]
    alone = spread([run["alone"]["p99"] * 1e3 for run in runs])
    machine = spread([run["machine"]["p99"] * 1e3 for run in runs])
    worst = quantity(spread([run["machine"]["longest"] * 1e3 for run in runs]), "ms", 1)
    what = "p99 of how late a thread wakes that only sleeps, beside plain reading of the same files"
    yield Row(what, quantity(machine, "ms", 1), f"the latest: {worst}; without a daemon: what the machine does")
    for what, which in ((f"an exact search of {rows:,} cold rows", "search"), ("a get of 1,000 scattered ones", "get")):
        cold, warm = ([run[f"{which}_{how}"] for run in runs] for how in ("cold", "warm"))
        p99 = spread([each["p99"] * 1e3 for each in cold])
        idle = spread([each["p99"] * 1e3 for each in warm])
        against = f"beside a warm one: {quantity(idle, 'ms', 1)}; alone: {quantity(alone, 'ms', 1)}"
        yield below(f"p99 of a reader of single points beside {what}", p99, "ms", against, LIMIT_MS, 1)
        longest = spread([each["longest"] * 1e3 for each in cold])
        taken = spread([each["seconds"] / ROUNDS for each in cold])
        quick = quantity(spread([each["seconds"] / ROUNDS for each in warm]), "s", 2)
        yield Row("the longest of its reads", quantity(longest, "ms", 1), f"{sum(e['reads'] for e in cold):,} reads")
        yield Row("what the scan takes", quantity(taken, "s", 2), f"warm: {quick}")
