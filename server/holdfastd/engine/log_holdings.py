"""What an archive has of the store's own log: listed, and held against the log before any of it is believed.

A WAL segment that is whole there has the size of the log's, its header, and its last record, whose checksum takes in
that of every record before; of one in pieces each piece has its very bytes. Whatever else lies there under a name of
the log is another history: of another store, of a copied data directory, or of the time before the log was cut. Such an
archive is refused, and nothing in it is changed.
"""

from __future__ import annotations

import contextlib
import posixpath
import uuid
from collections.abc import Collection, Iterable

from ..errors import FailedPrecondition
from ..format.record import find_headers
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header
from ..storage.files import FileSystem, Reader
from ..storage.log_archive_chain import ArchiveChain
from ..storage.log_archive_listing import LogArchiveListing, Piece, list_log_archive, log_order, reach_of
from ..storage.wal_files import last_record
from .log_now import LogNow, Stretch

FOREIGN = "ARCHIVE_FOREIGN"
_COMPARED_BYTES = 1 << 20
_TAIL_BYTES = 1 << 16


class LogHoldings:
    """See the module. One thread; blocks for the archive.

    ``listing``: what was there when ``look`` was called last, with what was done since. Nothing is held before that.
    """

    def __init__(self, fs: FileSystem, directory: str, store_id: uuid.UUID) -> None:
        self._fs = fs
        self._directory = directory
        self._store_id = store_id
        self.listing = LogArchiveListing({}, {}, {}, (), 0)
        # Proven: whole WAL segments by name, and paths of pieces.
        self._whole: set[str] = set()
        self._pieces: dict[str, tuple[Piece, ...]] = {}
        self._proven_pieces: set[str] = set()
        self._own_heads: set[str] = set()

    def look(self, now: LogNow, sent: str = "") -> None:
        """List the archive, and prove what is new there and belongs to ``now``, the log at least as it was archived.

        ``sent``: the path of a piece that was put there just now: only its end is read back.
        Raises FailedPrecondition (ARCHIVE_FOREIGN), OSError.
        """
        listing = list_log_archive(self._fs, self._directory)
        if now.files:
            own = {stretch.name for stretch in now.files}
            self._check_beside(listing, now, own)
            self._check_older(listing, now, [name for name in listing.names if name not in own])
        for number, stretch in enumerate(now.files):
            self._prove(listing, stretch, sent, complete=number < now.sealed)
        self.listing = listing
        names = {stretch.name for stretch in now.files}
        self._own_heads |= self._whole - names
        self._whole &= listing.whole.keys() & names
        self._pieces = {name: listing.pieces.get(name, ()) for name in names}
        self._proven_pieces = {piece.path for pieces in self._pieces.values() for piece in pieces}

    def prove_whole(self, stretch: Stretch) -> None:
        """Read back what stands under the name of a complete WAL segment now. Raises as ``look``."""
        path = self._path(stretch.name)
        size = self._fs.size(path)
        self._check_whole(stretch, path, size)
        self._whole.add(stretch.name)
        self.listing = self.listing.with_whole(stretch.name, size)

    def has_whole(self, stretch: Stretch) -> bool:
        return stretch.name in self._whole

    def pieces(self, stretch: Stretch) -> tuple[Piece, ...]:
        """Those there are of a WAL segment, in order."""
        return self._pieces.get(stretch.name, ())

    def reach(self, stretch: Stretch) -> int:
        """Up to which byte the archive has a WAL segment, from its beginning on."""
        return stretch.end if self.has_whole(stretch) else reach_of(self.pieces(stretch))

    def cut_short(self, now: LogNow) -> list[Piece]:
        """Pieces of the log that have fewer bytes than their names say."""
        return [piece for stretch in now.files for piece in self.listing.short.get(stretch.name, ())]

    def superfluous(self, stretch: Stretch) -> list[Piece]:
        """Pieces of which something larger has every byte."""
        pieces = self.pieces(stretch)
        if self.has_whole(stretch):
            return list(pieces)
        return [piece for piece in pieces if any(_contains(other, piece) for other in pieces if other != piece)]

    def forget(self, stretch: Stretch, gone: Collection[Piece]) -> None:
        """These pieces were removed."""
        paths = {piece.path for piece in gone}
        self._pieces[stretch.name] = tuple(piece for piece in self.pieces(stretch) if piece.path not in paths)
        self.listing = self.listing.without(gone, stretch.name)

    def _check_beside(self, listing: LogArchiveListing, now: LogNow, own: set[str]) -> None:
        """A log is trimmed from its beginning alone: whatever else it does not have is no part of it."""
        first, last = now.files[0].name, now.files[-1].name
        for name in listing.names:
            if name not in own and log_order(name) > log_order(first):
                ahead = log_order(name) > log_order(last)
                where = f"ahead of this log, which ends with {last}" if ahead else "among the WAL segments of this log"
                raise foreign(self._path(name), f"lies {where}")

    def _check_older(self, listing: LogArchiveListing, now: LogNow, older: list[str]) -> None:
        """Whose the oldest and the newest are that the log itself has no longer; what lies between, a survey tells.

        The newest must not go on behind the place where the log begins.
        """
        if not older or self._own_heads.issuperset({older[0], older[-1]}):
            return
        for name in {older[0], older[-1]} - self._own_heads:
            header = self._header_there(listing, name)
            if header is not None and header.store_id != self._store_id:
                raise foreign(self._path(name), f"belongs to store {header.store_id}")
        first = now.files[0]
        end, begins = ArchiveChain(self._fs, self._directory).end_before(listing, first.name), first.info.header
        if end is not None and end.sequence > begins.previous_sequence:
            goes_on = f"goes on to sequence {end.sequence}, and this log from {begins.previous_sequence} on"
            raise foreign(self._path(older[-1]), f"{goes_on} with {first.name}")
        self._own_heads.update((older[0], older[-1]))

    def _header_there(self, listing: LogArchiveListing, name: str) -> WalFileHeader | None:
        first = next(iter(listing.pieces.get(name, ())), None)
        if name in listing.whole:
            path = self._path(name)
        elif first is not None and first.start == 0:
            path = first.path
        else:
            return None
        found = decode_file_header(self._fs.read(path, 0, FILE_HEADER_SIZE))
        return found if isinstance(found, WalFileHeader) else None

    def _prove(self, listing: LogArchiveListing, stretch: Stretch, sent: str, *, complete: bool) -> None:
        size = listing.whole.get(stretch.name)
        if size is not None and not self.has_whole(stretch):
            if not complete:
                raise foreign(self._path(stretch.name), "is complete, while this log still writes its own")
            self._check_whole(stretch, self._path(stretch.name), size)
            self._whole.add(stretch.name)
        if self.has_whole(stretch):
            return
        for piece in listing.pieces.get(stretch.name, ()):
            if piece.path not in self._proven_pieces:
                self._check_piece(stretch, piece, whole=piece.path != sent)
        for piece in listing.short.get(stretch.name, ()):
            self._check_short(stretch, piece)

    def _check_whole(self, stretch: Stretch, path: str, size: int) -> None:
        here = self._fs.read(stretch.info.path, 0, FILE_HEADER_SIZE)
        if self._fs.read(path, 0, FILE_HEADER_SIZE) != here[:size]:
            raise foreign(path, "is not the WAL segment that this log has under that name")
        if size > stretch.end:
            raise foreign(path, f"has {size} bytes; this log's WAL segment of that name has {stretch.end}")
        start, tail = self._last_record(stretch, min(FILE_HEADER_SIZE, size), size)
        if self._fs.read(path, start, size - start) != tail:
            raise foreign(path, f"ends differently from {stretch.info.path}: it parts from this log's history")
        ended = self._content_end(stretch)
        if size < ended:
            raise FailedPrecondition(
                f"{path} has {size} bytes, and {stretch.info.path} has {ended}: it was cut short",
                reason="ARCHIVE_CUT_SHORT",
                hint="remove it from the archive: the log still has all of it, and archiving goes on with it by itself",
                path=path,
            )

    def _content_end(self, stretch: Stretch) -> int:
        """Where the last record of a WAL segment ends: what was only preallocated behind it is not archived."""
        path, header = stretch.info.path, stretch.info.header
        found = last_record(lambda start, end: self._fs.read(path, start, end - start), header, stretch.end)
        return FILE_HEADER_SIZE if found is None else min(stretch.end, found[0] + found[1].size)

    def _check_short(self, stretch: Stretch, piece: Piece) -> None:
        """What whoever copied an archive did not bring to its end is the log's all the same, and is sent again."""
        reader = self._fs.reader(piece.path)
        if piece.start + reader.size > min(piece.end, stretch.end):
            raise foreign(piece.path, f"has {reader.size} bytes, and its name says {piece.end - piece.start}")
        self._compare(stretch, piece, reader, piece.start, piece.start + reader.size)

    def _last_record(self, stretch: Stretch, begin: int, end: int) -> tuple[int, bytes]:
        """The end of a stretch of the log, and where that begins: as much as it takes for a record to begin in it."""
        count = _TAIL_BYTES
        while True:
            start = max(begin, end - count)
            tail = self._fs.read(stretch.info.path, start, end - start)
            if start == begin or any(find_headers(tail, start, stretch.info.header.salt)):
                return start, tail
            count *= 4

    def _check_piece(self, stretch: Stretch, piece: Piece, *, whole: bool) -> None:
        if piece.end > stretch.end:
            raise foreign(piece.path, f"goes beyond this log's WAL segment, which is durable up to byte {stretch.end}")
        start = piece.start if whole else self._last_record(stretch, piece.start, piece.end)[0]
        self._compare(stretch, piece, self._fs.reader(piece.path), start, piece.end)

    def _compare(self, stretch: Stretch, piece: Piece, reader: Reader, start: int, end: int) -> None:
        """Raise unless a piece has the log's very bytes from ``start`` up to ``end``."""
        for offset in range(start, end, _COMPARED_BYTES):
            count = min(_COMPARED_BYTES, end - offset)
            if reader.read(offset - piece.start, count) != self._fs.read(stretch.info.path, offset, count):
                raise foreign(piece.path, f"differs from {stretch.info.path}, of which it should be a piece")

    def _path(self, name: str) -> str:
        return posixpath.join(self._directory, name)


def foreign(path: str, why: str) -> FailedPrecondition:
    """The refusal of an archive in which ``path`` is not of this store's history."""
    return FailedPrecondition(
        f"{path} {why}",
        reason=FOREIGN,
        hint="give this store an archive of its own: another --archive-path. So it is after a data directory was "
        "copied, and after --recovery=point-in-time has cut the log: keep what is there, it leads to the time before",
        path=path,
    )


def remove_pieces(fs: FileSystem, directory: str, paths: Iterable[str]) -> None:
    """Remove files of an archive; what is gone already is no obstacle. Durable on return. Raises OSError."""
    gone = list(paths)
    for path in gone:
        with contextlib.suppress(FileNotFoundError):
            fs.unlink(path)
    if gone:
        fs.sync_dir(directory)


def _contains(larger: Piece, piece: Piece) -> bool:
    return larger.start <= piece.start and piece.end <= larger.end
