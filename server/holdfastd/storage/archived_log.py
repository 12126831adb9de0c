"""A log that was archived, read as if it were a log's own directory.

An archive holds each WAL segment byte for byte under its own name. Of one that is still being written it holds pieces:
bytes ``from`` up to ``to`` of it, synced when they were taken, under a name that says so. They may overlap; a whole
file stands for all of its pieces. Nothing in an archive is ever changed: pieces go when something larger has them.
"""

from __future__ import annotations

import errno
import posixpath

from ..errors import Corruption
from ..format.urls import is_object_url
from .files import Cache, FileSystem, PathReader, Reader
from .log_archive_listing import Piece, list_log_archive

HEADS = 4096
"""Bytes at the beginning of each file that are asked for many times: its header, and that of its first record."""


class ArchivedLog:
    """See the module: what ``find_wal_files`` and all that read with it ask of a file system. One thread.

    The directory is listed once, and again where a file has gone meanwhile. Raises Corruption where bytes between two
    pieces are missing, OSError as the file system does.
    """

    def __init__(self, fs: FileSystem, directory: str) -> None:
        self._fs = fs
        self._directory = directory
        self._pieces: dict[str, tuple[Piece, ...]] | None = None
        self._pruned = False
        self._heads: dict[str, bytes] = {}
        self._open: tuple[str, Reader] | None = None

    @property
    def pruned(self) -> bool:
        """Whether it begins where it does since it was pruned. Blocks; raises OSError."""
        self._listed()
        return self._pruned

    @property
    def is_archive(self) -> bool:
        """Whether that is certain: then all of it was synced, and a write that was not finished is damage.

        A directory with nothing but whole WAL segments may be a log that was at rest, or was killed.
        """
        if is_object_url(self._directory) or self.pruned:
            return True
        return any(
            piece.path != posixpath.join(self._directory, name)
            for name, found in self._listed().items()
            for piece in found
        )

    def listdir(self, path: str) -> list[str]:
        """The names of the WAL segments, whether the archive has them whole or in pieces."""
        self._check(path)
        return sorted(self._listed())

    def size(self, path: str) -> int:
        """Bytes up to where the archive has the WAL segment."""
        return max(piece.end for piece in self._pieces_of(path))

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """As ``FileSystem.read``."""
        end = self.size(path) if length is None else min(offset + length, self.size(path))
        if end <= HEADS:
            if path not in self._heads:
                try:
                    self._heads[path] = self._read(path, 0, min(HEADS, self.size(path)))
                except Corruption:
                    # What was asked for may lie in front of it.
                    return self._read(path, offset, end)
            if len(self._heads[path]) >= end:
                return self._heads[path][offset:end]
        return self._read(path, offset, end)

    def reader(self, path: str, cache: Cache = Cache.USE) -> Reader:
        """As ``FileSystem.reader``."""
        return PathReader(self, path)

    def _read(self, path: str, offset: int, end: int) -> bytes:
        try:
            return self._joined(path, offset, end)
        except FileNotFoundError:
            # Whoever archives has put something larger in its place.
            self._pieces = self._open = None
            return self._joined(path, offset, end)

    def _joined(self, path: str, offset: int, end: int) -> bytes:
        found = []
        for piece in self._pieces_of(path):
            if piece.start > offset:
                break
            if piece.end > offset and offset < end:
                found.append(self._bytes_of(piece, offset, min(end, piece.end)))
                offset = min(end, piece.end)
        if offset < end:
            raise Corruption(
                f"bytes from {offset} on of this WAL segment are missing from the archive, which has some behind them",
                path=path,
                offset=offset,
                reason="ARCHIVE_PIECE_MISSING",
                hint="bring the piece back that begins there; without it, restore to a moment before it",
            )
        return b"".join(found)

    def _bytes_of(self, piece: Piece, offset: int, end: int) -> bytes:
        if self._open is None or self._open[0] != piece.path:
            self._open = (piece.path, self._fs.reader(piece.path))
        found = self._open[1].read(offset - piece.start, end - offset)
        if len(found) < end - offset:
            raise Corruption(
                f"the file ends after {self._open[1].size} bytes; its name says {piece.end - piece.start}",
                path=piece.path,
                offset=self._open[1].size,
                reason="ARCHIVE_PIECE_SHORT",
                hint="bring it back whole; without it, restore to a moment before it",
            )
        return found

    def _pieces_of(self, path: str) -> tuple[Piece, ...]:
        self._check(posixpath.dirname(path))
        pieces = self._listed().get(posixpath.basename(path))
        if not pieces:
            raise FileNotFoundError(errno.ENOENT, "the archive has no such WAL segment", path)
        return pieces

    def _listed(self) -> dict[str, tuple[Piece, ...]]:
        if self._pieces is None:
            found = list_log_archive(self._fs, self._directory)
            self._pruned = bool(found.begins)
            # What is shorter than it should be is read all the same: only its end is missing.
            parts = {name: found.pieces.get(name, ()) + short for name, short in found.short.items()}
            parts = found.pieces | {name: tuple(sorted(pieces)) for name, pieces in parts.items()}
            self._pieces = parts | {name: found.parts_of(name, self._directory) for name in found.whole}
        return self._pieces

    def _check(self, directory: str) -> None:
        if directory != self._directory:
            raise FileNotFoundError(errno.ENOENT, f"this is the archive in {self._directory}", directory)
