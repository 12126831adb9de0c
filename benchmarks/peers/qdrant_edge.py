"""Qdrant Edge, Qdrant's storage engine in-process: one update per batch, flushed before the next."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import qdrant_edge as edge  # type: ignore[import-not-found]

from benchmarks import contender, data
from benchmarks.peers.base import InProcess


class QdrantEdge(InProcess):
    """Point ids are UUIDs made from the rows' ids; vectors are lists, as its interface wants them."""

    name = "Qdrant Edge"
    version = f"qdrant-edge-py {version('qdrant-edge-py')}"
    durable = "flushed per batch (EdgeShard.flush)"

    def __init__(self, directory: Path) -> None:
        vectors = edge.EdgeVectorParams(size=data.DIMENSIONS, distance=edge.Distance.Cosine, memory=edge.Memory.Cold)
        self._shard = edge.EdgeShard.create(str(directory / "shard"), edge.EdgeConfig(vectors=vectors))

    def write(self, batches: list[data.Batch]) -> None:
        """One upsert and one flush per batch."""
        for batch in batches:
            keys = [self.key(key) for key in batch.ids]
            rows = zip(keys, batch.vectors.tolist(), batch.payloads, strict=True)
            points = [edge.Point(key, vector, payload) for key, vector, payload in rows]
            self._shard.update(edge.UpdateOperation.upsert_points(points))
            self._shard.flush()

    def search(self, query: data.Matrix, k: int) -> list[str]:
        """The k nearest ids, by an exact scan while nothing is indexed."""
        request = edge.SearchRequest(query=edge.Query.Nearest(query.tolist()), limit=k)
        return [str(point.id) for point in self._shard.search(request)]

    def key(self, row: str) -> str:
        """The UUID that stands for a row's id."""
        return str(uuid5(NAMESPACE_OID, row))

    def count(self) -> int:
        """Exact count."""
        return int(self._shard.count(edge.CountRequest(exact=True)))

    def close(self) -> None:
        """Flushes and closes."""
        self._shard.close()


if __name__ == "__main__":
    contender.run(QdrantEdge)
