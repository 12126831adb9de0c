"""Answers to requests that leave nothing in the log: one that is sent again gets the first answer (RULES 17)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
MAX_ANSWERS = 1000


class Answers(Generic[T]):
    """The newest answers by request id, in memory: a restart forgets them. Thread-safe."""

    def __init__(self) -> None:
        # Held while a request is carried out, so that its twin waits for the answer.
        self._lock = threading.Lock()
        self._by_request: OrderedDict[str, T] = OrderedDict()

    def once(self, request_id: str, do: Callable[[], T]) -> T:
        """``do()``, or what it returned for this id before. Without an id it is always done; an error is no answer."""
        if not request_id:
            return do()
        with self._lock:
            if request_id not in self._by_request:
                self._by_request[request_id] = do()
                if len(self._by_request) > MAX_ANSWERS:
                    self._by_request.popitem(last=False)
            return self._by_request[request_id]
