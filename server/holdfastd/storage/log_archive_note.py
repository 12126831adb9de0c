"""ARCHIVE.json: up to where the log is in its archive, and what no archive has, known without asking the archive.

The archive itself is the truth: each start holds it against the log, and nothing is trimmed before. The note is for
what the archive cannot tell: that something ought to be there, and what was lost before it was archived.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..format.document import encode_document
from .files import FileSystem, replace_file
from .kept_document import load_or_move_aside
from .names import Layout

ARCHIVE_VERSION = 1
MOST_GAPS = 100
"""Kept, the newest: each is a time in which the archive was out of reach for as long as the log could wait."""


@dataclass(frozen=True, slots=True)
class Through:
    """Everything before the WAL segment named ``file``, and of that up to byte ``offset``, is in the archive.

    ``sequence`` and ``time_us``: of the last operation there; of the log in front of it where ``offset`` is 0.
    ``whole``: it is complete there; ``closed``: it ends with the log switched off.
    """

    file: str = ""
    offset: int = 0
    sequence: int = 0
    time_us: int = 0
    whole: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class ArchiveGap:
    """Operations that the archive does not have, from one sequence and time through another, and why."""

    first: int
    first_us: int
    last: int
    last_us: int
    why: str


@dataclass(frozen=True, slots=True)
class ArchiveNote:
    """``path``: the archive that is spoken of, as it was resolved. ``used``: something was archived there."""

    path: str = ""
    used: bool = False
    through: Through = Through()
    gaps: tuple[ArchiveGap, ...] = ()
    format_version: int = ARCHIVE_VERSION

    def with_gap(self, gap: ArchiveGap, through: Through) -> ArchiveNote:
        """The note once more is known to be missing, with what there is beginning anew behind it."""
        return replace(self, through=through, gaps=(*self.gaps, gap)[-MOST_GAPS:])


def load_note(fs: FileSystem, layout: Layout, path: str) -> tuple[ArchiveNote, str]:
    """What is known of the archive at ``path``, and what became of a damaged document, or "".

    Blocks; durable on return. Raises OSError, UnsupportedFormat.
    """
    note, problem = load_or_move_aside(fs, layout.archive, "archive", ArchiveNote, ARCHIVE_VERSION)
    if note is None or note.path != path:
        return ArchiveNote(path), problem
    return note, problem


def store_note(fs: FileSystem, layout: Layout, note: ArchiveNote) -> None:
    """Replace the document. Blocks; durable on return; raises OSError."""
    replace_file(fs, layout.archive, encode_document("archive", note))
