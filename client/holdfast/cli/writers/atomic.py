"""A file that appears under its name only when it is complete and on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from holdfast.files import publish, sync_file


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Write ``path`` + ``.part``; on success sync it and rename it, on failure remove it."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w+b") as file:
            yield file
            sync_file(file)
        publish(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
