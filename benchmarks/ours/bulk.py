"""Bulk upserts through the client library in its three ways: batch by batch, streamed, row by row through a writer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import holdfast
from benchmarks import contender, data
from benchmarks.ours.daemon import REPOSITORY, Daemon

COLLECTION = "benchmark"


class Ours:
    """What the three ways share: a fresh daemon with one collection on disk, its log on and synced (the defaults)."""

    name = "Holdfast"
    version: str
    durable = "acknowledged as durable (WriteResult.durable)"

    def __init__(self, directory: Path, options: Sequence[str] = ()) -> None:
        self.version = commit()
        self.daemon = Daemon(directory, options)
        self.database = holdfast.connect(self.daemon.address)
        self.database.collections.create(COLLECTION, dimensions=data.DIMENSIONS, metric="cosine", storage="disk")
        self.collection = self.database.collection(COLLECTION)

    def search(self, query: data.Matrix, k: int) -> list[str]:
        """The ids of the k nearest rows, by an exact scan."""
        return [hit.id for hit in self.collection.search(query, k=k, exact=True)]

    def key(self, row: str) -> str:
        """Ids are kept as they are."""
        return row

    def count(self) -> int:
        """Rows stored."""
        return int(self.collection.count())

    def bytes_written(self) -> int:
        """Bytes that the daemon has sent to the disk."""
        return self.daemon.bytes_written()

    def memory(self) -> int:
        """The daemon's largest anonymous memory since the last call, in bytes."""
        return self.daemon.memory_peak()

    def close(self) -> None:
        """Closes the client and kills the daemon: its directory is thrown away."""
        self.database.close()
        self.daemon.kill()


class OneAtATime(Ours):
    """Each batch waits for the one before."""

    def write(self, batches: list[data.Batch]) -> None:
        """One RPC per batch."""
        for batch in batches:
            check(self.collection.upsert(batch.ids, batch.vectors, batch.payloads))


class Streamed(Ours):
    """A few batches in flight."""

    def write(self, batches: list[data.Batch]) -> None:
        """One stream for all batches; returns with the last acknowledgement."""
        for result in self.collection.upsert_stream(iter(batches)):
            check(result)


class Writer(Ours):
    """Single rows, gathered by the client."""

    def write(self, batches: list[data.Batch]) -> None:
        """One call per row; leaving the writer waits for the last acknowledgement."""
        with self.collection.writer(batch_size=1_000) as writer:
            upsert = writer.upsert
            for batch in batches:
                for row, vector, payload in zip(batch.ids, batch.vectors, batch.payloads, strict=True):
                    upsert(row, vector, payload)


WAYS: dict[str, Callable[[Path], contender.Contender]] = {"batch": OneAtATime, "stream": Streamed, "writer": Writer}


def check(result: holdfast.WriteResult) -> None:
    """Ends the run if an acknowledged write is not on the disk."""
    if not result.durable:
        raise SystemExit(f"sequence {result.sequence} was acknowledged without being durable: the run is void")


def commit() -> str:
    """The checkout's commit."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    return "holdfast " + subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    contender.run(WAYS[sys.argv.pop(1)])
