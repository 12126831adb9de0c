"""Receipts of verifications, as the registry of snapshots keeps them with what else is known of a file.

They lie in the registry and not in the archive, which is never written again, nor beside it, where one more file could
be lost, left behind or copied without its archive. One replacement of the registry is one change: a receipt is there,
or not, and it goes in the same step in which its snapshot is forgotten.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import Corruption, HoldfastError
from ..format.verify_receipt import CHECKSUMS, Standing, VerifyReceipt, standing, with_receipt
from ..storage.archive_reader import ArchiveReader
from ..storage.archive_sums import read_sums_sha256
from ..storage.files import FileSystem
from ..storage.registry import Registry, SnapshotRecord
from .snapshot_context import SnapshotContext
from .snapshot_seen import Seen

if TYPE_CHECKING:
    from .snapshot_catalog import SnapshotCatalog
    from .snapshot_info import SnapshotInfo


def make_receipt(
    context: SnapshotContext,
    path: str,
    *,
    level: int,
    sums_sha256: str,
    modified_ns: int,
    subset: str = "",
    problem: str = "",
    source: str = "verify",
) -> VerifyReceipt:
    """The receipt of a reading that ends now. ``problem``: the first damage, "" for none. Raises OSError."""
    return VerifyReceipt(
        level=level,
        time_us=context.clock.now_us(),
        valid=not problem,
        sums_sha256=sums_sha256,
        size_bytes=context.fs.size(path),
        modified_ns=modified_ns,
        subset=subset,
        problem=problem,
        daemon_version=__version__,
        host=context.config.host,
        source=source,
    )


def receipt_of_use(
    context: SnapshotContext, path: str, *, modified_ns: int, level: int = CHECKSUMS, problem: str = ""
) -> VerifyReceipt:
    """The receipt of what has read a whole file for something else, such as a restore. Raises OSError.

    ``modified_ns``: when the file was last written to, before it was read.
    """
    return make_receipt(
        context,
        path,
        level=level,
        sums_sha256=sums_of(context.fs, path),
        modified_ns=modified_ns,
        problem=problem,
        source="restore",
    )


def note_damage(context: SnapshotContext, catalog: SnapshotCatalog, error: Corruption) -> None:
    """Keep what something else than a verification found wrong with a snapshot's file, where the store knows that."""
    path = catalog.path_in(error.path)
    if path:
        level = int(error.metadata.get("verify_level", CHECKSUMS))
        with contextlib.suppress(OSError):
            modified_ns = context.fs.modified_ns(path)
            receipt = receipt_of_use(context, path, modified_ns=modified_ns, level=level, problem=error.message)
            catalog.note({path: receipt})


def sums_of(fs: FileSystem, path: str) -> str:
    """The SHA-256 of an archive's SHA256SUMS, "" where it does not tell."""
    try:
        return read_sums_sha256(fs, ArchiveReader(fs, path))
    except (HoldfastError, OSError):
        return ""


def with_reading(record: SnapshotRecord, receipt: VerifyReceipt) -> SnapshotRecord:
    """What is known of a snapshot after one more reading of its file.

    What is damaged stays so until a reading of the whole file, at the level that it takes to find that, finds nothing.
    """
    of_it = (each for each in record.receipts if each.sums_sha256 in ("", receipt.sums_sha256) or not receipt.valid)
    receipts = with_receipt(of_it, receipt)
    if not receipt.valid:
        return replace(record, receipts=receipts, damage=receipt.problem)
    record = replace(record, sha256=record.sha256 or receipt.sums_sha256)
    if receipt.subset or receipt.level < CHECKSUMS:
        return replace(record, receipts=receipts)
    damage = next((each.problem for each in receipts if not each.valid), "")
    return replace(
        record,
        receipts=receipts,
        damage=damage,
        size_bytes=receipt.size_bytes,
        verified_us=record.verified_us if damage else receipt.time_us,
    )


def unverified_since(registry: Registry, leaving: SnapshotInfo) -> int:
    """What the registry is to say of its snapshots that are gone, once this one is: since when none was verified.

    Without it each would take along how long nobody has looked, and where few are kept that would never be long.
    """
    known_us = registry.unverified_since_us
    if leaving.foreign:
        return known_us
    if leaving.standing is not None and leaving.standing.level >= CHECKSUMS:
        return max(known_us, leaving.standing.time_us)
    own = (each for each in registry.snapshots if each.store_id == leaving.record.store_id)
    return known_us or min(each.created_us for each in own)


def standing_of(fs: FileSystem, record: SnapshotRecord, path: str, seen: Seen) -> Standing | None:
    """How far, and when, the whole file was read and found right; None where it never was, or was written to since.

    Asks the file system for its time of change, and reads nothing. ``seen``: what an object store has told just now;
    an object that is not among it is taken for the one that was read last.
    """
    if record.damage or not record.receipts:
        return None
    try:
        modified_ns = seen.modified_ns(fs, path, record.receipts[-1].modified_ns)
    except OSError:
        return None
    sums = {record.sha256, ""} if record.sha256 else None
    of_it = [
        each
        for each in record.receipts
        if (each.size_bytes, each.modified_ns) == (record.size_bytes, modified_ns)
        and (sums is None or each.sums_sha256 in sums)
    ]
    return standing(of_it)
