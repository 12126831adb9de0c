"""RocksDB through rocksdict: one WriteBatch per batch, its log synced before the write returns."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec
import rocksdict  # type: ignore[import-not-found]

from benchmarks import contender, data
from benchmarks.peers.base import InProcess


class RocksDB(InProcess):
    """Key: id. Value: 1,536 bytes of vector, then the JSON payload. Default options but for what __init__ sets."""

    name = "RocksDB"
    version = f"rocksdict {version('rocksdict')}"
    durable = "log synced per batch (WriteOptions.sync)"

    def __init__(self, directory: Path) -> None:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        self._database = rocksdict.Rdict(str(directory / "rocksdb"), options)
        self._synced = rocksdict.WriteOptions()
        self._synced.sync = True
        self._encode = msgspec.json.Encoder().encode

    def write(self, batches: list[data.Batch]) -> None:
        """One synced WriteBatch per batch."""
        for batch in batches:
            self._write(batch)

    def _write(self, batch: data.Batch) -> None:
        group = rocksdict.WriteBatch(raw_mode=True)
        encode, put = self._encode, group.put
        for key, vector, payload in zip(batch.ids, batch.vectors, batch.payloads, strict=True):
            put(key.encode(), vector.tobytes() + encode(payload))
        self._database.write(group, self._synced)

    def count(self) -> int:
        """Counts by a full scan."""
        return sum(1 for _ in iter(self._database.keys()))

    def close(self) -> None:
        """Flushes and closes."""
        self._database.close()


if __name__ == "__main__":
    contender.run(RocksDB)
