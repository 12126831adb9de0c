"""A snapshot's file as it is, for somebody elsewhere: what is sent is what is proven.

The archive is read from its beginning, and every byte that the proof reads goes out as well: who has received the last
piece has a file whose members match their sums. Where the beginning is there already it is read all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Corruption, FailedPrecondition, OutOfRange
from ..storage.beside import Beside
from ..storage.hash_beside import HashBeside
from .disk_errors import disk_errors_of
from .snapshot_catalog import SnapshotCatalog
from .snapshot_context import SnapshotContext
from .snapshot_info import SnapshotInfo
from .snapshot_receipts import note_damage

PIECE_BYTES = 1 << 20
SIGN_OF_LIFE_BYTES = 64 << 20
"""What is read between two pieces at most, be they empty."""


@dataclass(frozen=True, slots=True)
class FilePiece:
    """``data`` stands at ``offset`` of the file. ``file_sha256``: of the whole file, with the last piece; else ""."""

    offset: int
    data: bytes
    file_sha256: str = ""


class Download:
    """One snapshot's file on its way out. ``info``: what is being sent, from the first piece on."""

    def __init__(self, context: SnapshotContext, catalog: SnapshotCatalog, info: SnapshotInfo) -> None:
        self._context = context
        self._catalog = catalog
        self.info = info
        self.total_bytes = 0

    def pieces(self, start: int = 0, if_match: str = "") -> Iterator[FilePiece]:
        """The file from byte ``start`` on, in pieces of at most 1 MiB. Blocks; nobody deletes the file meanwhile.

        ``if_match``: the SHA-256 of the snapshot's sums, of a transfer that is resumed. Raises NotFound, OutOfRange
        beyond the end, FailedPrecondition where the snapshot is another one, and Corruption at the latest where the
        last piece is due.
        """
        path = self.info.path
        with self._catalog.in_use(path), disk_errors_of(f"reading {path}"):
            try:
                # It may have been consolidated since it was asked for; from here on it stays what it is.
                self.info = self._catalog.get(path)
                yield from self._proven(start, if_match)
            except Corruption as error:
                note_damage(self._context, self._catalog, error)
                raise

    def _proven(self, start: int, if_match: str) -> Iterator[FilePiece]:
        outgoing = _Outgoing(self._context.fs.beside, start)
        archive = self._catalog.open(self.info, tap=outgoing.take)
        self.total_bytes = archive.size
        self._check(start, if_match)
        position = start
        for _ in archive.steps():
            for data in outgoing.whole_pieces():
                yield FilePiece(position, data)
                position += len(data)
        *others, last = outgoing.rest()
        for data in others:
            yield FilePiece(position, data)
            position += len(data)
        yield FilePiece(position, last, outgoing.hexdigest())

    def _check(self, start: int, if_match: str) -> None:
        if start > self.total_bytes:
            raise OutOfRange(
                f"{self.info.path} has {self.total_bytes} bytes, byte {start} is beyond its end",
                field="read_offset",
                hint="what is there already is of another file: begin at 0",
            )
        if if_match and self._catalog.sums_sha256(self.info) != if_match:
            raise FailedPrecondition(
                f"{self.info.path} is not the snapshot any more of which the beginning was sent",
                reason="SNAPSHOT_CHANGED",
                hint="begin the transfer anew",
            )


class _Outgoing:
    """What has been read and is yet to be sent: a few pieces, hashed beside."""

    def __init__(self, beside: Beside, start: int) -> None:
        """``start``: the first byte to be sent; those before it are hashed alone."""
        self._sha256 = HashBeside(beside)
        self._before = start
        self._gathered: list[bytes | memoryview] = []
        self._size = 0
        self._silent = 0

    def take(self, data: memoryview) -> None:
        """The next bytes of the file; they never change."""
        self._sha256.update(data)
        self._silent += len(data)
        if self._before:
            skipped = min(self._before, len(data))
            self._before -= skipped
            data = data[skipped:]
        self._gathered.append(data)
        self._size += len(data)

    def whole_pieces(self) -> list[bytes]:
        """What can be sent now, in pieces of one size; an empty one where nothing could be for a long time."""
        if self._size < PIECE_BYTES:
            if self._silent < SIGN_OF_LIFE_BYTES:
                return []
            self._silent = 0
            return [b""]
        *pieces, left = self.rest()
        if len(left) == PIECE_BYTES:
            pieces, left = [*pieces, left], b""
        self._gathered, self._size, self._silent = [left], len(left), 0
        return pieces

    def rest(self) -> list[bytes]:
        """All of it, in pieces of which the last may be short; at least one."""
        data = b"".join(self._gathered)
        return [data[at : at + PIECE_BYTES] for at in range(0, max(1, len(data)), PIECE_BYTES)]

    def hexdigest(self) -> str:
        """The SHA-256 of all that was read. Blocks."""
        return self._sha256.hexdigest()
