"""Every damage of a snapshot archive, not the first alone: a walk from header to header that goes on behind the bad.

The manifest tells what has to come. A header that is none is passed over by what the manifest says of its member; one
of another name tells whether something is missing, left over or out of its place. Only damaged compression ends the
walk, since nothing behind it can be read. Memory is bounded by pieces.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

from ..format import snapshot as layout
from ..format.snapshot import Member, data_members
from ..format.tar import BLOCK, END, TarHeader, claimed, decode_extended, decode_header, member_bytes, padding
from ..format.verify_receipt import CHECKSUMS, FILES, ROWS
from .archive_bytes import GzipBytes, PlainBytes, TarBytes
from .archive_reader import ArchiveReader
from .checks import DAMAGE
from .files import Buffer, FileSystem
from .hash_beside import HashBeside
from .store_errors import StoreError

AT_A_TIME = 2
"""Large contents that are hashed at a time: a disk gives more than one core hashes."""
LARGE_BYTES = 4 << 20

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Finding:
    """One damaged place. ``level``: the lowest that finds it; ``path``: of the file, with the member after a colon."""

    level: int
    path: str
    message: str
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A member where it was found: ``offset`` and ``size`` of its content in the tar.

    ``whole``: it has the size that it should have. ``member``: None for those of the archive itself.
    """

    name: str
    offset: int
    size: int
    whole: bool
    member: Member | None


class Reader(Protocol):
    """Who wants more of the members than their checksums."""

    def wants(self, member: Member) -> bool:
        """Whether it is to be told of the content of this one, in its turn."""

    def piece(self, placed: Placed, data: Buffer) -> None:
        """The next piece of the content of a data member."""

    def end(self, placed: Placed) -> None:
        """That was all of it."""


class _EndsHereError(Exception):
    """Nothing more can be read."""


class Survey:
    """See the module. One thread; ``run`` is the whole of it.

    ``level``: FILES or above. ``chosen``: the indexes of the data members whose content is wanted, None: of all.
    ``found`` is told of each damage, ``advance`` of bytes that were read of content. Raises ``OSError`` for what says
    nothing of the file itself.
    """

    def __init__(
        self,
        fs: FileSystem,
        archive: ArchiveReader,
        level: int,
        chosen: Collection[int] | None,
        found: Callable[[Finding], None],
        advance: Callable[[int, int], None],
        reader: Reader,
    ) -> None:
        self._fs = fs
        self._archive = archive
        self._level = level
        self._chosen = chosen
        self._found = found
        self._advance = advance
        self._reader = reader
        members = list(data_members(archive.manifest))
        self._members = {member.name: (index, member) for index, member in enumerate(members)}
        self._expected = [layout.README, *(member.name for member in members), layout.SUMS]
        self._hashes: dict[str, str] = {}
        self._out_of_turn: deque[Iterator[None]] = deque()
        self._bytes: TarBytes
        self._where = layout.MANIFEST
        self._odd: TarHeader | None = None
        self.files = 1
        """Members looked at, the manifest included."""
        self.bytes_read = member_bytes(archive.manifest_bytes)
        self.sums_sha256 = ""
        """Of SHA256SUMS as it stands there; "" where it does not."""

    def run(self) -> None:
        """Walk through the archive."""
        fs, path = self._fs, self._archive.path
        keep = self._level >= ROWS
        self._bytes = GzipBytes(fs, path) if self._archive.compressed else PlainBytes(fs, path, keep=keep)
        try:
            for placed in self._walk(member_bytes(self._archive.manifest_bytes)):
                self.files += 1
                self._look_into(placed)
        except _EndsHereError:
            pass
        except ValueError as error:
            self._tell(self._where, f"{error}; nothing behind it can be read")
        while self._out_of_turn:
            # Wherever the walk has ended, these lie in front of it.
            with contextlib.suppress(_EndsHereError):
                self._prove_until_left(0)

    # From header to header ------------------------------------------------------------------------------------------

    def _walk(self, at: int) -> Iterator[Placed]:
        """Every member that has to be there, in order, with its damages told."""
        next_ = 0
        while next_ < len(self._expected):
            self._where = name = self._expected[next_]
            header, head, problem = self._header_at(at, name)
            if header is None and self._odd is not None:
                self._tell(name, problem, at)
                next_ += self._odd.name.rstrip("/") == name
                at += BLOCK + self._odd.size + padding(self._odd.size)
            elif header is None:
                size = self._size_of(name)
                if problem:
                    self._tell(name, problem, at)
                yield self._placed(name, at + BLOCK, size, whole=True)
                next_, at = next_ + 1, at + member_bytes(size)
            elif header.name in self._expected[next_:]:
                there = self._expected.index(header.name)
                for missing in self._expected[next_:there]:
                    self._tell(missing, f"is missing: {header.name} stands where it belongs", at)
                self._where = header.name
                right = self._has_right_size(header, header.name, at)
                yield self._placed(header.name, at + head, header.size, whole=right)
                next_, at = there + 1, at + head + header.size + padding(header.size)
            else:
                known = header.name in (layout.MANIFEST, *self._expected)
                shown = header.name[:_SHOWN]
                what = "stands out of its place, or twice" if known else "is no member of this snapshot"
                self._tell(shown, f"{shown!r} {what}: {name} belongs here", at)
                at += head + header.size + padding(header.size)
        self._check_end(at)

    def _header_at(self, at: int, name: str) -> tuple[TarHeader | None, int, str]:
        """The header at a place, the bytes that it takes, and what is to be told where there is none to believe.

        ``_odd`` is what it says of itself then, if it is one that is whole.
        """
        self._odd = None
        block = self._read(at, BLOCK, name)
        if block is None:
            return None, BLOCK, ""
        if len(block) < BLOCK:
            self._tell(name, "the archive is cut short: this and what should follow is missing", at)
            raise _EndsHereError
        try:
            header = decode_header(block)
            if header is None:
                self._end_early(at, name)
                return None, BLOCK, "zeros stand where its header belongs"
            if not header.extended:
                return header, BLOCK, ""
            return self._extended_at(at, header, name), 3 * BLOCK, ""
        except ValueError as error:
            self._odd = claimed(block)
            return None, BLOCK, str(error)

    def _end_early(self, at: int, name: str) -> None:
        """Where the archive ends in order, but before its time, nothing else is to be said."""
        is_last = self._archive.compressed or at + len(END) >= self._archive.size
        if is_last and not any(self._read(at + BLOCK, BLOCK, name) or b""):
            self._tell(name, f"the archive ends where {name} belongs", at)
            raise _EndsHereError

    def _extended_at(self, at: int, header: TarHeader, name: str) -> TarHeader:
        if not 0 < header.size <= BLOCK:
            raise ValueError(f"an extended header of {header.size} bytes")
        rest = self._read(at + BLOCK, 2 * BLOCK, name) or b""
        size, after = decode_extended(rest[:BLOCK]), decode_header(rest[BLOCK:])
        if after is None or after.extended:
            raise ValueError("an extended header without a member")
        return TarHeader(after.name, size)

    def _size_of(self, name: str) -> int:
        """What a member should have; of README.txt, which no manifest knows, what it has when it is written today."""
        if name == layout.README:
            return len(layout.readme_text(self._archive.manifest))
        if name == layout.SUMS:
            return layout.sums_bytes(self._archive.manifest)
        return self._members[name][1].size

    def _has_right_size(self, header: TarHeader, name: str, at: int) -> bool:
        if name == layout.README:
            right, expected = header.size <= layout.MAX_README_BYTES, f"at most {layout.MAX_README_BYTES}"
        else:
            size = self._size_of(name)
            right, expected = header.size == size, str(size)
        if not right:
            self._tell(name, f"has {header.size} bytes where {expected} are expected", at)
        return right

    def _check_end(self, at: int) -> None:
        self._where = "the end"
        end = self._read(at, len(END) + 1, self._where)
        if end is None:
            return
        if len(end) < len(END) and not any(end):
            self._tell("the end", "the archive is cut short: the blocks that end it are missing", at)
        elif not end.startswith(END):
            self._tell("the end", f"something follows {layout.SUMS}, which has to be the last member", at)
        elif len(end) > len(END):
            self._tell("the end", "something follows the end of the archive", at + len(END))

    # What is in them ------------------------------------------------------------------------------------------------

    def _look_into(self, placed: Placed) -> None:
        if placed.name == layout.SUMS:
            self._prove_until_left(0)
            self._read_sums(placed)
            return
        index, member = self._members.get(placed.name, (-1, None))
        wanted = member is None or self._chosen is None or index in self._chosen
        if self._level < CHECKSUMS or not wanted or not placed.whole:
            self._pass_over(placed)
            return
        in_turn = member is not None and self._reader.wants(member)
        if in_turn or not self._is_whole_and_large(placed):
            for _ in self._proving(placed, in_turn=in_turn):
                pass
            return
        self._out_of_turn.append(self._proving(placed, in_turn=False))
        if len(self._out_of_turn) == AT_A_TIME:
            self._prove_until_left(AT_A_TIME - 1)

    def _is_whole_and_large(self, placed: Placed) -> bool:
        """Whether a content may be read beside others, since the walk can go on behind it in any case."""
        plain = not self._archive.compressed
        return plain and placed.size >= LARGE_BYTES and placed.offset + placed.size < self._archive.size

    def _prove_until_left(self, count: int) -> None:
        """Go on, in turns, with the contents that are read beside each other, until no more than these are left."""
        while len(self._out_of_turn) > count:
            proving = self._out_of_turn.popleft()
            for _ in proving:
                self._out_of_turn.append(proving)
                break

    def _proving(self, placed: Placed, *, in_turn: bool) -> Iterator[None]:
        """Read and hash a content: a step for each piece."""
        digest, left = HashBeside(self._fs.beside), placed.size
        try:
            for data in self._bytes.pieces(placed.offset, placed.size):
                left -= len(data)
                digest.update(data)
                self.bytes_read += len(data)
                if in_turn:
                    self._reader.piece(placed, data)
                if placed.member is not None:
                    self._advance(len(data), 0)
                yield
        except OSError as error:
            self._unreadable(placed.name, placed.offset, error)
            return
        if left:
            self._tell_cut(placed, placed.size - left)
            return
        self._hashes[placed.name] = digest.hexdigest()
        self._check_padding(placed)
        if in_turn:
            self._reader.end(placed)

    def _pass_over(self, placed: Placed) -> None:
        """Whether a content that is not wanted is there to its end: a plain file tells that without being read."""
        there = max(0, min(placed.size, self._archive.size - placed.offset))
        if self._archive.compressed:
            there = 0
            for data in self._bytes.pieces(placed.offset, placed.size):
                there += len(data)
                self._advance(0, 0)
        else:
            self._advance(0, 0)
        if there < placed.size:
            self._tell_cut(placed, there)

    def _check_padding(self, placed: Placed) -> None:
        after = placed.offset + placed.size
        if any(self._read(after, padding(placed.size), placed.name) or b""):
            level = FILES if placed.name == layout.SUMS else CHECKSUMS
            message = "something stands in the padding after it"
            self._found(Finding(level, self._place(placed.name), message, self._offset(after)))

    def _tell_cut(self, placed: Placed, there: int) -> None:
        self._tell(placed.name, f"is cut short: {there} of its {placed.size} bytes are there", placed.offset)
        if self._archive.compressed or placed.offset + there >= self._archive.size:
            raise _EndsHereError

    def _read_sums(self, placed: Placed) -> None:
        if not placed.whole:
            return
        text = self._read(placed.offset, placed.size, placed.name)
        if text is None:
            return
        self.sums_sha256 = hashlib.sha256(text).hexdigest()
        self.bytes_read += len(text)
        self._check_padding(placed)
        lines = text.decode("utf-8", "replace").splitlines()
        listed = {line[66:]: line[:64] for line in lines}
        if [line[66:] for line in lines] != [layout.MANIFEST, *self._expected[:-1]]:
            self._tell(layout.SUMS, "does not list exactly the members, so none can be held against it", placed.offset)
            return
        if listed[layout.MANIFEST] != self._archive.manifest_sha256:
            self._tell(layout.MANIFEST, "the manifest does not match its SHA-256 in SHA256SUMS", 0)
        for name in self._expected:
            if name in self._hashes and listed[name] != self._hashes[name]:
                self._found(Finding(CHECKSUMS, self._place(name), "the content does not match its SHA-256"))

    # Bytes ----------------------------------------------------------------------------------------------------------

    def _placed(self, name: str, offset: int, size: int, *, whole: bool) -> Placed:
        return Placed(name, offset, size, whole, self._members.get(name, (-1, None))[1])

    def _read(self, offset: int, count: int, name: str) -> bytes | None:
        """What is there; None where the disk does not give it any more, which has been told."""
        try:
            return self._bytes.read(offset, count)
        except OSError as error:
            self._unreadable(name, offset, error)
            return None

    def _unreadable(self, name: str, offset: int, error: OSError) -> None:
        """A block that the disk does not give any more is damage; what says nothing of the file is raised."""
        if isinstance(error, StoreError) or error.errno not in DAMAGE:
            raise error
        self._found(Finding(CHECKSUMS, self._place(name), f"cannot be read: {error.strerror}", self._offset(offset)))
        if self._archive.compressed:
            raise _EndsHereError

    def _tell(self, name: str, message: str, offset: int | None = None) -> None:
        self._found(Finding(FILES, self._place(name), message, self._offset(offset)))

    def _place(self, name: str) -> str:
        return f"{self._archive.path}:{name}" if name else self._archive.path

    def _offset(self, offset: int | None) -> int | None:
        """Only in a plain archive an offset of the tar is one of the file."""
        return None if self._archive.compressed else offset
