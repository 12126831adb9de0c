"""Which WAL segments there are: found in their directories, checked against their names, put into log order.

A WAL segment is made under a name ending in ``.next`` and gets its own name by a rename once its header is on the disk,
so that a name in the log always has a header behind it. ``.broken`` files are copies of what recovery cut off; nothing
reads them but people.
"""

from __future__ import annotations

import contextlib
import posixpath
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..errors import Corruption, FailedPrecondition, UnsupportedFormat
from ..format.record import HEADER_SIZE, RecordHeader, RecordKind, decode_header, find_headers
from ..format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header
from .files import ReadsFiles, parent_of
from .names import parse_wal_name
from .wal_entry import Link
from .wal_errors import unreadable

NEXT_SUFFIX = ".next"
BROKEN_SUFFIX = ".broken"
_FIRST_LOOK_BYTES = 64 << 10
"""From the end of a file, for its last record; four times as much where that is longer."""

DAMAGE_HINT = (
    "restore the newest snapshot, or start with --recovery=point-in-time to keep everything before this place "
    "(a copy of the damaged file is kept)"
)


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two groups of the log: byte ``offset`` of ``path``; ``sequence`` is the last one before it."""

    path: str
    offset: int
    sequence: int


@dataclass(frozen=True, slots=True)
class WalFileInfo:
    """One WAL segment. Sizes in bytes, times in microseconds.

    ``last_sequence`` is the last sequence logged up to the end of the file, be it in this file or before it;
    ``last_timestamp_us`` is a time that no record of the file exceeds. ``first_timestamp_us`` is that of the file's
    first record, 0 without one.
    """

    path: str
    header: WalFileHeader
    last_sequence: int
    first_timestamp_us: int
    last_timestamp_us: int
    size_bytes: int

    @property
    def directory(self) -> str:
        """The WAL directory that holds the file."""
        return parent_of(self.path)

    @property
    def first_sequence(self) -> int:
        """The lowest sequence that an operation in this file can have."""
        return self.header.first_sequence


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file with the name of a WAL segment; ``problem`` says why it has no usable ``header``."""

    path: str
    timeline: int
    first_sequence: int
    size: int
    header: WalFileHeader | None
    problem: str | None
    first_timestamp_us: int

    def sound_header(self) -> WalFileHeader:
        """The header; raises Corruption when it is unusable."""
        if self.header is None:
            raise Corruption(self.problem or "no header", path=self.path, offset=0, hint=DAMAGE_HINT)
        return self.header


def find_wal_files(fs: ReadsFiles, directories: Iterable[str], *, store_id: uuid.UUID) -> list[FoundFile]:
    """Every WAL segment of these directories in log order, damaged ones included. Blocks; reads only the heads.

    Raises UnsupportedFormat for a file of a newer version and FailedPrecondition for a directory that is not there.
    """
    found: list[FoundFile] = []
    for directory in dict.fromkeys(directories):
        for name in _names_in(fs, directory):
            key = parse_wal_name(name)
            if key is None:
                continue
            # A file trimmed since its name was listed is no longer part of the log.
            with contextlib.suppress(FileNotFoundError):
                found.append(_look_at(fs, posixpath.join(directory, name), *key, store_id))
    found.sort(key=lambda file: (file.timeline, file.first_sequence))
    return _without_twins(fs, found)


def store_in(fs: ReadsFiles, directory: str) -> uuid.UUID | None:
    """The store that wrote the log in ``directory``, or None where no WAL segment tells.

    Raises FailedPrecondition for a directory that is not there or cannot be read, UnsupportedFormat for a newer log.
    """
    try:
        for name in filter(parse_wal_name, _names_in(fs, directory)):
            header = decode_file_header(fs.read(posixpath.join(directory, name), 0, FILE_HEADER_SIZE))
            if isinstance(header, WalFileHeader):
                return header.store_id
    except OSError as error:
        raise unreadable(error) from error
    return None


def infos_of(files: Sequence[FoundFile], *, last_sequence: int, last_timestamp_us: int) -> list[WalFileInfo]:
    """Sound files as values; the arguments describe the end of the last one."""
    infos = []
    for file, successor in zip(files, [*files[1:], None], strict=True):
        after = None if successor is None else successor.sound_header()
        infos.append(
            WalFileInfo(
                path=file.path,
                header=file.sound_header(),
                last_sequence=last_sequence if after is None else after.previous_sequence,
                first_timestamp_us=file.first_timestamp_us,
                last_timestamp_us=last_timestamp_us if after is None else after.created_us,
                size_bytes=file.size,
            )
        )
    return infos


def start_index(files: Sequence[FoundFile], from_sequence: int) -> int:
    """Where to begin reading for everything from ``from_sequence``: the last file with only older records before it."""
    start = 0
    for index, file in enumerate(files):
        if file.header is not None and file.header.previous_sequence < from_sequence:
            start = index
    return start


def has_operations(fs: ReadsFiles, path: str, header: WalFileHeader) -> bool:
    """Whether the file holds an intact operation; marker records do not count. Reads headers from the start on."""
    offset, size = FILE_HEADER_SIZE, fs.size(path)
    while True:
        raw = fs.read(path, offset, HEADER_SIZE)
        record = decode_header(raw, 0, salt=header.salt, offset=offset, remaining=size - offset)
        if not isinstance(record, RecordHeader):
            return False
        if record.kind == RecordKind.OPERATION:
            return True
        offset += record.size


def link_at_end(fs: ReadsFiles, file: FoundFile) -> Link | None:
    """What the WAL segment after this one has to take up, read from its end alone; None where no record ends there.

    Raises Corruption for a file without a header.
    """
    header, size = file.sound_header(), file.size
    if size == FILE_HEADER_SIZE:
        return Link(header.chain, header.previous_sequence, 0)
    found = last_record(lambda start, end: fs.read(file.path, start, end - start), header, size)
    if found is None or found[0] + found[1].size != size:
        return None
    return Link(found[1].crc, found[1].sequence, found[1].timestamp_us)


def last_record(read: Callable[[int, int], bytes], header: WalFileHeader, size: int) -> tuple[int, RecordHeader] | None:
    """The last record whose header is intact in the first ``size`` bytes of a WAL segment, and where it stands.

    ``read`` gives the bytes from one place up to another, and is asked from the end on.
    """
    count = _FIRST_LOOK_BYTES
    while True:
        start = max(FILE_HEADER_SIZE, size - count)
        found = list(find_headers(read(start, size), start, header.salt))
        if found:
            return found[-1]
        if start == FILE_HEADER_SIZE:
            return None
        count *= 4


def _names_in(fs: ReadsFiles, directory: str) -> list[str]:
    try:
        return fs.listdir(directory)
    except FileNotFoundError as error:
        raise FailedPrecondition(
            f"the WAL directory {directory} does not exist",
            reason="WAL_DIRECTORY_MISSING",
            hint="mount the disk that holds it, or restore from a snapshot into a new data directory",
            path=directory,
        ) from error


def _look_at(fs: ReadsFiles, path: str, timeline: int, first_sequence: int, store_id: uuid.UUID) -> FoundFile:
    raw = fs.read(path, 0, FILE_HEADER_SIZE + HEADER_SIZE)
    size = fs.size(path)
    try:
        header = decode_file_header(raw)
    except UnsupportedFormat as error:
        raise UnsupportedFormat(f"{path}: {error.message}", hint=error.hint, path=path, **error.metadata) from error
    if not isinstance(header, WalFileHeader):
        return FoundFile(path, timeline, first_sequence, size, None, f"file header: {header.reason}", 0)
    problem = _contradiction(header, timeline, first_sequence, store_id)
    if problem is not None:
        return FoundFile(path, timeline, first_sequence, size, None, problem, 0)
    return FoundFile(path, timeline, first_sequence, size, header, None, _first_timestamp(raw, size, header))


def _contradiction(header: WalFileHeader, timeline: int, first_sequence: int, store_id: uuid.UUID) -> str | None:
    if header.store_id != store_id:
        return f"the file belongs to store {header.store_id}, not to {store_id}"
    if (header.timeline, header.first_sequence) != (timeline, first_sequence):
        return (
            f"its name says timeline {timeline} from sequence {first_sequence}, "
            f"its header timeline {header.timeline} from sequence {header.first_sequence}"
        )
    return None


def _first_timestamp(raw: bytes, size: int, header: WalFileHeader) -> int:
    try:
        first = decode_header(
            raw, FILE_HEADER_SIZE, salt=header.salt, offset=FILE_HEADER_SIZE, remaining=size - FILE_HEADER_SIZE
        )
    except UnsupportedFormat:
        return 0
    return first.timestamp_us if isinstance(first, RecordHeader) else 0


def _without_twins(fs: ReadsFiles, files: list[FoundFile]) -> list[FoundFile]:
    """The files with one for each place in the log.

    A file without operations that moves to another directory, or is begun anew, is written again before the old one is
    removed; after a crash in between, the one with operations counts, or else the newer one.
    """
    kept: list[FoundFile] = []
    for file in files:
        twin = kept[-1] if kept else None
        if twin is None or (twin.timeline, twin.first_sequence) != (file.timeline, file.first_sequence):
            kept.append(file)
            continue
        older, newer = sorted((twin, file), key=lambda each: _rank(fs, each))
        kept[-1] = newer
        if _rank(fs, older)[0]:
            kept.append(replace(older, header=None, problem=f"{newer.path} holds the same place of the log (a copy?)"))
    return kept


def _rank(fs: ReadsFiles, file: FoundFile) -> tuple[bool, int]:
    """Which of two files for one place counts: the greater one. A damaged header may hide operations."""
    if file.header is None:
        return True, 0
    return has_operations(fs, file.path, file.header), file.header.created_us
