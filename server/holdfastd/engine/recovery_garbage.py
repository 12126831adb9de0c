"""Files that neither the manifest nor the log names, removed once the log has been applied (RULES 3).

Only what is named as the store names its own files: whatever else lies there was put there by somebody, and stays.
"""

from __future__ import annotations

from ..format.manifest import Manifest
from ..storage.files import FileSystem, remove_tree
from ..storage.kills import TEMPORARY
from ..storage.names import Layout, parse_kills_name, parse_requests_name, parse_uuid
from .catalog import Catalog
from .collection import Collection


def remove_garbage(
    fs: FileSystem, layout: Layout, manifest: Manifest, catalog: Catalog, requests_file: str | None
) -> None:
    """Remove them. ``manifest``: the one that recovery began with. Of a damaged collection every file is kept.

    ``requests_file``: the one that the manifest which recovery published names.
    """
    live = {str(id): c for id, c in catalog.collections.items()}
    for name in fs.listdir(layout.collections):
        if name not in live:
            if parse_uuid(name) is not None:
                remove_tree(fs, f"{layout.collections}/{name}")
        elif not live[name].quarantined:
            _clean_collection(fs, layout, manifest, live[name])
    for name in fs.listdir(layout.root):
        of_requests = parse_requests_name(name.removesuffix(".tmp")) is not None
        if of_requests and name not in (manifest.requests_file, requests_file):
            fs.unlink(f"{layout.root}/{name}")
    # Written in full, perhaps, and never given their names; the manifest's own went with the one that is published.
    for document in (layout.registry, layout.receipts, layout.uploads, layout.schedules, layout.archive):
        if fs.exists(f"{document}.tmp"):
            fs.unlink(f"{document}.tmp")


def _clean_collection(fs: FileSystem, layout: Layout, manifest: Manifest, collection: Collection) -> None:
    directory = layout.collection_dir(collection.spec.id)
    segments = {str(segment.info.id): segment for segment in collection.segments}
    for name in fs.listdir(directory):
        if parse_uuid(name) is not None and name not in segments:
            remove_tree(fs, f"{directory}/{name}")
    kills = {str(e.id): e.kills for entry in manifest.collections for e in entry.segments}
    for name in segments.keys() & kills.keys():
        for file in fs.listdir(f"{directory}/{name}"):
            if file == TEMPORARY or (parse_kills_name(file) is not None and file != kills[name]):
                fs.unlink(f"{directory}/{name}/{file}")
    _clean_runs(fs, layout, collection)


def _clean_runs(fs: FileSystem, layout: Layout, collection: Collection) -> None:
    directory = layout.ids_dir(collection.spec.id)
    if not fs.exists(directory):
        return
    runs = collection.index.entries
    if not runs:
        # Its name may not be durable; the next checkpoint makes it anew.
        remove_tree(fs, directory)
        return
    wanted = {path for run in runs for path in layout.run_files(collection.spec.id, run.name)}
    for name in fs.listdir(directory):
        if f"{directory}/{name}" not in wanted:
            fs.unlink(f"{directory}/{name}")
