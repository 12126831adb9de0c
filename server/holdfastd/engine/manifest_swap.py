"""The manifest replaced beside the checkpoints: by a restore, and by a snapshot that needs its sequence to survive.

It reflects the whole catalog at the store's sequence; points that no checkpoint has reached stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import msgspec

from ..errors import ResourceExhausted
from ..format.manifest import Manifest
from .disk_errors import disk_errors_of
from .recovery_open import staged_or_new_entry
from .requests import store_requests
from .snapshot_context import SnapshotContext


def swap_manifest(context: SnapshotContext, besides: Callable[[Manifest], Manifest] | None = None) -> None:
    """Publish every change of the catalog and the store's sequence, and what ``besides`` changes, in one manifest.

    On the committing thread, with checkpoints held off; durable on return, and so is the log. The log is synced here
    and not before: what was written meanwhile is in the manifest too, and no record joins the log between this sync and
    the manifest (RULES 4). Raises EngineFailed, or ResourceExhausted or FailedPrecondition with nothing changed.
    """
    applier, log = context.applier, context.committer.log
    synced = None if log is None else log.sync()
    before = context.keeper.current
    requests_file = _store_requests(context)

    def updated(manifest: Manifest) -> Manifest:
        known = {entry.spec.id: entry for entry in manifest.collections}
        entries = tuple(
            known.get(id) or staged_or_new_entry(context.fs, context.layout, collection)
            for id, collection in applier.catalog.collections.items()
        )
        reflected = replace(
            manifest,
            sequence=applier.sequence,
            logged_sequence=manifest.logged_sequence if synced is None else synced,
            last_timestamp_us=max(manifest.last_timestamp_us, applier.time_us),
            collections=entries,
            aliases=dict(applier.catalog.aliases),
            marks=tuple(applier.marks.values()),
            requests_file=requests_file,
            catalog_origin=applier.catalog.origin or msgspec.UNSET,
        )
        return reflected if besides is None else besides(reflected)

    try:
        with disk_errors_of("replacing the manifest"):
            context.keeper.update(updated)
    except ResourceExhausted:
        _forget(context, requests_file)
        raise
    for path in _no_longer_named(context, before):
        context.checkpointer.leave(path)


def _no_longer_named(context: SnapshotContext, before: Manifest) -> Iterator[str]:
    """What ``before`` names and the manifest after it does not: an old table of requests, collections that are gone."""
    after = context.keeper.current
    if before.requests_file not in (None, after.requests_file):
        yield f"{context.layout.root}/{before.requests_file}"
    named = {entry.spec.id for entry in after.collections}
    yield from (context.layout.collection_dir(e.spec.id) for e in before.collections if e.spec.id not in named)


def _store_requests(context: SnapshotContext) -> str | None:
    """The table of request ids as a file; its name."""
    rows, sequence = context.committer.requests.rows(), context.applier.sequence
    with disk_errors_of("storing the answers to requests"):
        return context.keeper.insist(lambda: store_requests(context.fs, context.layout, rows, sequence))


def _forget(context: SnapshotContext, requests_file: str | None) -> None:
    """Remove a table that no manifest names."""
    if requests_file not in (None, context.keeper.current.requests_file):
        with suppress(OSError):
            context.fs.unlink(f"{context.layout.root}/{requests_file}")
