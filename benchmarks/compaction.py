"""The rows of the report about compaction: what it takes, and what it costs others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.pairs import spread
from benchmarks.report import Row, at_least, at_most, quantity

Result = dict[str, Any]
MB = 1e6
ALLOWANCE = 0.002
"""Twice the p99 of an idle store means: and two milliseconds."""


def alone(runs: list[Result]) -> Iterator[Row]:
    """Compactions, each with `cp` of its result and a sync behind it."""
    rounds = [each for run in runs for each in run["rounds"]]
    rates = spread([each["after"] / each["compact"] / MB for each in rounds])
    copied = spread([each["after"] / each["copy"] / MB for each in rounds])
    ratio = spread([each["copy"] / each["compact"] for each in rounds])
    first = runs[0]["rounds"][0]
    what = f"compacting {runs[0]['rows']:,} rows of which a third died, {first['before'] / MB:,.0f} MB, to what is left"
    yield at_least(what, quantity(rates, "MB/s"), f"cp + sync of that: {quantity(copied, 'MB/s')}", ratio, 0.5)
    left = spread([each["after"] / each["before"] for each in rounds])
    yield Row("what it leaves of the bytes", quantity(left, "×", 3), "two thirds of the rows live")
    peak = spread([(run["memory_peak"] - run["memory_before"]) / MB for run in runs])
    before = quantity(spread([run["memory_before"] / MB for run in runs]), "MB")
    yield Row("daemon memory meanwhile (peak, not file-backed)", quantity(peak, "MB"), f"above the ingest's {before}")


def beside(runs: list[Result]) -> Iterator[Row]:
    """Upserts and searches while one compaction follows the other, against the same load alone."""
    made = sum(run["compactions"] for run in runs)
    for what, which in ((f"upserts of 10 rows beside {made} compactions", "upserts"), ("searches", "searches")):
        pairs = [(run[f"{which}_beside"], run[f"{which}_alone"]) for run in runs]
        p99, idle = (spread([pair[side]["p99"] * 1e3 for pair in pairs]) for side in (0, 1))
        ratio = spread([(one["p99"] - ALLOWANCE) / other["p99"] for one, other in pairs])
        against = f"alone: {quantity(idle, 'ms', 1)}; the ratio leaves out 2 ms"
        yield at_most(f"p99 of {what}", quantity(p99, "ms", 1), against, ratio, 2)
        kept = spread([one["rate"] / other["rate"] for one, other in pairs])
        rate, before = (spread([pair[side]["rate"] for pair in pairs]) for side in (0, 1))
        yield Row("their rate", quantity(rate, "/s"), f"alone: {quantity(before, '/s')}", quantity(kept, "×", 2))
