"""Files that nobody names: what a start has to have removed, wherever in the store it lies."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from fnmatch import fnmatch

from holdfastd.engine.recovery_open import STAGED_ENTRY
from holdfastd.storage.names import Layout
from holdfastd.storage.uploads import UploadList
from tests.support.engines import ROOT
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit

ALWAYS = (
    "LOCK",
    "MANIFEST.json",
    "MANIFEST.prev.json",
    "REGISTRY.json",
    "RECEIPTS.json",
    "UPLOADS.json",
    "SCHEDULES.json",
)
ALWAYS_BELOW = ("requests-*.json", "operations/op-*.json", "wal*/LOCK", "wal*/*.wal", "wal*/*.next", "wal*/*.broken")
"""One log takes the place of another; what is in none is the log's own matter. What was cut off is kept for people."""
SEGMENT = {"ids.npy", "norms.npy", "payloads.npy", "rows.npy", "segment.json", "vectors.npy"}
RUN = ("fence.npy", "hash.npy", "rows.npy", "run.json")
TOMBSTONES = {"tombstone-ids.npy", "tombstone-rows.npy", "tombstones.npy"}


def files_below(fs: MemFileSystem, directory: str = "/") -> Iterator[str]:
    """The path of every file."""
    for name in fs.listdir(directory):
        path = posixpath.join(directory, name)
        if fs.is_dir(path):
            yield from files_below(fs, path)
        else:
            yield path


def left_over(kit: SnapshotKit) -> set[str]:
    """The files of a store and of all directories beside it that are no part of what it knows."""
    named = _of_segments(kit) | {info.path for info in kit.engine.snapshots.list()} | _of_uploads(kit)
    patterns = [f"{ROOT}/{pattern}" for pattern in (*ALWAYS, *ALWAYS_BELOW)]
    return {
        path
        for path in files_below(kit.fs)
        if path not in named and not any(fnmatch(path, pattern) for pattern in patterns)
    }


def _of_segments(kit: SnapshotKit) -> set[str]:
    """What the manifest names of each collection."""
    named = set()
    for entry in kit.engine._keeper.current.collections:
        directory = f"{COLLECTIONS_DIR}/{entry.spec.id}"
        named.add(f"{directory}/{STAGED_ENTRY}")
        for segment in entry.segments:
            named |= {f"{directory}/{segment.id}/{name}" for name in SEGMENT | TOMBSTONES}
            if segment.kills is not None:
                named.add(f"{directory}/{segment.id}/{segment.kills}")
        for run in entry.index_runs:
            named |= {f"{directory}/ids/{run.name}-{part}" for part in RUN}
    return named


def _of_uploads(kit: SnapshotKit) -> set[str]:
    layout = Layout(ROOT)
    noted = UploadList.load(kit.fs, layout).uploads
    return {layout.resolve(each.part_path(kit.engine.store_id)) for each in noted}
