"""How many calls run at once: a slot per call, taken before a worker is, given back when the worker is free again.

One pool serves everything. A stream holds its worker for as long as it lives, so that streams and short calls have
slots of their own: a crowd of stalled readers leaves the short calls theirs. A call without a slot is refused at once
with RESOURCE_EXHAUSTED instead of waiting in an invisible queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from ..errors import ResourceExhausted
from ..storage.clock import Clock

P = ParamSpec("P")
T = TypeVar("T")

REFUSAL_WORKERS = 4
"""Workers beyond all slots: they do nothing but tell a caller that there is no slot."""


class Slots:
    """A counted resource. ``take`` and ``give_back`` never block; any thread."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self._free = deque([None] * limit)  # its append and pop are atomic

    @property
    def in_use(self) -> int:
        """How many are taken now."""
        return self.limit - len(self._free)

    def take(self) -> bool:
        """Take one; False if none is free."""
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def give_back(self, _done: object = None) -> None:
        """Return one that was taken."""
        self._free.append(None)

    def refusal(self) -> ResourceExhausted:
        """What a caller is told when none is free."""
        return ResourceExhausted(
            f"all {self.limit} slots for {self.name} are in use",
            reason="TOO_MANY_CALLS",
            hint="close streams that are no longer read, send less at once, or raise the limit of the daemon",
            limit=self.limit,
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """The slots of one server: short calls, streams, and health checks, which an overload must not silence."""

    unary: Slots
    streams: Slots
    health: Slots

    @property
    def workers(self) -> int:
        """Threads that the pool needs so that whoever has a slot has a thread."""
        return self.unary.limit + self.streams.limit + self.health.limit + REFUSAL_WORKERS


class WorkerPool(ThreadPoolExecutor):
    """gRPC's pool. ``claim`` and the ``submit`` that follows it run on gRPC's one polling thread."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, thread_name_prefix="rpc")
        self._claimed: Slots | None = None

    def claim(self, slots: Slots) -> None:
        """The next task that is submitted holds a slot of these; it is given back when the task ends, however."""
        self._claimed = slots

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        slots, self._claimed = self._claimed, None
        try:
            future: Future[Any] = super().submit(fn, *args, **kwargs)
        except RuntimeError:  # the pool is shutting down
            if slots is not None:
                slots.give_back()
            raise
        if slots is not None:
            future.add_done_callback(slots.give_back)
        return future


class InFlight:
    """Which writes are under way, and since when: a write that does not end means a disk that does not answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began_ns: dict[object, int] = {}  # setting and removing one key are atomic

    def begin(self) -> object:
        """A write begins; give what this returns to ``end``."""
        token = object()
        self._began_ns[token] = self._clock.monotonic_ns()
        return token

    def end(self, token: object) -> None:
        """The write has been answered, in whatever way."""
        del self._began_ns[token]

    def oldest_seconds(self) -> float:
        """How long the oldest one has been under way; 0 if there is none."""
        oldest = min(list(self._began_ns.values()), default=None)
        return 0.0 if oldest is None else max(0.0, (self._clock.monotonic_ns() - oldest) / 1e9)
