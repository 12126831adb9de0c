"""What lies in an archive of the log, by one listing: WAL segments that are whole, pieces of others, unfinished files.

<wal name>                whole
<wal name>.<from>-<to>    a piece
either with .part         being written, or left by whoever was killed meanwhile
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass

from .archived_log import Piece
from .files import FileSystem
from .names import parse_piece_name, parse_wal_name
from .objects import PART


@dataclass(frozen=True, slots=True)
class LogArchiveListing:
    """``whole``: bytes by the name of the WAL segment; ``pieces``: by that name, in order, whether it is whole or not.

    ``short``: pieces with fewer bytes than their names say, which are not among those; ``unfinished``: what has no name
    yet; both as paths. ``size_bytes``: of what is finished.
    """

    whole: dict[str, int]
    pieces: dict[str, tuple[Piece, ...]]
    short: tuple[str, ...]
    unfinished: tuple[str, ...]
    size_bytes: int

    @property
    def names(self) -> list[str]:
        """The WAL segments of which there is anything, in log order."""
        return sorted({*self.whole, *self.pieces}, key=log_order)


def list_log_archive(fs: FileSystem, directory: str) -> LogArchiveListing:
    """Blocks; raises OSError. Whatever else lies there is left out."""
    whole: dict[str, int] = {}
    pieces: dict[str, list[Piece]] = {}
    short, unfinished, total = [], [], 0
    for name, facts in fs.facts(directory).items():
        path, part = posixpath.join(directory, name), parse_piece_name(name)
        if parse_wal_name(name) is not None:
            whole[name] = facts.size
        elif part is not None and facts.size != part.end - part.start:
            short.append(path)
        elif part is not None:
            pieces.setdefault(part.of, []).append(Piece(part.start, part.end, path))
        elif _is_unfinished(name):
            unfinished.append(path)
            continue
        else:
            continue
        total += facts.size
    ordered = {name: tuple(sorted(found)) for name, found in pieces.items()}
    return LogArchiveListing(whole, ordered, tuple(short), tuple(unfinished), total)


def reach_of(pieces: Iterable[Piece]) -> int:
    """Up to where pieces, in order, have a WAL segment from its beginning on without a hole."""
    reached = 0
    for piece in pieces:
        if piece.start > reached:
            break
        reached = max(reached, piece.end)
    return reached


def log_order(name: str) -> tuple[int, int]:
    """The place of a WAL segment in the log, by its name."""
    place = parse_wal_name(name)
    if place is None:
        raise ValueError(f"{name} is no WAL segment's name")
    return place


def _is_unfinished(name: str) -> bool:
    stem = name.removesuffix(PART)
    return stem != name and (parse_wal_name(stem) is not None or parse_piece_name(stem) is not None)
