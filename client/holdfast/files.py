"""Files on the client's own disk: synced, and published by rename."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import BinaryIO

_NO_LOCKS = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS})
"""What a file system answers that has no locks: there, everybody has to look out by himself."""


def replaceable(path: Path) -> Path:
    """Where ``path`` leads, which nobody or a regular file is. Raises OSError for anything else: a device, a pipe or a
    directory must not be replaced by a file."""
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is no regular file")
    return path


def open_alone(path: Path) -> BinaryIO:
    """Open a file for reading and appending, made if need be, that nobody else opens so until it is closed.

    Raises OSError, also for a link and for what is no regular file: what it leads to is somebody else's.
    """
    while True:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file: BinaryIO = os.fdopen(os.open(path, flags, 0o666), "a+b")
        try:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            _lock(file)
            if _is_still(path, file):
                return file
        except BaseException:
            file.close()
            raise
        # Whoever had it has renamed or removed it meanwhile.
        file.close()


def _lock(file: BinaryIO) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another command is writing it") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_still(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def size_of(file: BinaryIO) -> int:
    """Bytes in an open file, those included that are yet to be flushed."""
    file.flush()
    return os.fstat(file.fileno()).st_size


def sync_file(file: BinaryIO) -> None:
    """Flush and sync; durable on return."""
    file.flush()
    os.fsync(file.fileno())


def publish(part: Path, target: Path) -> None:
    """Rename a synced file to its final name; durable on return."""
    part.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
