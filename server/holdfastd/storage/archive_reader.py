"""Reading a snapshot archive that may come from anywhere: one pass, bounded memory, nothing believed.

The manifest comes first and fixes the name, size and place of everything after it; a member that is not exactly the one
expected ends the reading. No name in the archive ever becomes a path. What a member holds may be staged as it comes,
but is proven only when ``members`` has come to its end: that is when ``SHA256SUMS`` has been read and compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import NoReturn, TypeAlias

from ..errors import Corruption, UnsupportedFormat
from ..format import snapshot as layout
from ..format.snapshot import Member, SnapshotManifest
from ..format.tar import BLOCK, END, TarHeader, decode_extended, decode_header, padding
from .files import Buffer, FileSystem, Reader
from .gzip_members import MAGIC, MAX_RATIO, GzipReader, Input
from .hash_beside import HashBeside
from .read_ahead import read_ahead

FIRST_BYTES = 64 << 10
"""What an archive's beginning is read by: most manifests fit."""
CUT_SHORT = "the archive is cut short"

Tap: TypeAlias = Callable[[memoryview], None]
"""Is told what has been read; the bytes never change."""


def nobody(_data: memoryview) -> None:
    """Nobody listens."""


class FileInput:
    """The bytes of a file in order, by reads that fail on a bad block instead of killing the process.

    Whoever wants no more than the beginning costs one small read; behind that it is read ahead.
    """

    def __init__(self, fs: FileSystem, path: str, source: Reader, tap: Tap = nobody) -> None:
        self._coming = self._in_order(fs, path, source)
        self._piece = memoryview(b"")
        self._tap = tap
        self.position = 0

    def read(self, count: int) -> memoryview:
        """At most ``count`` bytes, none at the end; they never change."""
        if not self._piece:
            self._piece = memoryview(next(self._coming, b""))
        data, self._piece = self._piece[:count], self._piece[count:]
        self.position += len(data)
        self._tap(data)
        return data

    @staticmethod
    def _in_order(fs: FileSystem, path: str, source: Reader) -> Iterator[Buffer]:
        first = source.read(0, FIRST_BYTES)
        yield first
        yield from read_ahead(fs, path, source, len(first), source.size)


class ArchiveReader:
    """One archive, read once from its beginning. Opening reads the manifest and no more.

    ``tap`` is given every byte of the file as it is read, in order. Raises Corruption, with the member after a colon in
    its path, UnsupportedFormat, and ``OSError``.
    """

    def __init__(self, fs: FileSystem, path: str, tap: Tap = nobody) -> None:
        self.path = path
        self.source = fs.reader(path)
        self.size = self.source.size
        self.compressed = self.source.read(0, len(MAGIC)) == MAGIC
        self._beside = fs.beside
        self._file = FileInput(fs, path, self.source, tap)
        self._input: Input = GzipReader(self._file) if self.compressed else self._file
        self._where = ""
        self._sums: dict[str, str] = {}
        self._left = 0
        self._pad = 0
        self._digest = HashBeside(self._beside)
        self.sums_sha256 = ""
        """SHA-256 of SHA256SUMS, once ``members`` has come to its end."""
        self.manifest_bytes = 0
        self.manifest_sha256 = ""
        self.manifest: SnapshotManifest = self._read_manifest()

    @property
    def position(self) -> int:
        """Bytes of the file read so far."""
        return self._file.position

    def members(self) -> Iterator[Member]:
        """Every data member in order; read it with ``pieces`` before taking the next, or it is read and checked unseen.

        The end is reached only by an archive that is whole, and ends where it should.
        """
        self.check_size()
        self._enter(layout.README, None, layout.MAX_README_BYTES)
        self._drain()
        for member in layout.data_members(self.manifest):
            self._enter(member.name, member.size, member.size)
            yield member
            self._drain()
        self._read_sums()
        self._read_end()

    def steps(self) -> Iterator[None]:
        """Read and prove all of it, content that nobody wants included: a step for each piece of a member."""
        for _ in self.members():
            for _ in self.pieces():
                yield

    def pieces(self) -> Iterator[Buffer]:
        """The rest of the current member, in pieces as they come; they never change."""
        while self._left:
            data = self._read(self._left)
            if not data:
                self._refuse(CUT_SHORT)
            self._taken(data)
            yield data

    def take(self, count: int) -> Buffer:
        """Exactly the next ``count`` bytes of the current member; they never change."""
        if count > self._left:
            self._refuse(f"{count} bytes are wanted where {self._left} are left")
        data = self._exactly(count)
        self._taken(data)
        return data

    def _taken(self, data: Buffer) -> None:
        self._left -= len(data)
        self._digest.update(data)
        if not self._left:
            self._leave()

    def check_size(self) -> None:
        """Raises Corruption when the file cannot hold what its manifest promises. Cheap."""
        members = sum(member.size for member in layout.data_members(self.manifest))
        if self.compressed and members > self.size * MAX_RATIO:
            self._refuse(f"{self.size} bytes of gzip cannot hold the {members} bytes that the manifest promises")
        if not self.compressed and members > self.size:
            self._refuse(f"the file has {self.size} bytes, its manifest promises {members}: it is cut short")

    # Members --------------------------------------------------------------------------------------------------------

    def _read_manifest(self) -> SnapshotManifest:
        self._enter(layout.MANIFEST, None, layout.MAX_MANIFEST_BYTES)
        data = b"".join(self.pieces())
        self.manifest_bytes = len(data)
        self.manifest_sha256 = self._sums[layout.MANIFEST]
        try:
            return layout.decode_snapshot(data)
        except UnsupportedFormat as error:
            error.metadata.setdefault("path", self.path)
            raise
        except ValueError as error:
            self._refuse(str(error), layout.MANIFEST)

    def _enter(self, name: str, size: int | None, most: int) -> None:
        """Read the header of the member that has to come next."""
        self._where = name
        header = self._next_header()
        if header is None:
            self._refuse(f"the archive ends where {name} belongs")
        if header.name in self._sums:
            self._refuse(f"{header.name} stands in the archive twice", header.name)
        if header.name != name:
            known = header.name in self._known_names()
            what = "stands out of its place" if known else "is no member of this snapshot"
            self._refuse(f"{header.name!r} {what}: {name} belongs here", header.name)
        if size is not None and header.size != size:
            self._refuse(f"has {header.size} bytes where {size} are expected")
        if header.size > most:
            self._refuse(f"has {header.size} bytes, the limit is {most}")
        self._left, self._pad, self._digest = header.size, padding(header.size), HashBeside(self._beside)
        if not self._left:
            self._leave()

    def _next_header(self) -> TarHeader | None:
        header = self._decoded(self._exactly(BLOCK))
        if header is None or not header.extended:
            return header
        if not 0 < header.size <= BLOCK:
            self._refuse(f"an extended header of {header.size} bytes")
        try:
            size = decode_extended(bytes(self._exactly(BLOCK)))
        except ValueError as error:
            self._refuse(str(error))
        after = self._decoded(self._exactly(BLOCK))
        if after is None or after.extended:
            self._refuse("an extended header without a member")
        return TarHeader(after.name, size)

    def _decoded(self, block: Buffer) -> TarHeader | None:
        try:
            return decode_header(bytes(block))
        except ValueError as error:
            self._refuse(str(error))

    def _known_names(self) -> set[str]:
        if not hasattr(self, "manifest"):
            return {layout.README, layout.SUMS}
        return {layout.README, layout.SUMS, *(member.name for member in layout.data_members(self.manifest))}

    def _leave(self) -> None:
        """The member is complete: note its sum."""
        if any(self._exactly(self._pad)):
            self._refuse("something stands in the padding after it")
        self._sums[self._where] = self._digest.hexdigest()

    def _drain(self) -> None:
        for _ in self.pieces():
            pass

    # The end --------------------------------------------------------------------------------------------------------

    def _read_sums(self) -> None:
        expected = layout.sums_text(self._sums)
        self._enter(layout.SUMS, len(expected), len(expected))
        found = b"".join(self.pieces())
        if found != expected:
            self._blame(expected, found)
        self.sums_sha256 = hashlib.sha256(found).hexdigest()

    def _blame(self, expected: bytes, found: bytes) -> NoReturn:
        """Name the first member whose sum is not the one recorded."""
        for ours, theirs in zip(expected.splitlines(), found.splitlines(), strict=False):
            if ours != theirs:
                name = ours[66:].decode()
                if theirs[64:] != ours[64:]:
                    self._refuse(f"does not list {name} where it belongs", layout.SUMS)
                self._refuse("the content does not match its SHA-256", name)
        self._refuse("does not list exactly the members", layout.SUMS)

    def _read_end(self) -> None:
        self._where = "the end"
        if self._exactly(len(END)) != END:
            self._refuse(f"something follows {layout.SUMS}, which has to be the last member")
        if self._read(1):
            self._refuse("something follows the end of the archive")

    # Bytes ----------------------------------------------------------------------------------------------------------

    def _exactly(self, count: int) -> Buffer:
        data = self._read(count)
        if len(data) == count:
            return data
        pieces, done = [data], len(data)
        while done < count:
            data = self._read(count - done)
            if not data:
                self._refuse(CUT_SHORT)
            pieces.append(data)
            done += len(data)
        return b"".join(pieces)

    def _read(self, count: int) -> Buffer:
        if not count:
            return b""
        try:
            return self._input.read(count)
        except ValueError as error:
            self._refuse(str(error))

    def _refuse(self, reason: str, member: str | None = None) -> NoReturn:
        where = self._where if member is None else member
        place = f"{self.path}:{where}" if where else self.path
        raise Corruption(
            reason,
            path=place,
            reason="SNAPSHOT_DAMAGED",
            hint="take another copy of the snapshot, or another snapshot: holdfast storage snapshot list",
        )
