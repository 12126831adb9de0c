"""Standard output that cannot be written: an error like any other."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.errors import HoldfastError


@contextmanager
def standard_output() -> Iterator[None]:
    """Around whatever writes results. Raises HoldfastError where standard output is closed or takes no more.

    BrokenPipeError goes through: whoever stops reading knows that.
    """
    if sys.stdout is None:
        raise _failed("it is closed")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _failed(error.strerror or str(error)) from error


def _failed(why: str) -> HoldfastError:
    return HoldfastError(
        f"standard output cannot be written: {why}",
        reason="OUTPUT_FAILED",
        hint="what the command did stays done; only its output is lost or incomplete",
    )
