"""The rows of the report about backups: what they take, what they cost others, and finding a moment in the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.pairs import Spread, spread
from benchmarks.report import Row, at_least, at_most, quantity

Result = dict[str, Any]
MB = 1e6
LARGEST_INCREMENT = 0.03
"""Of the full snapshot's time and size, after a hundredth of the rows has changed."""


def full(runs: list[Result]) -> Iterator[Row]:
    """Full snapshots and restores, each in turns with `cp` and a sync of the snapshot's file."""
    size, rows = runs[0]["full_bytes"], f"{runs[0]['rows']:,} rows, {runs[0]['full_bytes'] / MB:,.0f} MB"
    for what, ours, other, target in (
        (f"full snapshot of {rows}", "full", "copy", 0.9),
        (f"restore of {rows}, under another name", "restore", "restore_copy", 0.8),
    ):
        taken, copied = spread(_each(runs, ours)), spread(_each(runs, other))
        against = f"cp + sync: {quantity(copied, 's', 2)} = {size / copied.median / MB:,.0f} MB/s"
        figure = f"{quantity(taken, 's', 2)} = {size / taken.median / MB:,.0f} MB/s"
        yield at_least(what, figure, against, _ratios(runs, other, ours), target)


def verified(runs: list[Result]) -> Iterator[Row]:
    """Verifications of every checksum in turns with plain reading, both from the disk; and one of every row."""
    size = runs[0]["full_bytes"]
    ours, other = spread([size / MB / taken for taken in _each(runs, "verify")]), _each(runs, "read")
    read = f"reading it: {quantity(spread([size / MB / taken for taken in other]), 'MB/s')}"
    what = f"verifying every checksum of {size / MB:,.0f} MB, from the disk"
    yield Row(what, quantity(ours, "MB/s"), read, quantity(_ratios(runs, "read", "verify"), "×", 2))
    decoded = spread([run["verify_rows"] for run in runs])
    rate = f"{quantity(decoded, 's', 2)} = {runs[0]['rows'] / decoded.median:,.0f} rows/s"
    whole = f"every checksum: {quantity(spread(_each(runs, 'verify')), 's', 2)}"
    yield Row("verifying every row besides (level 3)", rate, whole)


def compressed(runs: list[Result]) -> Iterator[Row]:
    """`--compress` against `gzip -1` of the plain snapshot, and what is left of the bytes."""
    taken, gzip = spread([run["compressed"] for run in runs]), spread([run["gzip"] for run in runs])
    ratio = spread([run["gzip"] / run["compressed"] for run in runs])
    yield at_least(
        "the same, compressed", quantity(taken, "s", 2), f"gzip -1, sync: {quantity(gzip, 's', 2)}", ratio, 10
    )
    share = spread([run["compressed_bytes"] / run["full_bytes"] for run in runs])
    theirs = spread([run["gzip_bytes"] / run["full_bytes"] for run in runs])
    yield Row("what compressing leaves", quantity(share, "×", 3), f"gzip -1: {quantity(theirs, '×', 3)}")
    half = spread([run["half_share"] for run in runs])
    yield Row("what it leaves of vectors made in float16", quantity(half, "×", 3))


def increment(runs: list[Result]) -> Iterator[Row]:
    """An increment after a hundredth of the rows changed, and the restore of the chain."""
    what = f"increment after {runs[0]['changed']:,} of {runs[0]['rows']:,} rows changed"
    whole = [spread(run["full"]).median for run in runs]
    share = spread([run["increment"] / one for run, one in zip(runs, whole, strict=True)])
    taken = quantity(spread([run["increment"] for run in runs]), "s", 2)
    yield at_most(what, taken, f"full: {quantity(spread(whole), 's', 2)}", share, LARGEST_INCREMENT)
    sizes = quantity(spread([run["increment_bytes"] / MB for run in runs]), "MB", 2)
    share = spread([run["increment_bytes"] / run["full_bytes"] for run in runs])
    yield at_most("its size", sizes, f"full: {runs[0]['full_bytes'] / MB:,.0f} MB", share, LARGEST_INCREMENT)
    restored, alone = spread([run["restore_chain"] for run in runs]), spread(_each(runs, "restore"))
    ratio = spread([spread(run["restore"]).median / run["restore_chain"] for run in runs])
    against = f"of the full one alone: {quantity(alone, 's', 2)}"
    yield Row("restore of the chain of both", quantity(restored, "s", 2), against, quantity(ratio, "×", 2))


def memory(runs: list[Result]) -> Row:
    """What all of that took of the daemon's memory."""
    peak = spread([(run["memory_peak"] - run["memory_before"]) / MB for run in runs])
    before = quantity(spread([run["memory_before"] / MB for run in runs]), "MB")
    return Row("daemon memory meanwhile (peak, not file-backed)", quantity(peak, "MB"), f"above the ingest's {before}")


def beside(runs: list[Result]) -> Iterator[Row]:
    """Upserts while snapshots are written: p99 and throughput against the same load alone."""
    made = sum(run["snapshots"] for run in runs)
    p99, alone = (spread([run[which]["p99"] * 1e3 for run in runs]) for which in ("beside", "alone"))
    ratio = spread([run["beside"]["p99"] / run["alone"]["p99"] for run in runs])
    what = f"p99 of upserts of 10 rows beside {made} full snapshots of {runs[0]['rows']:,} rows"
    yield at_most(what, quantity(p99, "ms", 1), f"alone: {quantity(alone, 'ms', 1)}", ratio, 2)
    rate, before = (spread([run[which]["rate"] for run in runs]) for which in ("beside", "alone"))
    kept = spread([run["beside"]["rate"] / run["alone"]["rate"] for run in runs])
    yield at_least("their rate", quantity(rate, "/s"), f"alone: {quantity(before, '/s')}", kept, 0.7)


def found(runs: list[Result]) -> Iterator[Row]:
    """Searching and counting the log, each in turns with reading its files, out of a cold page cache."""
    size = runs[0]["bytes"]
    for what, ours, other in (
        (f"wal grep for one id in {size / MB:,.0f} MB of log", "grep", "grep_read"),
        ("wal dump --stats of the same", "stats", "stats_read"),
    ):
        taken, read = spread(_each(runs, ours)), spread(_each(runs, other))
        figure = f"{quantity(taken, 's', 2)} = {size / taken.median / MB:,.0f} MB/s"
        against = f"reading the files: {quantity(read, 's', 2)} = {size / read.median / MB:,.0f} MB/s"
        yield Row(what, figure, against, quantity(_ratios(runs, other, ours), "×", 2))


def _each(runs: list[Result], name: str) -> list[float]:
    return [taken for run in runs for taken in run[name]]


def _ratios(runs: list[Result], above: str, below: str) -> Spread:
    """The one's readings by the other's, neighbour by neighbour."""
    return spread([a / b for a, b in zip(_each(runs, above), _each(runs, below), strict=True)])
