"""What an error of the operating system means for the log: refused, with nothing in doubt; or failed for good."""

from __future__ import annotations

import errno

from ..errors import Corruption, EngineFailed, FailedPrecondition, HoldfastError, ResourceExhausted

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_lack_of_space(error: OSError) -> bool:
    """Whether the write may succeed later, when something was removed or a quota raised."""
    return error.errno in _NO_SPACE


def refusal(what: str, error: OSError) -> HoldfastError:
    """Nothing was logged and nothing is in doubt: lack of space, or a directory that may not be written to."""
    if is_lack_of_space(error):
        return ResourceExhausted(
            f"{what}: {error.strerror}",
            reason="NO_SPACE",
            hint="free space on the disk of the log: delete snapshots, compact, or shorten the log's retention",
        )
    return FailedPrecondition(
        f"{what}: {error.strerror}",
        reason="WAL_WRITE_REFUSED",
        hint="let the daemon write to that directory, or move the log: holdfast storage wal enable --path DIR",
    )


def no_log(why: str) -> FailedPrecondition:
    """Nothing can be appended, because the log has had its last word or was never begun."""
    return FailedPrecondition(
        why,
        reason="LOG_DISABLED",
        hint="begin it again with `holdfast storage wal enable`, or go on without one: `holdfast storage wal disable`",
    )


def sync_failure(what: str, error: OSError) -> EngineFailed:
    """A sync failed: what the disk holds is unknown until the next start."""
    return EngineFailed(
        f"{what} could not be made durable: {error.strerror}",
        reason="LOG_SYNC_FAILED",
        hint="check the disk (dmesg, smartctl), then restart the daemon; it will find out what survived",
        path=error.filename,
    )


def unreadable(error: OSError) -> HoldfastError:
    """The log cannot be read: lost sectors are corruption, everything else (rights, descriptors) can be put right."""
    path = str(error.filename or "the log")
    if error.errno == errno.EIO:
        return Corruption(
            f"it cannot be read: {error.strerror}",
            path=path,
            hint="check the disk (dmesg, smartctl); if it is failing, restore the newest snapshot on another one",
        )
    return FailedPrecondition(
        f"{path} cannot be read: {error.strerror}",
        reason="WAL_UNREADABLE",
        hint="let the daemon read the WAL directory and its files",
        path=path,
    )
