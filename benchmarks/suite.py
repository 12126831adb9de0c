"""The command line: which sections, how large, on which disk; then the report."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks import data, machine, report, workplace
from benchmarks.ours.daemon import REPOSITORY
from benchmarks.runs import RunFailed, Runner
from benchmarks.sections import Scale, Suite

RESULTS = REPOSITORY / "benchmarks" / "RESULTS.md"
FULL = Scale(
    rows=200_000, long_rows=1_000_000, snapshot_rows=1_200_000, pairs=5, long_pairs=3, seconds=5.0, queries=200
)
QUICK = Scale(rows=30_000, long_rows=200_000, snapshot_rows=100_000, pairs=2, long_pairs=1, seconds=1.0, queries=50)
SECTIONS = {
    "floor": "The machine by itself",
    "peers": "The peers by themselves",
    "bulk": "Bulk upserts",
    "sustained": "A growing collection",
    "single": "One upsert per RPC",
    "restart": "Recovery, replay, opening",
    "snapshot": "Snapshots",
    "compact": "Compaction",
    "cold": "Data that is not in memory",
    "search": "Search",
    "startup": "Command line",
}
BY_DEFAULT = [name for name in SECTIONS if name != "peers"]


def main(arguments: list[str]) -> int:
    """Runs and reports. Exit code 0 when every section was measured, 1 otherwise; a missed target is not a failure."""
    options = _parser().parse_args(arguments)
    workplace.require_disk(options.work)
    rows = data.load(options.data)
    suite = Suite(Runner(options.work, options.data), _scale(options), [])
    described = machine.describe(options.work) | {
        "Rows": f"{rows.origin}, {len(rows.ids):,} base rows, {data.DIMENSIONS} dimensions"
    }
    began = time.perf_counter()
    warm = workplace.warm_up(options.work)
    described["Warm-up"] = f"2 GB written and synced first, at {warm / 1e6:,.0f} MB/s"
    sections, failed = _run(suite, options.only)
    described["Scale"] = f"{suite.scale}; {time.perf_counter() - began:,.0f} s"
    title = "Medians [smallest-largest] of runs in turns, ratios made pair by pair. `README.md` explains each row."
    report.write(options.results, title, described, sections, suite.notes)
    print(f"written to {options.results}", file=sys.stderr)
    return 1 if failed else 0


def _run(suite: Suite, names: list[str]) -> tuple[dict[str, list[report.Row]], bool]:
    sections: dict[str, list[report.Row]] = {}
    failed = False
    for name in names:
        rows = sections[SECTIONS[name]] = []
        try:
            rows.extend(getattr(suite, name)())
        except (RunFailed, SystemExit) as failure:
            rows.append(report.Row("not measured from here on", str(failure).replace("\n", " ")))
            failed = True
        print(f"\n{SECTIONS[name]}\n{report.table(rows)}", flush=True)
    return sections, failed


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else FULL
    if options.rows is None:
        return scale
    return replace(scale, rows=options.rows, long_rows=options.rows * 10, snapshot_rows=options.rows * 12)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py", description="Holdfast, its peers and the machine, side by side."
    )
    parser.add_argument("--quick", action="store_true", help="about two minutes, and figures to match")
    parser.add_argument(
        "--only", nargs="+", choices=SECTIONS, default=BY_DEFAULT, metavar="NAME", help=", ".join(SECTIONS)
    )
    parser.add_argument(
        "--rows", type=int, help="rows of a bulk run; the long runs take ten times as many, backups twelve times"
    )
    parser.add_argument(
        "--data", type=Path, default=_data_directory(), help="real rows (HOLDFAST_BENCH_DATA); else generated ones"
    )
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()), help="a directory on the disk under test"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the report goes")
    return parser


def _data_directory() -> Path | None:
    given = os.environ.get("HOLDFAST_BENCH_DATA")
    return Path(given) if given else data.default_directory(REPOSITORY)
