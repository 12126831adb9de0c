"""What an error of the operating system means outside the log and the manifest: refused, with nothing in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import FailedPrecondition, HoldfastError, ResourceExhausted
from ..storage.store_errors import StoreError
from ..storage.wal_errors import is_lack_of_space
from .store_refusals import store_refusal

_NO_ROOM = frozenset({"DISK_FULL", "NO_SPACE"})


def lacks_space(error: BaseException) -> bool:
    """Whether the disk was full, as the operating system or one of our own errors says."""
    if isinstance(error, HoldfastError):
        return error.reason in _NO_ROOM
    return isinstance(error, OSError) and is_lack_of_space(error)


@contextmanager
def disk_errors_of(what: str) -> Iterator[None]:
    """Turn OSError into ResourceExhausted or FailedPrecondition; ``what`` could not be done, such as "a checkpoint"."""
    try:
        yield
    except StoreError as error:
        raise store_refusal(error, f"{what} failed") from error
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        message = f"{what} failed: {error.strerror or error}{where}"
        if is_lack_of_space(error):
            raise ResourceExhausted(
                message,
                reason="DISK_FULL",
                hint="free space on that file system, for example by deleting snapshots, then try again",
                path=error.filename,
            ) from error
        raise FailedPrecondition(
            message,
            reason="DISK_ERROR",
            hint="check permissions and the disk (dmesg, smartctl), then try again",
            path=error.filename,
        ) from error
