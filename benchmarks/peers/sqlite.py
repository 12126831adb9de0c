"""SQLite in WAL mode with synchronous=FULL: one transaction per batch, its log synced at commit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from benchmarks import contender, data
from benchmarks.peers.base import InProcess

SCHEMA = "CREATE TABLE rows (id TEXT PRIMARY KEY, vector BLOB NOT NULL, payload BLOB NOT NULL)"
UPSERT = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?)"


class SQLite(InProcess):
    """One table with an index on id; WITHOUT ROWID is slower for rows of this size."""

    name = "SQLite"
    version = f"sqlite {sqlite3.sqlite_version}"
    durable = "log synced per batch (WAL, synchronous=FULL)"

    def __init__(self, directory: Path) -> None:
        self._database = sqlite3.connect(directory / "rows.sqlite", isolation_level=None)
        mode = self._database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise SystemExit(f"SQLite refused WAL mode on this file system and stayed in {mode}; choose another --work")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute(SCHEMA)
        self._encode = msgspec.json.Encoder().encode

    def write(self, batches: list[data.Batch]) -> None:
        """One transaction per batch."""
        for batch in batches:
            vectors = [vector.tobytes() for vector in batch.vectors]
            payloads = [self._encode(payload) for payload in batch.payloads]
            self._database.execute("BEGIN")
            self._database.executemany(UPSERT, zip(batch.ids, vectors, payloads, strict=True))
            self._database.execute("COMMIT")

    def count(self) -> int:
        """Counts by a scan."""
        return int(self._database.execute("SELECT count(*) FROM rows").fetchone()[0])

    def close(self) -> None:
        """Checkpoints and closes."""
        self._database.close()


if __name__ == "__main__":
    contender.run(SQLite)
