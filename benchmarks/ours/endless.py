"""Work that goes on, over and over, while something else is measured."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def going_on(work: Callable[[], float], taken: list[float]) -> Iterator[None]:
    """While the block runs, one `work` follows the other; `taken` gets what each returns. Raises what one raised."""
    over = threading.Event()
    failed: list[Exception] = []

    def run() -> None:
        try:
            while not over.is_set():
                taken.append(work())
        except Exception as failure:
            failed.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]
