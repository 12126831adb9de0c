"""A file that appears under its name only when it is complete and on the disk."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from holdfast.files import publish, replaceable, sync_file

_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP))
"""A file system without locks: there two writers at a time are not told apart."""


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write ``path`` + ``.part``; on success sync it and rename it, on failure remove it.

    A link stays, and what it leads to is replaced. Raises OSError also where ``path`` is no regular file, and where
    somebody else is writing it.
    """
    path = replaceable(path)
    part = path.with_name(path.name + ".part")
    with _locked(part) as file:
        try:
            file.truncate()
            yield file
            sync_file(file)
            publish(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def _locked(part: Path) -> BinaryIO:
    """The file, with whatever a writer that was killed left in it, locked until it is closed."""
    file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "w+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held the lock until now may have given the file its name meanwhile.
        if os.path.samestat(part.stat(), os.fstat(file.fileno())):
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return file
        raise
    file.close()
    raise OSError(errno.EBUSY, f"another program is writing {part}")
