"""A history without some of its operations: what is left out, and whether anything since depends on it.

A record holds final rows. Where a point that a left-out operation wrote or deleted was written again since, nobody can
tell what the later one would have been without the earlier: such a history is refused, with those points.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import FailedPrecondition, NotFound
from ..model import Sequence64, Uint64Array
from .change_codec import Logged
from .changes import CreateCollection, DeleteIds, Truncate, UpsertRows
from .collection import Collection
from .request_words import RequestWords

Ranges = tuple[tuple[Sequence64, Sequence64], ...]
"""Sequences, each pair the first and the last of a range, inclusive."""

_MOST_NAMED = 5
_MOST_OPERATIONS_NAMED = 10
_MOST_WAITING = 1 << 14


@dataclass(frozen=True, slots=True)
class _Again:
    """An operation that wrote or deleted ``count`` points of what was left out before it, and the first few of them."""

    sequence: Sequence64
    ids: list[str]
    count: int

    def __str__(self) -> str:
        more = f" and {self.count - len(self.ids)} more" if self.count > len(self.ids) else ""
        return f"{', '.join(self.ids)}{more} (sequence {self.sequence})"


class LeftOut:
    """What is left out of one roll-forward, by sequence or by request id (see ``RequestWords``). Belongs to one thread.

    ``operations``: how many were. ``unchecked``: whether points may depend on them that only the work itself can tell.
    Ids are held as hashes of 8 bytes, however many a left-out operation had, and however often they were written since.
    """

    def __init__(self, ranges: Ranges, request_ids: Iterable[str] = ()) -> None:
        self._ranges = merged(ranges)
        self._firsts = [first for first, _ in self._ranges]
        self._request_ids = RequestWords(request_ids)
        self._unmet = set(self._request_ids.words)
        self._first: Sequence64 = 0
        self._touched = _Hashes()
        self._truncated: Sequence64 = 0
        self._again: list[_Again] = []
        self._again_operations = 0
        self._again_hashes = _Hashes()
        self.operations = 0
        self.unchecked = False

    def takes(self, logged: Logged, sequence: Sequence64, collection: Collection | None) -> bool:
        """Whether to leave out a change of points; one that is kept is compared with what was left out before it.

        ``collection``: as it is in front of it; None where nothing is carried out.
        """
        change = logged.change
        if not isinstance(change, UpsertRows | DeleteIds | Truncate):
            return False
        if self._holds(logged, sequence):
            self.operations += 1
            self._first = self._first or sequence
            self._unmet -= self._request_ids.meaning(logged.request_id)
            self._leave_out(change, sequence)
            return True
        if isinstance(change, Truncate):
            self.forget()
        elif self.operations:
            self._compare(*_ids_of(change), sequence, collection)
        return False

    def forget(self) -> None:
        """Every point is gone: nothing of what was before it matters to what comes."""
        self._touched, self._truncated = _Hashes(), 0

    def refuse(self, logged: Logged, sequence: Sequence64) -> None:
        """Raise FailedPrecondition where an operation that is no change of points is to be left out."""
        if not self._holds(logged, sequence):
            return
        made = isinstance(logged.change, CreateCollection)
        raise FailedPrecondition(
            f"sequence {sequence} {'made' if made else 'dropped or replaced'} the collection, and only changes of "
            "points can be left out",
            reason="CANNOT_BE_LEFT_OUT",
            hint="begin what is left out behind it"
            if made
            else f"end with what was before it: --before {sequence}, or leave it in",
            sequence=sequence,
        )

    def check(self) -> None:
        """Raise FailedPrecondition with the points that were written since, NotFound where nothing was left out.

        NotFound as well where there is nothing of one of the request ids.
        """
        if not self.operations or self._unmet:
            raise self._nothing()
        if not self._again:
            return
        count, left = self._again_hashes.count(), self._again_operations - len(self._again)
        named = "; ".join(map(str, self._again)) + (
            f"; and by {left} more operation{'s' if left > 1 else ''}" if left else ""
        )
        sequences = [each.sequence for each in self._again]
        skips = " ".join(f"--skip {sequence}" for sequence in sequences)
        others = "; `holdfast storage wal grep --id ID` finds the others" if left else ""
        raise FailedPrecondition(
            f"{count} {'point' if count == 1 else 'points'} of what is left out {'was' if count == 1 else 'were'} "
            f"written or deleted again since: {named}",
            reason="WRITTEN_SINCE",
            hint=f"leave those operations out as well ({skips}{others}), or take the collection as it was before the "
            f"first one: --before {self._first}",
            count=count,
            sequences=sequences,
            ids=[id for each in self._again for id in each.ids],
        )

    def _nothing(self) -> NotFound:
        unmet = [id for id in self._request_ids.words if id in self._unmet]
        places = [f"lies in sequence {_told(self._ranges)}"] if self._ranges and not self.operations else []
        if unmet:
            more = f" (and {len(unmet) - _MOST_NAMED} more)" if len(unmet) > _MOST_NAMED else ""
            places.append(f"came with the request id {' or '.join(unmet[:_MOST_NAMED])}{more}")
        return NotFound(
            f"no operation on the points of the collection {' or '.join(places)}, and nothing was done",
            reason="NOTHING_LEFT_OUT",
            hint="find the operation with `holdfast storage wal grep --collection NAME`",
        )

    def _holds(self, logged: Logged, sequence: Sequence64) -> bool:
        if self._request_ids.match(logged.request_id):
            return True
        place = bisect_right(self._firsts, sequence)
        return place > 0 and sequence <= self._ranges[place - 1][1]

    def _leave_out(self, change: UpsertRows | DeleteIds | Truncate, sequence: Sequence64) -> None:
        if isinstance(change, Truncate):
            self._truncated = sequence
        else:
            self._touched.add(_ids_of(change)[1])

    def _compare(
        self, ids: list[bytes], hashes: Uint64Array, sequence: Sequence64, collection: Collection | None
    ) -> None:
        again = self._touched.hold(hashes)
        if self._truncated and collection is None:
            self.unchecked = True
        elif self._truncated and collection is not None:
            # What is there from before it, the truncation would have deleted.
            since = collection.sequences_of(ids, hashes)
            again |= (since > 0) & (since < self._truncated)
        self._note(ids, hashes, again, sequence)

    def _note(self, ids: list[bytes], hashes: Uint64Array, again: NDArray[np.bool_], sequence: Sequence64) -> None:
        places = np.flatnonzero(again)
        if len(places):
            self._again_hashes.add(hashes[places])
            self._again_operations += 1
            if len(self._again) < _MOST_OPERATIONS_NAMED:
                first = [ids[place].decode() for place in places[:_MOST_NAMED].tolist()]
                self._again.append(_Again(sequence, first, len(places)))


class _Hashes:
    """A growing set: sorted runs, each at least twice as long as the next, so that adding costs little of the whole.

    What was added since it was last asked waits for a run of its own: an operation may have a single point.
    """

    def __init__(self) -> None:
        self._runs: list[Uint64Array] = []
        self._waiting: list[Uint64Array] = []
        self._waiting_count = 0

    def add(self, hashes: Uint64Array) -> None:
        """Put these in."""
        self._waiting.append(hashes)
        self._waiting_count += len(hashes)
        if self._waiting_count >= _MOST_WAITING:
            self._settle()

    def count(self) -> int:
        """How many there are."""
        self._settle()
        return len(np.unique(np.concatenate(self._runs))) if self._runs else 0

    def hold(self, hashes: Uint64Array) -> NDArray[np.bool_]:
        """Which of these are in it."""
        self._settle()
        held = np.zeros(len(hashes), np.bool_)
        for run in self._runs:
            places = np.searchsorted(run, hashes)
            held |= run[np.minimum(places, len(run) - 1)] == hashes
        return held

    def _settle(self) -> None:
        if not self._waiting_count:
            return
        run = np.unique(np.concatenate(self._waiting))
        self._waiting, self._waiting_count = [], 0
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.union1d(self._runs.pop(), run)
        self._runs.append(run)


def merged(ranges: Iterable[tuple[Sequence64, Sequence64]]) -> Ranges:
    """The same sequences in as few ranges as possible, in order."""
    out: list[tuple[Sequence64, Sequence64]] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(last, out[-1][1]))
        else:
            out.append((first, last))
    return tuple(out)


def _ids_of(change: UpsertRows | DeleteIds) -> tuple[list[bytes], Uint64Array]:
    if isinstance(change, UpsertRows):
        return change.rows.ids, change.rows.id_hashes
    return change.ids, change.id_hashes


def _told(ranges: Sequence[tuple[Sequence64, Sequence64]]) -> str:
    some = [str(first) if first == last else f"{first} to {last}" for first, last in ranges[:_MOST_NAMED]]
    return ", ".join(some) + (f" and {len(ranges) - _MOST_NAMED} more" if len(ranges) > _MOST_NAMED else "")
