"""What a snapshot's file that is found somewhere means to a registry that does not name it there.

Found for the first time it is adopted, so that chains over several directories are whole again after the registry is
lost. One whose file is gone from where it was has moved. A copy beside a file that is where it was is no news. Two
snapshots of one id, which two stores may have made, are told apart: the store's own is the one that the id stands for.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

from ..storage.files import FileSystem
from ..storage.names import Layout
from ..storage.registry import Registry, SnapshotRecord
from .snapshot_marks import marked_as
from .snapshot_seen import NOTHING_SEEN


@dataclass(frozen=True, slots=True)
class Finding:
    """``record``: what the registry is to hold from now on; None: what it holds. ``warning``: "" for none."""

    record: SnapshotRecord | None = None
    warning: str = ""


NO_NEWS = Finding()


def adopt(
    fs: FileSystem,
    layout: Layout,
    registry: Registry,
    store_id: str,
    unnamed: Iterable[SnapshotRecord],
    under_way: Container[str],
) -> list[str]:
    """Let a registry know what was found, as far as it should; durable on return. Returns what is to be said.

    Its owner holds its lock. ``under_way``: the ids of what is being written.
    """
    warnings: list[str] = []
    known = {record.id: record for record in registry.snapshots}
    adopted: dict[str, SnapshotRecord] = {}
    for record in unnamed:
        path, same = layout.resolve(record.path), known.get(record.id)
        # One that is being published gets there by itself; another may have been deleted since it was read.
        if record.id in under_way or not NOTHING_SEEN.exists(fs, path):
            continue
        if same is not None and layout.resolve(same.path) == path:
            if has_become(same, record):
                known[record.id] = adopted[record.id] = marked_as(record, same)
            continue
        is_there = same is not None and NOTHING_SEEN.exists(fs, layout.resolve(same.path))
        finding = judge(record, path, same, is_there=is_there, store_id=store_id)
        if finding.warning:
            warnings.append(finding.warning)
        if finding.record is not None:
            known[record.id] = adopted[record.id] = finding.record
    try:
        registry.note(*adopted.values())
    except OSError as error:
        warnings.append(f"the registry could not be written ({error.strerror}): what was found is not kept in it")
    return warnings


def judge(found: SnapshotRecord, path: str, known: SnapshotRecord | None, *, is_there: bool, store_id: str) -> Finding:
    """What to make of a file at ``path`` (absolute) that the registry does not name there.

    ``known``: what the registry has under its id; ``is_there``: whether that one's file exists. ``store_id``: our own.
    """
    if known is None:
        return Finding(found)
    if _identity(found) == _identity(known):
        return NO_NEWS if is_there else Finding(_moved(known, found))
    if store_id == found.store_id != known.store_id:
        return Finding(found)
    whose = "another store" if found.store_id != known.store_id else f"another moment, sequence {found.sequence}"
    return Finding(
        warning=f"{path} is a snapshot of {whose}, and {found.id} stands for the one that the registry knows: "
        "name this one by its path"
    )


def has_become(known: SnapshotRecord, found: SnapshotRecord) -> bool:
    """Whether a file in the place of an increment is the full one that stands for it, wherever that was made."""
    stands_for_it = bool(found.stands_for) and known.sha256 in ("", found.stands_for)
    return _identity(known) == _identity(found) and known.type != found.type and stands_for_it


def is_same_file(known: SnapshotRecord, found: SnapshotRecord) -> bool:
    """Whether a file is, by what it says of itself, the one that is known, and not one that has taken its place."""
    facts = [(each.id, each.type, each.base_id, each.size_bytes, each.uncompressed_bytes) for each in (known, found)]
    return facts[0] == facts[1]


def _identity(record: SnapshotRecord) -> tuple[object, ...]:
    return record.id, record.store_id, record.timeline, record.sequence, record.created_us


def _moved(known: SnapshotRecord, found: SnapshotRecord) -> SnapshotRecord:
    """What is known of a snapshot, of a file in another place: nobody has verified that one yet.

    Of an increment and the full one that has taken its place, what holds for one does not hold for the other.
    """
    if (known.type, known.base_id) != (found.type, found.base_id):
        return marked_as(found, known)
    return replace(
        known,
        path=found.path,
        size_bytes=found.size_bytes,
        compressed=found.compressed,
        uncompressed_bytes=found.uncompressed_bytes,
        base_path=found.base_path,
        verified_us=0,
        receipts=(),
    )
