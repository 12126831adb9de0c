"""What a reading of a snapshot's file came to, and what the receipts of several readings add up to.

A receipt speaks of one archive, which it names by the SHA-256 of its ``SHA256SUMS``, in one file, which it knows by
size and time of change: what is put in its place has no receipt. The levels are a ladder, each with those below it:

    0 manifest   the manifest is whole, the links of the chain are there and are the ones that are meant
    1 files      every member stands in its place with its size, nothing is missing, left over or cut off
    2 checksums  every byte is the one that was written
    3 rows       every row decodes, is valid, and has the hash that it says
    4 restore    the chain was put together in a scratch place, and has the digests that it should have
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MANIFEST, FILES, CHECKSUMS, ROWS, RESTORE = range(5)
LEVELS = ("manifest", "files", "checksums", "rows", "restore")
MAX_RECEIPTS = 128
"""As many as a file keeps: the hundred slices that a subset may be of, and room for the rest."""


@dataclass(frozen=True, slots=True)
class VerifyReceipt:
    """One reading. ``subset``: "" for all of it. ``time_us``: when it ended.

    ``level``: how far it looked; where it found damage (``valid`` is false), the level that it takes to find that.
    ``problem``: the first damage. ``sums_sha256``: "" where a damaged file does not tell. ``source``: what has read it:
    ``verify``, ``restore``, or ``consolidate``, which has written it.
    """

    level: int
    time_us: int
    valid: bool
    sums_sha256: str
    size_bytes: int
    modified_ns: int
    subset: str = ""
    problem: str = ""
    daemon_version: str = ""
    host: str = ""
    source: str = "verify"

    @property
    def slice(self) -> tuple[int, int] | None:
        """(n, t) of ``n/t``, or None."""
        number, slash, of = self.subset.partition("/")
        return (int(number), int(of)) if slash else None

    @property
    def decodes(self) -> bool:
        """Whether slices of it are of parts, which are decoded, and not of single files: they divide otherwise."""
        return self.level >= ROWS


@dataclass(frozen=True, slots=True)
class Standing:
    """What receipts add up to: the whole file was read at ``level`` or above, the oldest part of it at ``time_us``."""

    level: int
    time_us: int


def with_receipt(receipts: Iterable[VerifyReceipt], new: VerifyReceipt) -> tuple[VerifyReceipt, ...]:
    """The receipts of a file, newest last, after one more: what it says again, or better, is dropped."""
    kept = [each for each in receipts if not _says_at_least(new, each)]
    # Damage is not forgotten because many slices were right.
    too_many = [each for each in kept if each.valid][: max(0, len(kept) + 1 - MAX_RECEIPTS)]
    return (*(each for each in kept if each not in too_many), new)


def standing(receipts: Iterable[VerifyReceipt]) -> Standing | None:
    """The newest reading of the whole file with its checksums, in one go or slice by slice; else a lesser one.

    None where nobody has read it whole at any level.
    """
    good = [each for each in receipts if each.valid]
    whole = [Standing(each.level, each.time_us) for each in good if not each.subset]
    whole += _from_slices(good)
    return max(whole, key=lambda each: (each.level >= CHECKSUMS, each.time_us, each.level), default=None)


def _from_slices(receipts: Iterable[VerifyReceipt]) -> list[Standing]:
    """What the slices of each division come to, of those that are complete."""
    divisions: dict[tuple[int, bool], dict[int, VerifyReceipt]] = {}
    for each in receipts:
        if each.slice is not None:
            number, of = each.slice
            slices = divisions.setdefault((of, each.decodes), {})
            known = slices.get(number)
            if known is None or known.time_us < each.time_us:
                slices[number] = each
    return [
        Standing(min(each.level for each in slices.values()), min(each.time_us for each in slices.values()))
        for (of, _), slices in divisions.items()
        if len(slices) == of
    ]


def _says_at_least(new: VerifyReceipt, old: VerifyReceipt) -> bool:
    """Whether nothing is lost when the older one goes."""
    if not new.valid:
        # What takes a higher level to be found is not taken back by a reading that would not find it.
        return not old.valid and new.level >= old.level
    if new.level < old.level:
        return False
    if not new.subset:
        return True
    if not old.valid or not old.subset:
        return False
    if new.slice is None or old.slice is None:
        return new.slice is None and old.slice is None
    return (new.slice, new.decodes) == (old.slice, old.decodes)
