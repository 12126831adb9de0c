"""Threads for what goes on beside long work: large writes, hashes, the checks of a restore."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ..storage.beside import Done, Pending


class Helpers:
    """A pool whose work may ask for more of it. Thread-safe."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="beside")
        self._here = threading.local()

    def __call__(self, work: Callable[[], object]) -> Pending:
        """Do it on another thread; at once where this is one of them: if all waited for one another none would go on.

        Does not block otherwise.
        """
        return Done(work) if getattr(self._here, "helps", False) else self._pool.submit(self._do, work)

    def _do(self, work: Callable[[], object]) -> object:
        self._here.helps = True
        return work()
