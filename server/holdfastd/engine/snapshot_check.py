"""Whether the rows and removed ids of an archive can be what they say: nothing of a file from elsewhere is believed.

Offsets stay inside, ids are text, sequences lie within what the archive holds. What is right is handed on to the
collection that it becomes (staging).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import Corruption
from ..format.hashing import hash_ids
from ..format.segment import ROW_DTYPE, ROW_HAS_PAYLOAD, TOMBSTONE_DTYPE
from ..format.snapshot import IDS, MAX_ID_BYTES, NORMS, PAYLOADS, ROWS, TOMBSTONE_IDS, TOMBSTONES
from ..format.verify_receipt import ROWS as ROW_LEVEL
from ..model import Sequence64, Uint64Array
from ..storage.checks import mapped_array
from ..storage.files import FileSystem
from .snapshot_chain import Link
from .staging import Staging

ROWS_AT_ONCE = 65536


class PartCheck:
    """The files of one part of a link, copied into ``directory``. ``member``: a name of the part's in the archive."""

    def __init__(self, fs: FileSystem, link: Link, member: str, directory: str) -> None:
        self._fs = fs
        self._link = link
        self._member = member
        self._directory = directory

    def rows(self, staging: Staging, count: int, since: Sequence64) -> tuple[Sequence64, Sequence64]:
        """Check and hand on ``count`` rows written after ``since``; returns their first and last sequence.

        Raises Corruption.
        """
        rows = self._mapped(ROWS, ROW_DTYPE, (count,))
        ids = self._mapped(IDS, np.dtype("|u1"), None)
        payloads = self._mapped(PAYLOADS, np.dtype("|u1"), None)
        norms = self._mapped(NORMS, np.dtype("<f4"), (count,))
        if not (norms >= 0).all() or not np.isfinite(norms).all():
            self._refuse("holds a norm that no vector has", NORMS)
        id_end = payload_end = last = 0
        first = self._link.manifest.sequence
        for start in range(0, count, ROWS_AT_ONCE):
            facts = rows[start : start + ROWS_AT_ONCE].copy()
            problem = problem_with(facts, id_end, payload_end, (since, self._link.manifest.sequence))
            if problem is not None:
                self._refuse(f"row {start + problem[0]} {problem[1]}", ROWS)
            first, last = min(first, int(facts["sequence"].min())), max(last, int(facts["sequence"].max()))
            id_start, id_end = id_end, id_end + int(facts["id_length"].sum(dtype=np.int64))
            payload_end += int(facts["payload_length"].sum(dtype=np.int64))
            if id_end > len(ids) or payload_end > len(payloads):
                self._refuse(f"rows from {start} on point beyond the end of {IDS} or {PAYLOADS}", ROWS)
            texts = self._texts(ids[id_start:id_end], facts["id_length"], IDS)
            id_hashes = hash_ids(texts)
            if since:
                staging.kill(texts, id_hashes, facts["sequence"].astype(np.uint64))
            staging.add(texts, id_hashes, np.arange(start, start + len(facts), dtype=np.uint32), _hashes(facts))
        if id_end != len(ids) or payload_end != len(payloads):
            self._refuse(f"does not cover all of {IDS} and {PAYLOADS}", ROWS)
        return first, last

    def removed(self, staging: Staging, count: int, since: Sequence64) -> None:
        """Check ``count`` ids that are gone since ``since``, and let their rows die. Raises Corruption."""
        listed = self._mapped(TOMBSTONES, TOMBSTONE_DTYPE, (count,))
        ids = self._mapped(TOMBSTONE_IDS, np.dtype("|u1"), None)
        id_end = 0
        for start in range(0, count, ROWS_AT_ONCE):
            facts = listed[start : start + ROWS_AT_ONCE].copy()
            problem = problem_with_removed(facts, id_end, (since, self._link.manifest.sequence))
            if problem is not None:
                self._refuse(f"entry {start + problem[0]} {problem[1]}", TOMBSTONES)
            id_start, id_end = id_end, id_end + int(facts["id_length"].sum(dtype=np.int64))
            if id_end > len(ids):
                self._refuse(f"entries from {start} on point beyond the end of {TOMBSTONE_IDS}", TOMBSTONES)
            texts = self._texts(ids[id_start:id_end], facts["id_length"], TOMBSTONE_IDS)
            id_hashes = hash_ids(texts)
            if not bool((id_hashes == facts["id_hash"]).all()):
                self._refuse("lists a hash that is not the one of its id", TOMBSTONES)
            if staging.kill(texts, id_hashes, facts["sequence"].astype(np.uint64)) != len(texts):
                self._refuse("lists an id that its base does not hold", TOMBSTONES)
        if id_end != len(ids):
            self._refuse(f"does not cover all of {TOMBSTONE_IDS}", TOMBSTONES)

    def _texts(self, joined: NDArray[np.uint8], lengths: NDArray[Any], file: str) -> list[bytes]:
        try:
            return split_texts(joined, lengths)
        except ValueError as error:
            self._refuse(str(error), file)

    def _mapped(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None) -> NDArray[Any]:
        path = posixpath.join(self._directory, file)
        try:
            return mapped_array(self._fs.map(path), path, dtype, shape)
        except Corruption as error:
            self._refuse(error.message.removeprefix(f"{path} at offset 0: "), file)

    def _refuse(self, reason: str, file: str) -> NoReturn:
        refuse(self._link.path, self._member, reason, file)


def refuse(path: str, member: str, reason: str, file: str | None = None) -> NoReturn:
    """Raise Corruption for a member of the archive at ``path``, or for ``file`` beside it."""
    name = member if file is None else f"{posixpath.dirname(member)}/{file}"
    raise Corruption(
        reason,
        path=f"{path}:{name}",
        reason="SNAPSHOT_DAMAGED",
        hint="this archive was not written by holdfastd; take another one",
        verify_level=ROW_LEVEL,
    )


def split_texts(joined: NDArray[np.uint8], lengths: NDArray[Any]) -> list[bytes]:
    """The ids that stand back to back in ``joined``. Raises ValueError unless each of them is UTF-8."""
    data = joined.tobytes()
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is no UTF-8: {error.reason}") from None
    if bool(((joined[starts] & 0xC0) == 0x80).any()):
        raise ValueError("has an id that begins inside a character")
    return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def problem_with(
    facts: NDArray[Any], id_start: int, payload_start: int, between: tuple[Sequence64, Sequence64]
) -> tuple[int, str] | None:
    """The first row that says what cannot be, and what; None when all of them may be."""
    return _first_wrong(
        (
            (_in_place(facts["id_offset"], facts["id_length"], id_start), "has an id that stands elsewhere"),
            (
                _in_place(facts["payload_offset"], facts["payload_length"], payload_start),
                "has a payload that stands elsewhere",
            ),
            ((facts["id_length"] >= 1) & (facts["id_length"] <= MAX_ID_BYTES), "has an id of a forbidden length"),
            (facts["flags"] <= ROW_HAS_PAYLOAD, "has unknown flags"),
            ((facts["flags"] == ROW_HAS_PAYLOAD) == (facts["payload_length"] > 0), "has a payload that its flags deny"),
            ((facts["sequence"] >= 1) & (facts["sequence"] <= between[1]), "was written after the snapshot"),
            (facts["sequence"] > between[0], "was written before the base"),
            (facts["version"] >= 1, "has no version"),
            (facts["reserved"] == 0, "uses a reserved field"),
        )
    )


def problem_with_removed(
    facts: NDArray[Any], id_start: int, between: tuple[Sequence64, Sequence64]
) -> tuple[int, str] | None:
    """The same of entries that list removed ids."""
    return _first_wrong(
        (
            (_in_place(facts["id_offset"], facts["id_length"], id_start), "has an id that stands elsewhere"),
            ((facts["id_length"] >= 1) & (facts["id_length"] <= MAX_ID_BYTES), "has an id of a forbidden length"),
            (facts["sequence"] <= between[1], "was removed after the snapshot"),
            (facts["sequence"] > between[0], "was removed before the base"),
            ((facts["reserved"] == 0) & (facts["reserved_2"] == 0), "uses a reserved field"),
        )
    )


def _first_wrong(checks: Sequence[tuple[NDArray[np.bool_], str]]) -> tuple[int, str] | None:
    for good, what in checks:
        if not good.all():
            return int(np.flatnonzero(~good)[0]), what
    return None


def _in_place(offsets: NDArray[Any], lengths: NDArray[Any], start: int) -> NDArray[np.bool_]:
    """Which values stand right behind the ones before them."""
    wide = lengths.astype(np.uint64)
    right: NDArray[np.bool_] = offsets == np.cumsum(wide) - wide + np.uint64(start)
    return right


def _hashes(facts: NDArray[Any]) -> Uint64Array:
    return np.column_stack((facts["hash_high"], facts["hash_low"]))
