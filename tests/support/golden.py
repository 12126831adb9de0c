"""A whole data directory and its snapshots as a released version wrote them, to be read by every later one.

``python -m tests.support.golden`` writes the folders of the present format version that are missing. A folder that is
there is never written again: when the format changes, its version does, and a new folder is added.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from holdfastd.engine.tickets import Caller
from holdfastd.model import StorageKind
from holdfastd.storage.files import FileSystem, make_dirs
from tests.support.engines import CALLER, ROOT
from tests.support.memfs import MemFileSystem
from tests.support.oracle import StoreState, observe
from tests.support.snapshots import SnapshotKit

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
NEWEST = GOLDEN / "store-v1"
REQUEST = Caller(actor="somebody", request_id="written-once")
CHAIN = GOLDEN / "chain-v1"
"""``before``: a full snapshot and an increment. ``after``: what the second became when it was consolidated. ``behind``:
an increment on either."""
LEFT_OUT = ("LOCK", "RESERVE")
"""Files without content of their own."""


def versions() -> list[Path]:
    """The folders of all format versions."""
    return sorted(GOLDEN.glob("store-v*"))


def write() -> None:
    """Write the newest folder, unless it is there."""
    if NEWEST.exists():
        return
    kit = SnapshotKit(seed=2026)
    at_the_snapshots = lived(kit)
    expected = {
        "sequence": kit.engine.sequence,
        "written_once": write_once(kit),
        "now": described(observe(kit.engine).restarted()),
        "at_the_snapshots": described(at_the_snapshots),
    }
    save(kit.fs, ROOT, NEWEST / "data")
    (NEWEST / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_chain() -> None:
    """Write the chain, unless it is there."""
    if CHAIN.exists():
        return
    kit = SnapshotKit(seed=2027)
    kit.create("products", 3)
    kit.upsert(["a", "b", "größer", "d"], name="products", payloads=[b'{"n": 1}', None, '{"t":"ä"}'.encode(), b"{}"])
    full = kit.later(path="/before")
    kit.upsert(["b", "e"], 20, 5, name="products")
    kit.delete("d", name="products")
    kit.later(path="/before", incremental=True, compress=True)
    kit.upsert(["d", "f"], 40, 6, name="products", payloads=[b'{"n": 2}', None])
    kit.delete("a", name="products")
    kit.later(path="/behind", incremental=True)
    save(kit.fs, "/before", CHAIN / "before")
    kit.consolidate(full.id)
    save(kit.fs, "/before", CHAIN / "after")
    save(kit.fs, "/behind", CHAIN / "behind")
    text = json.dumps(described(observe(kit.engine)), indent=1, ensure_ascii=False)
    (CHAIN / "expected.json").write_text(text + "\n", encoding="utf-8")


def lived(kit: SnapshotKit) -> StoreState:
    """One of everything, without a stop in order: segments, kills, id runs, a log behind them, snapshots of both kinds.

    Returns what the snapshots hold.
    """
    kit.create("products", 3)
    kit.create("mixed", 2, StorageKind.HYBRID)
    kit.create("cache", 2, StorageKind.MEMORY)
    kit.create("gone", 2)
    kit.engine.collections.create_alias("shop", "products", caller=CALLER)
    kit.upsert(["a", "b", "größer", "d"], name="products", payloads=[b'{"n": 1}', None, '{"t":"ä"}'.encode(), b"{}"])
    kit.upsert(["x", "y"], name="mixed")
    kit.upsert(["volatile"], name="cache")
    kit.engine.checkpoint()
    kit.upsert(["b", "e"], 20, 5, name="products")
    kit.delete("d", name="products")
    kit.engine.collections.drop("gone", caller=CALLER)
    write_once(kit)
    kit.engine.checkpoint()
    kit.engine.wal.mark("before-the-snapshots", caller=CALLER)
    state = observe(kit.engine)
    for compress in (False, True):
        kit.snapshot(compress=compress)
        kit.clock.advance_us(1_000_000)
    kit.upsert(["a", "late"], 100, 8, name="products", payloads=[b'{"n": 2}', b'{"n": 3}'])
    kit.delete("größer", name="products")
    kit.engine.points.truncate("mixed", caller=CALLER)
    kit.upsert(["z"], name="mixed")
    return state


def write_once(kit: SnapshotKit) -> int:
    """A write with a request id; sent again, it has the sequence that it had. Returns that."""
    return kit.upsert(["once"], 7, name="products", caller=REQUEST).sequence


def save(fs: FileSystem, source: str, target: Path) -> None:
    """Copy a directory out of a file system; empty directories are left out."""
    for name in fs.listdir(source):
        path = f"{source}/{name}"
        if fs.is_dir(path):
            save(fs, path, target / name)
        elif name not in LEFT_OUT:
            target.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(fs.read(path))


def load(source: Path, fs: MemFileSystem, target: str = ROOT) -> None:
    """Copy a directory into a file system, durable."""
    make_dirs(fs, target)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            load(path, fs, f"{target}/{path.name}")
            continue
        file = fs.create(f"{target}/{path.name}")
        file.pwrite([path.read_bytes()], 0)
        file.sync()
        file.close()
    fs.sync_dir(target)


def described(state: StoreState) -> dict[str, Any]:
    """A state as JSON has it."""
    return {
        "aliases": dict(sorted(state.aliases.items())),
        "collections": {
            name: {
                "dimensions": collection.dimensions,
                "storage": collection.storage.value,
                "digest": f"{collection.digest().high:016x}{collection.digest().low:016x}",
                "points": {
                    id: [point.vector.hex(), None if point.payload is None else point.payload.decode(), point.version]
                    for id, point in sorted(collection.points.items())
                },
            }
            for name, collection in sorted(state.collections.items())
        },
    }


if __name__ == "__main__":
    write()
    write_chain()
