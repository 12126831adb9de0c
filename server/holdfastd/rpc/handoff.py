"""A bounded, ordered handover from one thread to another, made of one-shot tickets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..engine.tickets import Ticket
from ..errors import Unavailable

T = TypeVar("T")


class _Place:
    """One item's place in the row: when it has arrived, when it has been taken out, and the place behind it."""

    __slots__ = ("arrived", "behind", "left")

    def __init__(self) -> None:
        self.arrived = Ticket()
        self.left = Ticket()
        self.behind: _Place | None = None


class Handoff(Generic[T]):
    """At most ``limit`` items, two or more, between one producer thread and one consumer thread, in order."""

    def __init__(self, limit: int, *, on_idle: Callable[[], None], idle_seconds: float = 0.25) -> None:
        """``on_idle`` is called in the consumer whenever nothing has come for a while; it may raise."""
        if limit < 2:
            raise ValueError(f"a handoff holds at least two items, not {limit}")
        self._first = self._last = _Place()
        self._limit = limit
        self._waiting: deque[_Place] = deque()  # the producer's
        self._closed = False  # set by the consumer, once
        self._on_idle = on_idle
        self._idle_seconds = idle_seconds

    def put(self, item: T) -> bool:
        """Hand over an item; blocks while there are ``limit`` of them. False if the consumer has gone. (Producer.)"""
        if len(self._waiting) == self._limit:
            self._waiting.popleft().left.wait()
        if self._closed:
            return False
        place, behind = self._last, _Place()
        self._waiting.append(place)
        place.behind = self._last = behind
        place.arrived.succeed((True, item))
        return True

    def finish(self) -> None:
        """There is nothing more. (Producer.)"""
        self._last.arrived.succeed((False, None))

    def fail(self, error: BaseException) -> None:
        """There is nothing more, for this reason. (Producer.)"""
        self._last.arrived.fail(error)

    def __iter__(self) -> Iterator[T]:
        """The items as they come; an item's room is free once the next one is asked for. (Consumer.)"""
        while True:
            more, item = self._wait_for_first()
            if not more:
                return
            yield item
            place = self._first
            assert place.behind is not None
            self._first = place.behind
            place.left.succeed(None)

    def _wait_for_first(self) -> tuple[bool, T]:
        arrived = self._first.arrived
        while True:
            try:
                taken: tuple[bool, T] = arrived.wait(self._idle_seconds)
            except Unavailable:
                if arrived.done:
                    raise  # the producer's own; the other one says no more than that the time is over
                self._on_idle()
            else:
                return taken

    def close(self) -> None:
        """Nobody reads any more: let the producer go. (Consumer.)"""
        self._closed = True
        place: _Place | None = self._first
        while place is not None:
            if not place.left.done:
                place.left.succeed(None)
            place = place.behind
