"""Which lock is taken while which is held: every lock of the engine, wrapped, while somebody runs it."""

from __future__ import annotations

import linecache
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from holdfastd.engine.committer import Committer
from holdfastd.engine.tickets import Submission, Ticket

ROLE = "whoever commits"
_ATTRIBUTE = re.compile(r"\bself\.(\w+)\s*=")


class LockOrder:
    """``taken``: pairs of names, the second waited for by a thread that held the first. ``seen``: every name.

    A lock's name is its class and attribute. The role of whoever commits counts as a lock: it is held while a group is
    committed or an action runs, and waited for by everybody who submits something.
    """

    def __init__(self) -> None:
        self.taken: set[tuple[str, str]] = set()
        self.seen: set[str] = set()
        self._held = threading.local()

    @property
    def held(self) -> list[str]:
        """What the calling thread holds, in the order in which it took it."""
        if not hasattr(self._held, "names"):
            self._held.names = []
        names: list[str] = self._held.names
        return names

    def waits_for(self, name: str) -> None:
        """The calling thread is about to wait for ``name``."""
        self.seen.add(name)
        self.taken.update((each, name) for each in self.held)

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """The calling thread has ``name`` while the block runs."""
        self.held.append(name)
        try:
            yield
        finally:
            self.held.remove(name)


class Recorded:
    """A lock that tells a LockOrder."""

    def __init__(self, lock: Any, name: str, order: LockOrder) -> None:
        self._lock, self._name, self._order = lock, name, order

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        # Whoever does not wait cannot be part of a circle; nor can who has it already, where that is allowed.
        if blocking and self._name not in self._order.held:
            self._order.waits_for(self._name)
        taken: bool = self._lock.acquire(blocking, timeout)
        if taken:
            self._order.held.append(self._name)
        return taken

    def release(self) -> None:
        self._order.held.remove(self._name)
        self._lock.release()

    def _is_owned(self) -> bool:
        """What a Condition asks."""
        return self._name in self._order.held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def record_locks(monkeypatch: pytest.MonkeyPatch) -> LockOrder:
    """Whatever locks the engine makes from now on are recorded."""
    order = LockOrder()
    new_lock, new_rlock, new_condition = threading.Lock, threading.RLock, threading.Condition

    def lock() -> Any:
        name = _name_of(sys._getframe(1))
        return new_lock() if name is None else Recorded(new_lock(), name, order)

    def condition(lock: Any = None) -> threading.Condition:
        name = _name_of(sys._getframe(1))
        if lock is None and name is not None:
            lock = Recorded(new_rlock(), name, order)
        return new_condition(lock)

    monkeypatch.setattr(threading, "Lock", lock)
    monkeypatch.setattr(threading, "Condition", condition)
    _record_the_role(monkeypatch, order)
    return order


def _name_of(frame: FrameType) -> str | None:
    """Class and attribute of the lock that a line of the engine makes; None for anybody else's, and for tickets."""
    owner = frame.f_locals.get("self")
    if not frame.f_globals.get("__name__", "").startswith("holdfastd.") or owner is None or isinstance(owner, Ticket):
        return None
    attribute = _ATTRIBUTE.search(linecache.getline(frame.f_code.co_filename, frame.f_lineno))
    assert attribute is not None, "a lock without a name"
    return f"{type(owner).__name__}.{attribute[1]}"


def _record_the_role(monkeypatch: pytest.MonkeyPatch, order: LockOrder) -> None:
    submit, commit = Committer.submit, Committer._commit

    def submitting(self: Committer, submission: Submission) -> Any:
        order.waits_for(ROLE)
        return submit(self, submission)

    def committing(self: Committer, group: list[Submission]) -> None:
        with order.holding(ROLE):
            commit(self, group)

    monkeypatch.setattr(Committer, "submit", submitting)
    monkeypatch.setattr(Committer, "_commit", committing)
