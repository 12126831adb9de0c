"""What to do about a damaged snapshot: the commands for whoever reads of it at night.

In this order: another snapshot of the same moment; the whole one before it, with the log to the same moment where that
leads there; a copy of the file; a new one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from ..errors import Corruption, HoldfastError
from ..storage.registry import SnapshotRecord
from .replay_log import ReplayLogs
from .snapshot_catalog import SnapshotCatalog
from .snapshot_context import SnapshotContext
from .snapshot_info import READY, SnapshotInfo
from .snapshot_receipts import note_damage

T = TypeVar("T")

RESTORE = "holdfast storage snapshot restore"
CREATE = "holdfast storage snapshot create"


class Adviser:
    """See the module. Any thread; blocks: lists snapshots, and may read manifests and the log's headers."""

    def __init__(self, catalog: SnapshotCatalog, logs: ReplayLogs) -> None:
        self._catalog = catalog
        self._logs = logs

    def on_damage(self, record: SnapshotRecord, path: str, wanted: SnapshotRecord | None = None) -> str:
        """What to do about a snapshot whose file is damaged or missing.

        ``wanted``: the one whose moment is asked for, where the damaged one is a link of its chain.
        """
        is_link = wanted is not None and wanted.id != record.id
        instead = self._instead(wanted or record, path, is_link=is_link)
        said = [instead, f"a good copy of the file may be put in its place: {path}"]
        dependents = self._dependents(record)
        if dependents:
            said.append(f"without it what builds on it is lost, too: {', '.join(dependents)}")
        said.append(f"make a new one while the store is there: {_create(record)}")
        return "; ".join(said)

    def _instead(self, record: SnapshotRecord, path: str, *, is_link: bool) -> str:
        """How the moment of a snapshot is had without the file at ``path``, which may be another's."""
        whole, moment = list(self._whole(record, path)), f"the moment of {record.id}" if is_link else "the same moment"
        same = next((info for info in whole if _moment(info.record) == _moment(record)), None)
        if same is not None:
            return f"{same.id} holds {moment}: {RESTORE} {same.id}{_as_little(same, record)}"
        older = next((info for info in whole if _moment(info.record) < _moment(record)), None)
        if older is None:
            return "no older snapshot is whole"
        of = _as_little(older, record)
        if self._leads(older.record, record):
            return (
                f"{older.id} before it is whole, and the log leads from there to {moment}: "
                f"{RESTORE} {older.id} --to {record.sequence}{of}"
            )
        return f"{older.id} before it is whole: {RESTORE} {older.id}{of}"

    def _whole(self, record: SnapshotRecord, path: str) -> Iterator[SnapshotInfo]:
        """The snapshots of the same store and of what was in it that need no byte of the file, newest first."""
        wanted = {member.collection_id for member in record.members}
        for info in self._catalog.listing().snapshots:
            held = {member.collection_id for member in info.record.members}
            is_other = info.path != path and info.record.store_id == record.store_id
            if info.state == READY and is_other and (held >= wanted or info.record.everything):
                links = self._quietly(partial(self._catalog.chain, info))
                if links is not None and path not in {link.path for link in links}:
                    yield info

    def _leads(self, older: SnapshotRecord, record: SnapshotRecord) -> bool:
        """Whether the store's own log goes on from one to the moment of the other, without a gap."""
        if older.timeline != record.timeline:
            return False
        history = self._quietly(partial(self._logs.history, None))
        if history is None or str(history.source.store_id) != record.store_id:
            return False
        return history.stretch(older.timeline, older.sequence).last >= record.sequence

    def _dependents(self, record: SnapshotRecord) -> tuple[str, ...]:
        known = [info for info in self._catalog.listing().snapshots if info.id == record.id]
        return known[0].dependents if known else ()

    def _quietly(self, ask: Callable[[], T]) -> T | None:
        """What can be had; advice does not fail for want of it."""
        try:
            return ask()
        except (HoldfastError, OSError):
            return None


def advise(catalog: SnapshotCatalog, logs: ReplayLogs, error: Corruption, wanted: SnapshotRecord | None = None) -> None:
    """Give the damage of a snapshot that the store knows, found by whatever, the hint that helps.

    ``wanted``: the one whose moment is asked for, where that is known.
    """
    path = catalog.path_in(error.path)
    record = catalog.record_at(path) if path else None
    if record is not None:
        with contextlib.suppress(HoldfastError, OSError):
            error.hint = Adviser(catalog, logs).on_damage(record, path, wanted)


@contextlib.contextmanager
def damage_told(
    context: SnapshotContext, catalog: SnapshotCatalog, logs: ReplayLogs, wanted: SnapshotRecord | None = None
) -> Iterator[None]:
    """Keep what the block finds damaged of a snapshot, so that lists tell of it and no other way leads through it; the
    error says what helps. ``wanted``: as for ``advise``."""
    try:
        yield
    except Corruption as error:
        note_damage(context, catalog, error)
        advise(catalog, logs, error, wanted)
        raise


def _as_little(info: SnapshotInfo, record: SnapshotRecord) -> str:
    """What to add to a restore of one so that it brings back no more than the other would; "" for nothing."""
    holds_more = not record.everything and len(info.record.members) > len(record.members)
    return f" --from-collection {record.members[0].name}" if holds_more else ""


def _moment(record: SnapshotRecord) -> tuple[int, int]:
    return record.timeline, record.sequence


def _create(record: SnapshotRecord) -> str:
    return CREATE if record.everything or len(record.members) != 1 else f"{CREATE} {record.members[0].name}"
