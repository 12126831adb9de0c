"""Request ids: a write that is sent again gets the first result instead of being done twice (RULES 17).

The table remembers the last 100,000 ids for at most ten minutes; it is stored with each checkpoint, with each manifest
that reflects more of the catalog than the one before, and extended by recovery. Beyond that nothing is promised.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from ..errors import InvalidArgument
from ..format.requests import RequestRow, decode_requests, encode_requests
from ..model import Sequence64
from ..storage.files import FileSystem, replace_file
from ..storage.names import Layout
from .tickets import KeptIn, Outcome

MAX_REMEMBERED = 100_000
MAX_AGE_US = 10 * 60 * 1_000_000


class RequestTable:
    """Outcome by request id, oldest first. Belongs to the applier."""

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()

    def __len__(self) -> int:
        return len(self._outcomes)

    def find(self, request_id: str, now_us: int, digest: int = 0) -> Outcome | None:
        """The outcome of an earlier request with this id, if it is still remembered.

        Raises InvalidArgument where that one asked for something else. ``digest``: of what is asked for; 0: anything.
        """
        outcome = self._outcomes.get(request_id)
        if outcome is None or outcome.time_us + MAX_AGE_US < now_us:
            return None
        if differ(outcome.request_digest, digest):
            raise reused(request_id, f"which was carried out at sequence {outcome.sequence}")
        return outcome

    def remember(self, request_id: str, outcome: Outcome) -> None:
        """Keep an outcome; forget what is too old or too much."""
        # An id that is used anew after its time is as new as its outcome.
        self._outcomes.pop(request_id, None)
        self._outcomes[request_id] = outcome
        while len(self._outcomes) > MAX_REMEMBERED or self._oldest_us() + MAX_AGE_US < outcome.time_us:
            self._outcomes.popitem(last=False)

    def forget_lost(self, known_through: Sequence64) -> None:
        """Forget what was answered about points beyond ``known_through``: neither log nor segments have it any more.

        Sent again it is done again. What the catalog was asked for is in the manifest that the table belongs to.
        """
        lost = [id for id, o in self._outcomes.items() if o.sequence > known_through and o.kept_in is KeptIn.LOG]
        for id in lost:
            del self._outcomes[id]

    def _oldest_us(self) -> int:
        return next(iter(self._outcomes.values())).time_us

    def rows(self) -> list[RequestRow]:
        """What of the table may be told after a restart, to be encoded for a checkpoint."""
        return [
            (id, o.sequence, o.count, o.time_us, o.names, o.request_digest, o.kept_in is KeptIn.MANIFEST)
            for id, o in self._outcomes.items()
            if o.kept_in is not KeptIn.NOTHING
        ]

    @classmethod
    def load(cls, data: bytes) -> RequestTable:
        """The table whose ``rows`` were encoded. Raises ValueError, or UnsupportedFormat for a newer one."""
        table = cls()
        for id, sequence, count, time_us, names, digest, catalog in decode_requests(data):
            table._outcomes[id] = Outcome(
                sequence,
                count,
                durable=True,
                time_us=time_us,
                names=names,
                request_digest=digest,
                kept_in=KeptIn.MANIFEST if catalog else KeptIn.LOG,
            )
        return table


def differ(first: int, second: int) -> bool:
    """Whether two digests are of different requests; of one that is not known (0) nobody can tell."""
    return first != second and bool(first and second)


def reused(request_id: str, which: str) -> InvalidArgument:
    """The error for a request id that another request has had. ``which``: more of that one."""
    return InvalidArgument(
        f"request_id {request_id!r} belongs to another request, {which}",
        field="request_id",
        reason="REQUEST_ID_REUSED",
        hint="send a fresh UUID with every change, and the same one only with its repetitions",
    )


def store_requests(fs: FileSystem, layout: Layout, rows: Sequence[RequestRow], sequence: Sequence64) -> str | None:
    """Write the table as it is at ``sequence``; returns its file's name for the manifest, None for an empty table."""
    if not rows:
        return None
    path = layout.requests(sequence)
    replace_file(fs, path, encode_requests(rows))
    return path.rsplit("/", 1)[1]
