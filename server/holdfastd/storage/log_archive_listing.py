"""What lies in an archive of the log, by one listing: WAL segments that are whole, pieces of others, unfinished files.

<wal name>                whole
<wal name>.<from>-<to>    a piece
<wal name>.begins         the archive begins there (log_archive_beginning)
any with .part            being written, or left by whoever was killed meanwhile
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from .files import FileSystem
from .names import parse_beginning_name, parse_piece_name, parse_wal_name
from .objects import PART


class Piece(NamedTuple):
    """Bytes ``start`` up to ``end`` of a WAL segment, in the file ``path``."""

    start: int
    end: int
    path: str


@dataclass(frozen=True, slots=True)
class LogArchiveListing:
    """``whole``: bytes by the name of the WAL segment; ``pieces``: by that name, in order, whether it is whole or not.

    ``short``: the same of pieces with fewer bytes than their names say, which are not among those. ``unfinished``: what
    has no name yet, as paths. ``size_bytes``: of what is finished. ``begins``: the WAL segment that the archive begins
    with since it was pruned, or ""; ``pruned``: what is left in front of it, bytes by path, in the order of removal.
    """

    whole: dict[str, int]
    pieces: dict[str, tuple[Piece, ...]]
    short: dict[str, tuple[Piece, ...]]
    unfinished: tuple[str, ...]
    size_bytes: int
    begins: str = ""
    pruned: dict[str, int] = field(default_factory=dict)

    def parts_of(self, name: str, directory: str) -> tuple[Piece, ...]:
        """What there is of a WAL segment: one piece of all of it where it is whole."""
        if name in self.whole:
            return (Piece(0, self.whole[name], posixpath.join(directory, name)),)
        return self.pieces[name]

    def with_whole(self, name: str, size: int) -> LogArchiveListing:
        """The listing once a WAL segment was put there."""
        return replace(self, whole={**self.whole, name: size}, size_bytes=self.size_bytes + size)

    def without(self, gone: Iterable[Piece], of: str) -> LogArchiveListing:
        """The listing once some pieces of a WAL segment were removed."""
        paths, known = {piece.path for piece in gone}, self.pieces.get(of, ())
        kept = tuple(piece for piece in known if piece.path not in paths)
        freed = sum(piece.end - piece.start for piece in known if piece.path in paths)
        pieces = {**self.pieces, of: kept} if kept else {name: self.pieces[name] for name in self.pieces if name != of}
        return replace(self, pieces=pieces, size_bytes=self.size_bytes - freed)

    @property
    def names(self) -> list[str]:
        """The WAL segments of which there is anything, in log order."""
        return sorted({*self.whole, *self.pieces}, key=log_order)


def list_log_archive(fs: FileSystem, directory: str) -> LogArchiveListing:
    """Blocks; raises OSError. Whatever else lies there is left out."""
    facts = fs.facts(directory)
    beginnings = sorted(filter(None, map(parse_beginning_name, facts)), key=log_order)
    begins = beginnings[-1] if beginnings else ""
    whole: dict[str, int] = {}
    pieces: dict[str, list[Piece]] = {}
    short: dict[str, list[Piece]] = {}
    unfinished, pruned, total = [], [], 0
    for name, found in facts.items():
        path, of, part = posixpath.join(directory, name), wal_name_in(name), parse_piece_name(name)
        if _is_unfinished(name):
            unfinished.append(path)
        if not of:
            continue
        if begins and log_order(of) < log_order(begins):
            pruned.append(name)
            continue
        if part is not None:
            complete = found.size == part.end - part.start
            (pieces if complete else short).setdefault(of, []).append(Piece(part.start, part.end, path))
        elif name == of:
            whole[name] = found.size
        else:
            continue
        total += found.size
    left = {posixpath.join(directory, name): facts[name].size for name in sorted(pruned, key=removal_order)}
    return LogArchiveListing(whole, _ordered(pieces), _ordered(short), tuple(unfinished), total, begins, left)


def wal_name_in(name: str) -> str:
    """The WAL segment of which a finished file of an archive tells by its base name; "" for any other file."""
    part = parse_piece_name(name)
    if part is not None:
        return part.of
    return name if parse_wal_name(name) is not None else parse_beginning_name(name) or ""


def removal_order(name: str) -> tuple[tuple[int, int], bool, str]:
    """Sorts base names as they are removed: the oldest WAL segment first, of each its pieces before the whole of it."""
    return log_order(wal_name_in(name)), parse_piece_name(name) is None, name


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


def _ordered(found: dict[str, list[Piece]]) -> dict[str, tuple[Piece, ...]]:
    return {name: tuple(sorted(pieces)) for name, pieces in found.items()}


def _is_unfinished(name: str) -> bool:
    stem = name.removesuffix(PART)
    return stem != name and bool(wal_name_in(stem))
