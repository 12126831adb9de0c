"""What a writer holds while its change is on the way: the change, and a place to wait for the outcome."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import HoldfastError, Unavailable
from ..format.requests import request_digest
from ..model import Sequence64, Uint64Array
from .changes import POINTS, Change


class KeptIn(Enum):
    """Where what a change did is kept beside memory, and so what may take it back."""

    NOTHING = "nothing"
    """Points of a memory collection: a stop takes them back."""
    LOG = "log"
    """Points: in the log if there is one, and from the next checkpoint on in a segment."""
    MANIFEST = "manifest"
    """The catalog and the marks: in every manifest from then on, whatever becomes of the log."""

    @classmethod
    def of(cls, change: Change, *, logged: bool = True) -> KeptIn:
        """Where ``change`` is kept. ``logged``: whether it is one that the log gets while there is one."""
        if not logged:
            return cls.NOTHING
        return cls.LOG if isinstance(change, POINTS) else cls.MANIFEST


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did. ``count``: points affected. ``versions``: for an upsert, (n,) u32, the version of each row.

    ``names``: those that it took from others: the aliases of a dropped collection, what an alias stood for.
    ``request_digest``: of the request that it answers, 0 where that is not known.
    ``kept_in``: what has to be there for it to be still true after a restart.
    """

    sequence: Sequence64
    count: int
    durable: bool
    versions: NDArray[np.uint32] | None = None
    time_us: int = 0
    names: tuple[str, ...] = ()
    request_digest: int = 0
    kept_in: KeptIn = KeptIn.LOG

    def without_versions(self) -> Outcome:
        """The same, as it is kept for a request sent again."""
        return Outcome(
            self.sequence, self.count, self.durable, None, self.time_us, self.names, self.request_digest, self.kept_in
        )

    def as_plan(self) -> Outcome:
        """The same, told of what was only asked about: without a sequence, and not durable."""
        return replace(self, sequence=0, durable=False)


@dataclass(frozen=True, slots=True)
class Expectation:
    """The sequences of rows that a change was computed from (0: the id did not exist); stale ones make it Aborted."""

    ids: list[bytes]
    id_hashes: Uint64Array
    sequences: Uint64Array


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a change and how. ``sync``: acknowledge only what is on the disk, whatever the store's mode.

    ``request_digest``: of what is asked for, which a request id must not be used again with another of; 0: not known.
    """

    actor: str = ""
    request_id: str = ""
    sync: bool = False
    request_digest: int = 0

    @property
    def origin(self) -> str:
        """What the manifest says of where a setting comes from that is changed for this caller."""
        return f"command by {self.actor}" if self.actor else "command"

    def asking(self, kind: str, *arguments: str | int | bytes | memoryview | None) -> Caller:
        """The same, and what for. Only where there is a request id does that matter."""
        if not self.request_id:
            return self
        return Caller(self.actor, self.request_id, self.sync, request_digest(kind, *arguments))


NOBODY = Caller()
"""Who asks without a name and without a request id."""


class Ticket:
    """A one-shot result that one thread waits for and another sets; cheaper than a Future, which has a condition."""

    __slots__ = ("_done", "_error", "_result", "_settled")

    def __init__(self) -> None:
        self._done = threading.Lock()
        self._done.acquire()
        self._result: Any = None
        self._error: BaseException | None = None
        self._settled = False

    def succeed(self, result: Any) -> None:
        """Give the result (once)."""
        self._result = result
        self._settled = True
        self._done.release()

    def fail(self, error: BaseException) -> None:
        """Give the error (once)."""
        self._error = error
        self._settled = True
        self._done.release()

    @property
    def done(self) -> bool:
        """Whether the outcome is known."""
        return self._settled

    @property
    def failed(self) -> bool:
        """Whether the outcome is an error. False while it is unknown."""
        return self._error is not None

    def wait(self, timeout_seconds: float = -1) -> Any:
        """Block until the outcome is known; return it, or raise the error. After the timeout: Unavailable."""
        if not self._done.acquire(timeout=timeout_seconds):
            raise Unavailable(
                f"the write was not acknowledged within {timeout_seconds:g} s; it may still be",
                reason="COMMIT_TIMEOUT",
                hint="send it again with the same request_id, which returns the first result",
            )
        self._done.release()
        if self._error is not None:
            raise self._error
        return self._result


@dataclass(slots=True)
class Submission:
    """A change on its way to the log. ``parts`` are the record's payload; empty for what is not logged.

    ``after_sequence``: it gets a sequence beyond this one, whatever the store's is (RULES 1).
    ``rows_sent``: what an upsert's reply counts, ids that stood twice in the batch included.
    ``barrier``: commits in a group of its own, because it is checked against the state that the group before left.
    ``action``: runs in place of a change, between two groups, on the committing thread.
    ``while_waiting``: it waits for room for as long as it takes, and this is called now and then meanwhile, under the
    queue's lock: it takes no lock, and what it raises ends the waiting.
    """

    change: Change | None = None
    parts: list[bytes | memoryview] = field(default_factory=list)
    size: int = 0
    payload_crc: int = 0
    request_id: str = ""
    request_digest: int = 0
    origin_sequence: Sequence64 = 0
    after_sequence: Sequence64 = 0
    sync: bool = False
    rows_sent: int = 0
    barrier: bool = False
    expects: Expectation | None = None
    check: Callable[[], None] | None = None
    action: Callable[[], Any] | None = None
    while_waiting: Callable[[], None] | None = None
    ticket: Ticket = field(default_factory=Ticket)
    followers: list[Ticket] = field(default_factory=list)

    def fail(self, error: HoldfastError) -> None:
        """Refuse the change, and whoever sent it again meanwhile."""
        for ticket in (self.ticket, *self.followers):
            ticket.fail(error)
