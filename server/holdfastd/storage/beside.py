"""Work that goes on beside its caller: a large write, a hash. Who opens the file system says on whose threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias


class Pending(Protocol):
    """Something that is being done."""

    def result(self) -> Any:
        """Wait for it; raises what it raised."""


Beside: TypeAlias = Callable[[Callable[[], object]], Pending]
"""Runs something on some thread, like ``Executor.submit``."""


class Done:
    """What was done at once, on the calling thread."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._result: object = None
        self._error: BaseException | None = None
        try:
            self._result = work()
        except Exception as error:
            self._error = error

    def result(self) -> Any:
        """What came out."""
        if self._error is not None:
            raise self._error
        return self._result
