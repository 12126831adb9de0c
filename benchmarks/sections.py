"""The sections of the report: what is run in turns with what, and the target that each figure is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks import coldness, compaction, floor, snapshots, startup, workplace
from benchmarks.pairs import Pairs, Spread, alternate, spread
from benchmarks.report import Row, at_least, below, quantity
from benchmarks.runs import PEERS, RunFailed, Runner

Result = dict[str, Any]
CLIENTS = (1, 32, 64)
REDIS_PIPELINED = 95_000
MB = 1e6


@dataclass(frozen=True)
class Scale:
    """How much is run: rows of a bulk run, of a long run, of a store to be backed up, pairs of each, seconds of a timed
    load."""

    rows: int
    long_rows: int
    snapshot_rows: int
    pairs: int
    long_pairs: int
    seconds: float
    queries: int


@dataclass
class Suite:
    """One run of the benchmarks. `notes` gathers what the tables have no room for."""

    runner: Runner
    scale: Scale
    notes: list[str]

    def floor(self) -> Iterator[Row]:
        """The machine by itself."""
        root, seconds = self.runner.root, self.scale.seconds
        for size, name in ((floor.SMALL, "4 KiB"), (floor.LARGE, "1.6 MB")):
            taken = [floor.appends(root, size, seconds) for _ in range(self.scale.pairs)]
            rate = spread([one.rate for one in taken])
            speed = (
                f"{rate.median * size / MB:,.0f} MB/s, p50 {spread([one.p50 for one in taken]).median * 1e6:,.0f} µs"
            )
            yield Row(f"append of {name} + fdatasync", quantity(rate, "/s"), speed)
        written = spread([floor.sequential(root, 1 << 30) / MB for _ in range(self.scale.pairs)])
        yield Row("sequential writing, 1 GiB + fdatasync", quantity(written, "MB/s"))
        for clients in CLIENTS:
            loads = [floor.empty_rpc(root, clients, seconds) for _ in range(self.scale.pairs)]
            rate = spread([one.rate for one in loads])
            yield Row(f"empty RPC, {clients} clients", quantity(rate, "/s"), f"p50 {loads[0].p50 * 1e6:,.0f} µs")

    def peers(self) -> Iterator[Row]:
        """The peers by themselves, in turns."""
        runs: dict[str, list[Result]] = {name: [] for name in PEERS}
        for _ in range(self.scale.pairs):
            for name, kept in runs.items():
                kept.append(self.runner.peer(name, "--rows", str(self.scale.rows)))
        yield from (self._peer_row(name, kept) for name, kept in runs.items())

    def _peer_row(self, name: str, runs: list[Result]) -> Row:
        written = spread([run["written_per_row"] for run in runs]).median
        figure = quantity(spread([run["rate"] for run in runs]), "rows/s")
        return Row(
            f"{name} ({runs[0]['version']})", figure, f"{written:,.0f} bytes written per row; {runs[0]['durable']}"
        )

    def bulk(self) -> Iterator[Row]:
        """Batches of 1,000 rows, each way of ours in turns with each peer."""
        yield self._bulk("stream", "RocksDB", 1.3)
        yield self._bulk("batch", "RocksDB", 0.9)
        yield from (self._bulk("stream", name, None) for name in PEERS if name != "RocksDB")
        yield self._writer()
        yield self._disk_bound()

    def _bulk(self, way: str, peer: str, target: float | None) -> Row:
        count = ["--rows", str(self.scale.rows)]
        pairs = alternate(
            lambda: self.runner.ours("bulk", way, *count), lambda: self.runner.peer(peer, *count), self.scale.pairs
        )
        self._note_writing(f"{peer} ({pairs.other[0]['version']})", pairs.other)
        return _compared(f"upserts, {way}, batches of 1,000", peer, pairs, target)

    def _note_writing(self, name: str, runs: list[Result]) -> None:
        written = spread([run["written_per_row"] for run in runs]).median
        note = f"{name}: {written:,.0f} bytes written per row while ingesting; {runs[0]['durable']}"
        if not any(known.startswith(f"{name}:") for known in self.notes):
            self.notes.append(note)

    def _writer(self) -> Row:
        runs = [self.runner.ours("bulk", "writer", "--rows", str(self.scale.rows)) for _ in range(self.scale.pairs)]
        rate = spread([run["rate"] for run in runs])
        met = rate.median >= REDIS_PIPELINED
        ratio = f"{rate.median / REDIS_PIPELINED:.2f} ×"
        return Row(
            "single upserts through writer()",
            quantity(rate, "rows/s"),
            "Redis, pipelined: 95,000/s",
            ratio,
            ">= 95,000/s",
            met,
        )

    def _disk_bound(self) -> Row:
        """How much of what the disk would allow the streamed upserts use; run and floor in turns."""
        pairs = alternate(
            lambda: self.runner.ours("bulk", "stream", "--rows", str(self.scale.rows)),
            lambda: {"rate": floor.sequential(self.runner.root, 1 << 30)},
            self.scale.pairs,
        )
        self._note_writing(f"Holdfast ({pairs.ours[0]['version']})", pairs.ours)
        if not all(run["written_per_row"] for run in pairs.ours):
            raise RunFailed("the kernel counted no bytes written by the daemon, so there is no bound to compute")
        bounds = [disk["rate"] / run["written_per_row"] for run, disk in zip(pairs.ours, pairs.other, strict=True)]
        used = spread([run["rate"] / bound for run, bound in zip(pairs.ours, bounds, strict=True)])
        per_row = spread([run["written_per_row"] for run in pairs.ours])
        against = f"disk speed ÷ bytes per row: {quantity(spread(bounds), 'rows/s')}"
        return Row("bytes written per row, stream", quantity(per_row, "B"), against, quantity(used, "×", 2))

    def sustained(self) -> Iterator[Row]:
        """Many rows into one collection, in turns with RocksDB."""
        count = ["--rows", str(self.scale.long_rows)]
        pairs = alternate(
            lambda: self.runner.ours("bulk", "stream", *count),
            lambda: self.runner.peer("RocksDB", *count),
            self.scale.long_pairs,
        )
        yield _compared(f"{self.scale.long_rows:,} rows streamed", "RocksDB", pairs, 1.0)
        yield _chunks("rows/s per 100,000 rows, Holdfast", pairs.ours)
        yield _chunks("rows/s per 100,000 rows, RocksDB", pairs.other)
        yield _memory(pairs.ours)

    def single(self) -> Iterator[Row]:
        """One row per RPC, in turns with the empty RPC."""
        yield from (self._single(clients) for clients in CLIENTS)

    def _single(self, clients: int) -> Row:
        seconds = self.scale.seconds
        load = ["--clients", str(clients), "--seconds", str(seconds)]
        pairs = alternate(
            lambda: self.runner.ours("single", *load),
            lambda: {"rate": floor.empty_rpc(self.runner.root, clients, seconds).rate},
            self.scale.pairs,
        )
        self.notes.append(f"one upsert per RPC, {clients} clients: p50 {pairs.ours[0]['p50'] * 1e6:,.0f} µs, "
                          f"p99 {pairs.ours[0]['p99'] * 1e6:,.0f} µs")  # fmt: skip
        return _compared(
            f"one durable upsert per RPC, {clients} clients", "empty RPC", pairs, 0.7 if clients != 32 else None
        )

    def restart(self) -> Iterator[Row]:
        """After kill -9, after a replay, after an orderly stop."""
        runs = [self.runner.ours("restart", "--rows", str(self.scale.long_rows)) for _ in range(self.scale.long_pairs)]
        count = f"{self.scale.long_rows:,} rows"
        yield _against_ingest(f"start after kill -9, recovering {count}", runs, "recovery")
        for what, step in (
            (f"replay of {count} to a restored copy", "replay"),
            (f"a moment of {count}, rolled forward into a new collection", "moment"),
        ):
            yield _against_ingest(what, runs, step)
            yield _against_recovery(what, runs, step)
        beyond = spread([max(0.0, run["sealed"] - run["empty"]) for run in runs])
        yield below(
            f"opening {count}, sealed", beyond, "s", f"beyond an empty start of {runs[0]['empty']:.2f} s", 0.5, 2
        )

    def snapshot(self) -> Iterator[Row]:
        """What a backup takes and what it costs others; finding a moment in the log."""
        count = ["--rows", str(self.scale.snapshot_rows)]
        runs = [self.runner.ours("snapshot", *count) for _ in range(self.scale.long_pairs)]
        yield from snapshots.full(runs)
        yield from snapshots.verified(runs)
        yield from snapshots.compressed(runs)
        yield from snapshots.increment(runs)
        yield snapshots.memory(runs)
        loads = ["--rows", str(self.scale.rows), "--seconds", str(self.scale.seconds * 4)]
        yield from snapshots.beside([self.runner.ours("beside", *loads) for _ in range(self.scale.pairs)])
        found = [self.runner.ours("find", "--rows", str(self.scale.long_rows)) for _ in range(self.scale.long_pairs)]
        yield from snapshots.found(found)

    def compact(self) -> Iterator[Row]:
        """What it takes to drop dead rows, and what that costs others."""
        runs = [
            self.runner.ours("compact", "--rows", str(self.scale.snapshot_rows)) for _ in range(self.scale.long_pairs)
        ]
        yield from compaction.alone(runs)
        loads = ["--rows", str(self.scale.rows), "--seconds", str(self.scale.seconds * 4)]
        yield from compaction.beside([self.runner.ours("beside_compact", *loads) for _ in range(self.scale.pairs)])

    def cold(self) -> Iterator[Row]:
        """What it costs others to read data that is not in memory."""
        loads = ["--rows", str(self.scale.snapshot_rows), "--seconds", str(self.scale.seconds)]
        yield from coldness.beside([self.runner.ours("cold", *loads) for _ in range(self.scale.long_pairs)])

    def search(self) -> Iterator[Row]:
        """Single exact queries, in turns with the peers that search."""
        count = ["--rows", str(self.scale.rows), "--queries", str(self.scale.queries)]
        yield from (self._search(peer, count) for peer in ("Qdrant Edge", "LanceDB"))

    def _search(self, peer: str, count: list[str]) -> Row:
        pairs = alternate(
            lambda: self.runner.ours("bulk", "stream", *count), lambda: self.runner.peer(peer, *count), self.scale.pairs
        )
        return _searched(self.scale.rows, peer, pairs)

    def startup(self) -> Iterator[Row]:
        """What a shell waits for."""
        runs = max(10, self.scale.pairs * 5)
        text = startup.help_text(runs)
        with workplace.fresh(self.runner.root) as directory:
            status = startup.one_command(directory, runs)
        above = spread([(a - b) * 1e3 for a, b in zip(text.ours, text.other, strict=True)])
        whole, bare = spread([one * 1e3 for one in status.ours]), spread([one * 1e3 for one in text.other])
        against = f"bare interpreter: {quantity(bare, 'ms')}"
        yield below("holdfast --help, above the bare interpreter", above, "ms", against, 60)
        yield below("holdfast storage status on the socket", whole, "ms", against, 150)


def _rate(run: Result) -> float:
    return float(run["rate"])


def _compared(what: str, peer: str, pairs: Pairs[Result], target: float | None) -> Row:
    unit = "/s" if "RPC" in what else "rows/s"
    figure = quantity(spread([_rate(run) for run in pairs.ours]), unit)
    against = f"{peer}: {quantity(spread([_rate(run) for run in pairs.other]), unit)}"
    ratio = pairs.ratios(_rate)
    return (
        Row(what, figure, against, quantity(ratio, "×", 2))
        if target is None
        else at_least(what, figure, against, ratio, target)
    )


def _chunks(what: str, runs: list[Result]) -> Row:
    """The rate of each chunk, medians over the runs; flat is: the last third is no slower than 0.9 of the first."""
    rates = [spread([run["chunks"][i] for run in runs]).median for i in range(len(runs[0]["chunks"]))]
    third = max(1, len(rates) // 3)
    flat = spread(rates[-third:]).median / spread(rates[:third]).median
    ours = what.endswith("Holdfast")
    figure = " ".join(f"{rate / 1e3:,.0f}k" for rate in rates)
    return Row(
        what,
        figure,
        "last third ÷ first third",
        f"{flat:.2f} ×",
        ">= 0.9 ×" if ours else "",
        flat >= 0.9 if ours else None,
    )


def _memory(runs: list[Result]) -> Row:
    """The daemon's memory in each chunk, medians over the runs; flat is: the last third takes what the first did.

    Per million vectors: what it grew by from the first third to the last, over the rows between their middles.
    """
    peaks = [spread([run["memory"][i] for run in runs]).median / MB for i in range(len(runs[0]["memory"]))]
    third = max(1, len(peaks) // 3)
    first, last = spread(peaks[:third]).median, spread(peaks[-third:]).median
    between = runs[0]["rows"] / 1e6 * (len(peaks) - third) / len(peaks)
    grown = f"{(last - first) / between:+,.0f} MB per million vectors; " if between else ""
    return Row(
        "daemon memory per 100,000 rows (peak, not file-backed)",
        f"{' '.join(f'{peak:,.0f}' for peak in peaks)} MB",
        f"{grown}{spread([run['memory_before'] / MB for run in runs]).median:,.0f} MB when empty",
        f"{last / first:.2f} ×",
    )


def _against_ingest(what: str, runs: list[Result], step: str) -> Row:
    taken = spread([run[step] for run in runs])
    ratio = spread([run["ingest"] / run[step] for run in runs])
    rate = spread([run["rows"] / run["ingest"] for run in runs])
    figure = f"{quantity(taken, 's', 2)} = {runs[0]['rows'] / taken.median:,.0f} rows/s"
    return at_least(what, figure, f"ingest: {quantity(rate, 'rows/s')}", ratio, 2.0)


def _against_recovery(what: str, runs: list[Result], step: str) -> Row:
    """Rows/s, against those of a recovery that finds its rows in the log, and none of them in a segment."""
    rate = spread([run["rows"] / run[step] for run in runs])
    recovery = spread([run["log_rows"] / run["log_alone"] for run in runs])
    ratio = spread([run["rows"] / run[step] * run["log_alone"] / run["log_rows"] for run in runs])
    against = f"recovery of {runs[0]['log_rows']:,} rows in the log: {quantity(recovery, 'rows/s')}"
    return at_least(f"{what}, against recovery", quantity(rate, "rows/s"), against, ratio, 1.0)


def _searched(rows: int, peer: str, pairs: Pairs[Result]) -> Row:
    def per_second(run: Result) -> float:
        return float(1 / run["search"]["p50"])

    def latency(runs: list[Result]) -> Spread:
        return spread([run["search"]["p50"] * 1e3 for run in runs])

    recall = min(run["search"]["recall"] for run in pairs.ours)
    against = f"{peer}: {quantity(latency(pairs.other), 'ms', 2)}"
    what = f"one exact query, k=10, {rows:,} rows (recall {recall:.3f})"
    return Row(what, quantity(latency(pairs.ours), "ms", 2), against, quantity(pairs.ratios(per_second), "×", 2))
