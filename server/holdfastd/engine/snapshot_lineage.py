"""Which snapshot builds on which, as far as what is known of them and the names of files tell.

Whether a base is there is asked of the file system by name alone, so that a list of thousands opens no archive;
whether it is the right one is proven where it matters: by a restore, a verification and a new increment.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator

from ..errors import HoldfastError
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import SnapshotRecord
from .snapshot_directory import NOTHING_SEEN, Seen
from .snapshot_info import BASE_MISSING, DAMAGED, MISSING, READY, SnapshotInfo
from .snapshot_record import record_of

SUFFIXES = ("snap", "gz")


class Lineage:
    """One look at the snapshots of ``records``. Any thread; reads no more than whether files exist, but for ``chain``.

    ``store_id``: whose store this is. ``seen``: what was found in a directory just now.
    """

    def __init__(
        self,
        fs: FileSystem,
        layout: Layout,
        store_id: str,
        records: Iterable[SnapshotRecord],
        seen: Seen = NOTHING_SEEN,
    ) -> None:
        self._fs = fs
        self._seen = seen
        self._layout = layout
        self._store_id = store_id
        self._known = {record.id: record for record in records}
        self._there: dict[str, bool] = {}
        self._builds_on: defaultdict[str, list[SnapshotRecord]] = defaultdict(list)
        for record in self._known.values():
            self._builds_on[record.base_id].append(record)

    def info(self, record: SnapshotRecord) -> SnapshotInfo:
        """The snapshot as it is listed."""
        path = self._layout.resolve(record.path)
        state, problem = self._state(record, path)
        foreign = record.store_id != self._store_id
        return SnapshotInfo(record, path, state, self.dependents(record), problem, foreign)

    def _state(self, record: SnapshotRecord, path: str) -> tuple[str, str]:
        """What is known of it, and what is wrong."""
        try:
            size = self._seen.size(self._fs, path, record.size_bytes)
        except OSError as error:
            return MISSING, f"its file is not to be found: {error}"
        if record.damage:
            return DAMAGED, record.damage
        if size != record.size_bytes:
            return DAMAGED, f"{path} has {size} bytes, it had {record.size_bytes} when it was written"
        missing = self._missing_link(record)
        return (BASE_MISSING, f"it builds on {missing}, which is missing") if missing else (READY, "")

    def dependents(self, record: SnapshotRecord) -> tuple[str, ...]:
        """The ids of the increments that build directly on a snapshot, sorted."""
        return tuple(sorted(other.id for other in self._builds_on[record.id] if is_base_of(record, other)))

    def chain(self, record: SnapshotRecord) -> tuple[SnapshotInfo, ...]:
        """The snapshots that an increment builds on, base first; one that is nowhere is the first, and missing.

        Blocks: reads the manifests of those that are not in ``records``.
        """
        links: list[SnapshotInfo] = []
        wanted = _delta_ids(record)
        while wanted:
            base = self._base(record)
            links.insert(0, base)
            if base.state == MISSING or any(link.id == base.id for link in links[1:]):
                break
            record = base.record
            wanted &= _delta_ids(record)
        return tuple(links)

    def _missing_link(self, record: SnapshotRecord) -> str:
        """The id of a link that the snapshot needs and no file is there for, as far as links are known; "" for none."""
        wanted, seen = _delta_ids(record), {record.id}
        while wanted:
            if not any(self._exists(path) for path in self._places(record)):
                return record.base_id
            base = self._known_base(record)
            if base is None or base.id in seen:
                break
            seen.add(base.id)
            record = base
            wanted &= _delta_ids(record)
        return ""

    def _base(self, record: SnapshotRecord) -> SnapshotInfo:
        known = self._known_base(record)
        if known is not None and self._exists(self._layout.resolve(known.path)):
            return self.info(known)
        for path in self._places(record):
            try:
                found = record_of(self._fs, self._layout, path)
            except (HoldfastError, OSError):
                continue
            if is_base_of(found, record):
                return self.info(found)
        return self.info(known or _said_of_base(record))

    def _known_base(self, record: SnapshotRecord) -> SnapshotRecord | None:
        known = self._known.get(record.base_id)
        return known if known is not None and is_base_of(known, record) else None

    def _places(self, record: SnapshotRecord) -> Iterator[str]:
        known = self._known_base(record)
        registered = [] if known is None else [self._layout.resolve(known.path)]
        return places_of(record.base_id, registered, self._layout.resolve(record.path), record.base_path)

    def _exists(self, path: str) -> bool:
        if path not in self._there:
            self._there[path] = self._seen.exists(self._fs, path)
        return self._there[path]


def places_of(base_id: str, registered: Iterable[str], increment: str, recorded: str) -> Iterator[str]:
    """Where the base of an increment is looked for: where the registry has it, beside it, where it was once."""
    yield from registered
    yield from named_in(parent_of(increment), base_id)
    if recorded:
        yield recorded


def named_in(directory: str, snapshot_id: str) -> Iterator[str]:
    """The names that a snapshot's file may have in a directory."""
    for suffix in SUFFIXES:
        yield posixpath.join(directory, f"{snapshot_id}.{suffix}")


def is_base_of(base: SnapshotRecord, increment: SnapshotRecord) -> bool:
    """Whether it is, by what is known of both, the one that the increment names."""
    named = (increment.base_id, increment.store_id, increment.base_sequence)
    return (base.id, base.store_id, base.sequence) == named


def _delta_ids(record: SnapshotRecord) -> set[str]:
    """The collections of which the file holds only what changed."""
    return {member.collection_id for member in record.members if not member.whole}


def _said_of_base(record: SnapshotRecord) -> SnapshotRecord:
    """What an increment says of a base that nobody has."""
    return SnapshotRecord(
        id=record.base_id,
        type="",
        path=record.base_path,
        created_us=0,
        store_id=record.store_id,
        timeline=0,
        sequence=record.base_sequence,
        size_bytes=0,
        uncompressed_bytes=0,
        compressed=False,
        everything=False,
        members=(),
    )
