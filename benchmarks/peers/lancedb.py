"""LanceDB: one appended version per batch; its files are written but not synced before add() returns."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import lancedb  # type: ignore[import-not-found]
import msgspec
import pyarrow as pa  # type: ignore[import-not-found]

from benchmarks import contender, data
from benchmarks.peers.base import InProcess

SCHEMA = pa.schema([("id", pa.string()), ("vector", pa.list_(pa.float32(), data.DIMENSIONS)), ("payload", pa.binary())])


class LanceDB(InProcess):
    """Rows are appended without looking for an older row of the same id, which an upsert would have to do."""

    name = "LanceDB"
    version = f"lancedb {version('lancedb')}"
    durable = "NOT synced (append, left to the OS)"

    def __init__(self, directory: Path) -> None:
        self._table = lancedb.connect(str(directory / "lance")).create_table("rows", schema=SCHEMA)
        self._encode = msgspec.json.Encoder().encode

    def write(self, batches: list[data.Batch]) -> None:
        """One add() per batch."""
        for batch in batches:
            self._table.add(self._table_of(batch))

    def _table_of(self, batch: data.Batch) -> pa.Table:
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(batch.vectors.reshape(-1)), data.DIMENSIONS)
        payloads = [self._encode(payload) for payload in batch.payloads]
        return pa.Table.from_arrays([pa.array(batch.ids), vectors, pa.array(payloads, pa.binary())], schema=SCHEMA)

    def search(self, query: data.Matrix, k: int) -> list[str]:
        """The k nearest ids, by an exact scan while nothing is indexed."""
        return [
            row["id"]
            for row in self._table.search(query).distance_type("cosine").select(["id", "_distance"]).limit(k).to_list()
        ]

    def key(self, row: str) -> str:
        """Ids are kept as they are."""
        return row

    def count(self) -> int:
        """Exact count."""
        return int(self._table.count_rows())

    def close(self) -> None:
        """Nothing to close: every version is complete when add() returns."""


if __name__ == "__main__":
    contender.run(LanceDB)
