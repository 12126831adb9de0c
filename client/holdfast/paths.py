"""Paths of the daemon's machine, as clients give them: relative ones only where both see the same file system.

The URL of an object store goes to the daemon as it is.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from holdfast.checks import text
from holdfast.connection import Connection
from holdfast.errors import InvalidArgument

AnyPath: TypeAlias = "str | os.PathLike[str]"
"""A path of the daemon's machine."""


def path_text(path: AnyPath | None, name: str = "path") -> str:
    """A path as it is sent; "" for None. InvalidArgument for one that is not UTF-8."""
    return "" if path is None else text(os.fspath(path) if isinstance(path, os.PathLike) else path, name)


def working_directory(connection: Connection, *paths: AnyPath | None) -> str:
    """What to send as ``working_directory``: the client's own on a Unix socket, "" where no path needs it.

    InvalidArgument for a relative path over TCP: that machine has another working directory, if not another disk.
    """
    relative = [path for path in map(path_text, paths) if path and not path.startswith("/") and "://" not in path]
    if not relative:
        return ""
    if not connection.address.is_local:
        raise InvalidArgument(
            f"the path {relative[0]!r} is relative, and {connection.address} may be another machine",
            reason="RELATIVE_PATH",
            hint="write an absolute path of the daemon's machine",
        )
    from pathlib import Path

    return str(Path.cwd())


def looks_like_path(snapshot: str) -> bool:
    """Whether a snapshot was named by a file: what contains a slash or ends in ``.snap`` or ``.gz``."""
    return "/" in snapshot or snapshot.endswith((".snap", ".gz"))
