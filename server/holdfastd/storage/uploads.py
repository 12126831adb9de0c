"""UPLOADS.json: the files that are being brought here, and how much of each is on the disk.

A transfer that breaks, or a daemon that ends, costs what came since the last sync and no more. A file is noted before
it is begun, so that the next start knows whose it is: nothing is left of one that nobody goes on with.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from ..format.document import encode_document
from .files import FileSystem, replace_file
from .kept_document import load_or_move_aside
from .names import Layout

UPLOADS_VERSION = 1


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """``path``: the final one, as the registry records paths. ``sha256``: of the whole file, in hexadecimal.

    ``committed_bytes``: from the start of the file, synced. ``touched_us``: when that was last so.
    """

    path: str
    total_bytes: int
    sha256: str
    committed_bytes: int
    touched_us: int

    @property
    def key(self) -> tuple[str, str]:
        """What a transfer is known by when it is resumed."""
        return self.path, self.sha256

    def part_path(self, store_id: uuid.UUID) -> str:
        """Where the bytes wait, as ``path`` is written.

        Two uploads must never share a file, those of two daemons that write into one directory included.
        """
        return f"{self.path}.{self.sha256}.{store_id.hex[:8]}.upload"


@dataclass(frozen=True, slots=True)
class _Content:
    uploads: tuple[UploadRecord, ...] = ()
    format_version: int = UPLOADS_VERSION


class UploadList:
    """The list as it is on the disk. Not thread-safe: its owner holds a lock. Changes block; durable on return.

    ``problem``: why the file that was there could not be used, or None.
    """

    def __init__(self, fs: FileSystem, path: str, content: _Content, problem: str | None = None) -> None:
        self._fs = fs
        self._path = path
        self._content = content
        self.problem = problem

    @classmethod
    def load(cls, fs: FileSystem, layout: Layout) -> UploadList:
        """Read it; a damaged one is moved aside: what was under way begins anew. Raises OSError, UnsupportedFormat."""
        path = layout.uploads
        content, damage = load_or_move_aside(fs, path, "uploads", _Content, UPLOADS_VERSION)
        problem = f"{damage}; remove files that end in .upload by hand" if damage else None
        return cls(fs, path, content or _Content(), problem)

    @property
    def uploads(self) -> tuple[UploadRecord, ...]:
        """All that are under way."""
        return self._content.uploads

    def find(self, path: str, sha256: str) -> UploadRecord | None:
        """The one of this path and content, or None."""
        return next((each for each in self.uploads if each.key == (path, sha256)), None)

    def put(self, upload: UploadRecord) -> None:
        """Add one, or replace what was known of it."""
        self._replace((*(each for each in self.uploads if each.key != upload.key), upload))

    def remove(self, *uploads: UploadRecord) -> None:
        """Forget some."""
        gone = {each.key for each in uploads}
        if gone:
            self._replace(tuple(each for each in self.uploads if each.key not in gone))

    def _replace(self, uploads: tuple[UploadRecord, ...]) -> None:
        content = replace(self._content, uploads=uploads)
        replace_file(self._fs, self._path, encode_document("uploads", content))
        self._content = content
