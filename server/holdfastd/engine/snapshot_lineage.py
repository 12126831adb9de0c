"""Which snapshot builds on which, as far as what is known of them and the names of files tell.

Whether a base is there is asked of the file system by name alone, so that a list of thousands opens no archive;
whether it is the right one is proven where it matters: by a restore, a verification and a new increment.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from ..errors import HoldfastError
from ..format.verify_receipt import ROWS, Standing
from ..storage.files import FileSystem, parent_of
from ..storage.names import Layout
from ..storage.registry import SnapshotRecord
from .snapshot_info import BASE_MISSING, DAMAGED, MISSING, READY, SnapshotInfo
from .snapshot_receipts import standing_of
from .snapshot_record import record_of
from .snapshot_seen import NOTHING_SEEN, Seen

SUFFIXES = ("snap", "gz")

_Needs: TypeAlias = tuple[str, frozenset[str]]
"""A snapshot, by its id, and the collections that are wanted of what it builds on."""
_NO_LINKS = Standing(1 << 30, 1 << 63)
"""What adds nothing to the least of some."""


class Lineage:
    """One look at the snapshots of ``records``. Any thread; reads no more than whether files exist, but for ``chain``.

    ``store_id``: whose store this is. ``seen``: what was found in an object store just now.
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
        self._deltas: dict[str, frozenset[str]] = {}
        self._problems: dict[_Needs, str] = {}
        self._least: dict[_Needs, Standing | None] = {}
        self._standings: dict[str, Standing | None] = {}
        self._builds_on: defaultdict[str, list[SnapshotRecord]] = defaultdict(list)
        for record in self._known.values():
            self._builds_on[record.base_id].append(record)

    def info(self, record: SnapshotRecord) -> SnapshotInfo:
        """The snapshot as it is listed."""
        path = self._layout.resolve(record.path)
        state, problem = self._state(record, path)
        foreign = record.store_id != self._store_id
        return SnapshotInfo(record, path, state, self.dependents(record), problem, foreign, self.standing(record))

    def standing(self, record: SnapshotRecord) -> Standing | None:
        """How far, and when, a snapshot was verified with every link that it needs: the least of them.

        A restore proves the chain that it has put together, of which every other link was read.
        """
        own = self._standing_of(record)
        links = None if own is None else self._least_of_links(record)
        if own is None or links is None:
            return None
        least = _lesser(own, links)
        return Standing(own.level, least.time_us) if least.level == ROWS else least

    def _least_of_links(self, record: SnapshotRecord) -> Standing | None:
        """The least of all links that the snapshot needs; None where one was not verified. Kept, as problems are."""
        wanted, seen = self._delta_ids(record), {""}
        least: Standing | None = _NO_LINKS
        asked: list[tuple[_Needs, Standing]] = []
        while wanted and least is not None:
            needs = record.id, wanted
            if needs in self._least:
                least = self._least[needs]
                break
            seen.add(record.id)
            link = self._known_base(record)
            own = None if link is None or link.id in seen else self._standing_of(link)
            if link is None or own is None:
                self._least[needs] = least = None
                break
            asked.append((needs, own))
            record = link
            wanted &= self._delta_ids(link)
        for needs, own in reversed(asked):
            self._least[needs] = least = None if least is None else _lesser(own, least)
        return least

    def _standing_of(self, record: SnapshotRecord) -> Standing | None:
        path = self._layout.resolve(record.path)
        if path not in self._standings:
            self._standings[path] = standing_of(self._fs, record, path, self._seen)
        return self._standings[path]

    def _state(self, record: SnapshotRecord, path: str) -> tuple[str, str]:
        """What is known of it, and what is wrong."""
        try:
            size = self._seen.size(self._fs, path, record.size_bytes)
        except OSError as error:
            return MISSING, f"its file is not to be found: {path}: {error.strerror or error}"
        damage = _damage_of(record, path, size)
        if damage:
            return DAMAGED, damage
        problem = self._problem_with_links(record)
        return (BASE_MISSING, problem) if problem else (READY, "")

    def dependents(self, record: SnapshotRecord) -> tuple[str, ...]:
        """The ids of the increments that build directly on a snapshot, sorted."""
        return tuple(sorted(other.id for other in self._builds_on[record.id] if is_base_of(record, other)))

    def chain(self, record: SnapshotRecord) -> tuple[SnapshotInfo, ...]:
        """The snapshots that an increment builds on, base first; one that is nowhere is the first, and missing.

        Blocks: reads the manifests of those that are not in ``records``.
        """
        links: list[SnapshotInfo] = []
        seen: set[str] = set()
        wanted = self._delta_ids(record)
        while wanted:
            base = self._base(record)
            links.append(base)
            if base.state == MISSING or base.id in seen:
                break
            seen.add(base.id)
            record = base.record
            wanted &= self._delta_ids(record)
        return tuple(reversed(links))

    def _problem_with_links(self, record: SnapshotRecord) -> str:
        """What is wrong with a link that the snapshot needs: no file is there, or a damaged one, as far as is known.

        "" for nothing. What is found is kept: of a chain each link asks, and each needs what those before it need.
        """
        wanted, seen, problem = self._delta_ids(record), {record.id}, ""
        asked = []
        while wanted:
            asked.append((record.id, wanted))
            if asked[-1] in self._problems:
                problem = self._problems[asked[-1]]
                break
            if not any(self._exists(path) for path in self._places(record)):
                problem = f"it builds on {record.base_id}, which is missing"
                break
            base = self._known_base(record)
            if base is None or base.id in seen:
                break
            if self._is_damaged(base):
                problem = f"it builds on {base.id}, which is damaged"
                break
            seen.add(base.id)
            record = base
            wanted &= self._delta_ids(record)
        self._problems.update(dict.fromkeys(asked, problem))
        return problem

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

    def _delta_ids(self, record: SnapshotRecord) -> frozenset[str]:
        """The collections of which the file holds only what changed."""
        if self._known.get(record.id) is not record:
            return _delta_ids(record)
        if record.id not in self._deltas:
            self._deltas[record.id] = _delta_ids(record)
        return self._deltas[record.id]

    def _is_damaged(self, record: SnapshotRecord) -> bool:
        """Whether the file of a link is known to be damaged; one that is elsewhere by now may be another."""
        path = self._layout.resolve(record.path)
        try:
            return bool(_damage_of(record, path, self._seen.size(self._fs, path, record.size_bytes)))
        except OSError:
            return False

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


def _lesser(one: Standing, other: Standing) -> Standing:
    return Standing(min(one.level, other.level), min(one.time_us, other.time_us))


def _damage_of(record: SnapshotRecord, path: str, size: int) -> str:
    """What is wrong with a file that is there, as far as it is known or its size tells; "" for nothing."""
    if not record.damage and size != record.size_bytes:
        return f"{path} has {size} bytes, it had {record.size_bytes} when it was written"
    return record.damage


def _delta_ids(record: SnapshotRecord) -> frozenset[str]:
    return frozenset(member.collection_id for member in record.members if not member.whole)


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
