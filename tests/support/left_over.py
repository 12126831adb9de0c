"""Files that nobody names: what a start has to have removed, wherever in the store it lies."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from fnmatch import translate

from holdfastd.engine.engine import Engine
from holdfastd.engine.recovery_open import STAGED_ENTRY
from holdfastd.storage.names import Layout
from holdfastd.storage.uploads import UploadList
from tests.support.engines import ROOT
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import COLLECTIONS_DIR

ALWAYS = (
    "LOCK",
    "MANIFEST.json",
    "MANIFEST.prev.json",
    "REGISTRY.json",
    "RECEIPTS.json",
    "UPLOADS.json",
    "SCHEDULES.json",
    "ARCHIVE.json",
)
ALWAYS_BELOW = ("requests-*.json", "operations/op-*.json", "wal*/LOCK", "wal*/*.wal", "wal*/*.next", "wal*/*.broken*")
"""One log takes the place of another; what is in none is the log's own matter. What was cut off is kept for people."""
_BELONGS = re.compile("|".join(translate(f"{ROOT}/{pattern}") for pattern in (*ALWAYS, *ALWAYS_BELOW))).match
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


def left_over(fs: MemFileSystem, engine: Engine) -> set[str]:
    """The files of a store and of all directories beside it that are no part of what it knows."""
    named = _of_segments(engine) | {info.path for info in engine.snapshots.list()} | _of_uploads(fs, engine)
    return {path for path in files_below(fs) if path not in named and not _BELONGS(path)}


def _of_segments(engine: Engine) -> set[str]:
    """What the manifest names of each collection."""
    named = set()
    for entry in engine._keeper.current.collections:
        directory = f"{COLLECTIONS_DIR}/{entry.spec.id}"
        named.add(f"{directory}/{STAGED_ENTRY}")
        for segment in entry.segments:
            named |= {f"{directory}/{segment.id}/{name}" for name in SEGMENT | TOMBSTONES}
            if segment.kills is not None:
                named.add(f"{directory}/{segment.id}/{segment.kills}")
        for run in entry.index_runs:
            named |= {f"{directory}/ids/{run.name}-{part}" for part in RUN}
    return named


def _of_uploads(fs: MemFileSystem, engine: Engine) -> set[str]:
    layout = Layout(ROOT)
    noted = UploadList.load(fs, layout).uploads
    return {layout.resolve(each.part_path(engine.store_id)) for each in noted}
