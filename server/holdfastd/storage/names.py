"""Every path that the daemon builds, and every name that it accepts from outside.

ROOT/LOCK MANIFEST.json MANIFEST.prev.json RESERVE REGISTRY.json RECEIPTS.json UPLOADS.json SCHEDULES.json
ROOT/ARCHIVE.json requests-<S>.json
ROOT/wal/<timeline>-<first sequence>.wal
ROOT/collections/<uuid>/ids/<run>-run.json <run>-hash.npy <run>-rows.npy <run>-fence.npy
ROOT/collections/<uuid>/<segment uuid>/segment.json vectors.npy norms.npy rows.npy ids.npy payloads.npy
                                       kills-<S>-<crc>.npy tombstones.npy tombstone-ids.npy
ROOT/snapshots/ staging/ operations/
"""

from __future__ import annotations

import posixpath
import re
import uuid
from datetime import datetime
from typing import NamedTuple

from ..errors import InvalidArgument
from ..format.urls import is_object_url, place_of

COLLECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SNAPSHOT_ID = re.compile(r"snap-\d{4}-\d{2}-\d{2}-\d{6}(-[1-9]\d{0,5})?", re.ASCII)
NAME_RULE = "1 to 128 characters out of A-Z a-z 0-9 . _ -, the first a letter or a digit"

VECTORS = "vectors.npy"
NORMS = "norms.npy"
ROWS = "rows.npy"
IDS = "ids.npy"
PAYLOADS = "payloads.npy"
TOMBSTONES = "tombstones.npy"
TOMBSTONE_ROWS = "tombstone-rows.npy"
TOMBSTONE_IDS = "tombstone-ids.npy"
SEGMENT_JSON = "segment.json"

_WAL_NAME = re.compile(r"(\d{8,10})-(\d{20})\.wal")
_PIECE_NAME = re.compile(r"(\d{8,10}-\d{20}\.wal)\.(\d{12})-(\d{12})")
_BEGINNING_NAME = re.compile(r"(\d{8,10}-\d{20}\.wal)\.begins")
_KILLS_NAME = re.compile(r"kills-(\d{20})-([0-9a-f]{8})\.npy")
_REQUESTS_NAME = re.compile(r"requests-(\d{20})\.json")
_DURATION = re.compile(r"\d+(us|ms|s|sec|m|min|h|d|w)", re.IGNORECASE)
_TIME_WORDS = frozenset(
    ("latest", "earliest", "newest", "oldest", "first", "last", "now", "today", "yesterday", "tomorrow")
)


class RunFiles(NamedTuple):
    """Paths of the files of one run of the id index."""

    info: str
    hashes: str
    places: str
    fence: str

    @property
    def arrays(self) -> tuple[str, str, str]:
        """Those that are mapped."""
        return self.hashes, self.places, self.fence


class Layout:
    """Where everything of one data directory lies. ``root`` is an absolute path."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"
        self.lock = self._join("LOCK")
        self.manifest = self._join("MANIFEST.json")
        self.manifest_prev = self._join("MANIFEST.prev.json")
        self.reserve = self._join("RESERVE")
        self.faults = self._join("FAULT.log")
        self.last_faults = self._join("FAULT.last.log")
        self.registry = self._join("REGISTRY.json")
        self.receipts = self._join("RECEIPTS.json")
        self.uploads = self._join("UPLOADS.json")
        self.schedules = self._join("SCHEDULES.json")
        self.archive = self._join("ARCHIVE.json")
        self.collections = self._join("collections")
        self.snapshots = self._join("snapshots")
        self.staging = self._join("staging")
        self.operations = self._join("operations")

    def resolve(self, path: str) -> str:
        """An operator's path as an absolute one: a relative path is taken against the data directory.

        An object's URL is as absolute as a path can be. Raises InvalidArgument for an URL that is no place.
        """
        path = place_of(path)
        if is_object_url(path):
            return path
        # Two slashes at the beginning are one here; normpath keeps them.
        return "/" + posixpath.normpath(posixpath.join(self.root, path)).lstrip("/")

    def relative(self, path: str) -> str:
        """How a path is recorded: relative where it lies inside the data directory, so that this can be moved."""
        resolved = self.resolve(path)
        if is_object_url(resolved):
            return resolved
        prefix = self.root.rstrip("/") + "/"
        return resolved.removeprefix(prefix) if resolved != self.root else "."

    def wal_dir(self, path: str) -> str:
        """A log directory as the settings or the manifest name it."""
        return self.resolve(path)

    def requests(self, sequence: int) -> str:
        """The table of request ids stored with the checkpoint at ``sequence``."""
        return self._join(f"requests-{sequence:020d}.json")

    def collection_dir(self, collection_id: uuid.UUID) -> str:
        return f"{self.collections}/{collection_id}"

    def segment_dir(self, collection_id: uuid.UUID, segment_id: uuid.UUID) -> str:
        return f"{self.collections}/{collection_id}/{segment_id}"

    def ids_dir(self, collection_id: uuid.UUID) -> str:
        return f"{self.collections}/{collection_id}/ids"

    def run_files(self, collection_id: uuid.UUID, run: str) -> RunFiles:
        """The files of a run of the id index."""
        base = f"{self.ids_dir(collection_id)}/{run}"
        return RunFiles(f"{base}-run.json", f"{base}-hash.npy", f"{base}-rows.npy", f"{base}-fence.npy")

    def _join(self, name: str) -> str:
        return posixpath.join(self.root, name)


def wal_file(directory: str, timeline: int, first_sequence: int) -> str:
    """Path of a log file; zero-padded, so that names sort in log order."""
    return posixpath.join(directory, f"{timeline:08d}-{first_sequence:020d}.wal")


def parse_wal_name(name: str) -> tuple[int, int] | None:
    """(timeline, first sequence) of a log file's base name, or None for any other file."""
    return _numbers(_WAL_NAME, name)


class PieceName(NamedTuple):
    """What the name of an archived piece says: bytes ``start`` up to ``end`` of the log file named ``of``."""

    of: str
    start: int
    end: int


def piece_name(piece: PieceName) -> str:
    """Base name of an archived piece; zero-padded, so that names sort in log order."""
    return f"{piece.of}.{piece.start:012d}-{piece.end:012d}"


def parse_piece_name(name: str) -> PieceName | None:
    """What the base name of an archived piece says, or None for any other file."""
    match = _PIECE_NAME.fullmatch(name)
    if match is None or parse_wal_name(match[1]) is None or int(match[2]) >= int(match[3]):
        return None
    return PieceName(match[1], int(match[2]), int(match[3]))


def beginning_name(of: str) -> str:
    """Base name of the file that says that an archive begins with the WAL segment named ``of``."""
    return f"{of}.begins"


def parse_beginning_name(name: str) -> str | None:
    """The WAL segment that an archive is said to begin with by a file's base name, or None for any other file."""
    match = _BEGINNING_NAME.fullmatch(name)
    return match[1] if match is not None and parse_wal_name(match[1]) is not None else None


def kills_name(sequence: int, crc32c: int) -> str:
    """Base name of a segment's kills file: all kills through ``sequence``, and the checksum of the file's bytes."""
    return f"kills-{sequence:020d}-{crc32c:08x}.npy"


def parse_kills_name(name: str) -> tuple[int, int] | None:
    """(sequence, crc32c) of a kills file's base name, or None for any other file."""
    match = _KILLS_NAME.fullmatch(name)
    return (int(match[1]), int(match[2], 16)) if match else None


def parse_requests_name(name: str) -> int | None:
    """The sequence in the base name of a table of request ids, or None for any other file."""
    match = _REQUESTS_NAME.fullmatch(name)
    return int(match[1]) if match else None


def check_collection_name(name: str, *, field: str = "collection") -> str:
    """The name itself; raises ``InvalidArgument`` for anything but a valid collection name."""
    if not COLLECTION_NAME.fullmatch(name):
        raise InvalidArgument(
            f"{_shown(name)} is not a valid name", field=field, reason="INVALID_NAME", hint=f"use {NAME_RULE}"
        )
    return name


def check_alias_name(name: str, *, field: str = "alias") -> str:
    """The name itself; an alias follows the rule of collection names, since it stands in their place."""
    return check_collection_name(name, field=field)


def check_mark_name(name: str, *, field: str = "name") -> str:
    """The name itself; a mark's must not read as a number, a time, a duration or a word such as ``latest``."""
    check_collection_name(name, field=field)
    if _reads_as_number(name) or _reads_as_time(name):
        raise InvalidArgument(
            f"{_shown(name)} reads as a sequence or a time, so it cannot name a restore point",
            field=field,
            reason="INVALID_NAME",
            hint=f"start it with a word, for example before-{name}",
        )
    return name


def check_snapshot_id(snapshot_id: str, *, field: str = "snapshot") -> str:
    """The id itself; raises ``InvalidArgument`` for anything but ``snap-YYYY-MM-DD-HHMMSS`` with an optional suffix."""
    if not SNAPSHOT_ID.fullmatch(snapshot_id):
        raise InvalidArgument(
            f"{_shown(snapshot_id)} is not a snapshot id",
            field=field,
            reason="INVALID_NAME",
            hint="list them with `holdfast storage snapshot list`; a file is named with a slash, such as ./copy.snap",
        )
    return snapshot_id


def is_path(reference: str) -> bool:
    """Whether a reference to a snapshot names a file rather than an id."""
    return "/" in reference or reference.endswith((".snap", ".gz"))


def parse_uuid(text: str) -> uuid.UUID | None:
    """The UUID that a directory is named by, or None unless it is spelt the canonical way."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None


def _numbers(pattern: re.Pattern[str], name: str) -> tuple[int, int] | None:
    match = pattern.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def _reads_as_number(name: str) -> bool:
    for parse in (float, lambda text: int(text, 0)):
        try:
            parse(name)
        except ValueError:
            continue
        return True
    return False


def _reads_as_time(name: str) -> bool:
    if name.lower() in _TIME_WORDS or _DURATION.fullmatch(name):
        return True
    try:
        datetime.fromisoformat(name)
    except ValueError:
        return False
    return True


def _shown(name: str) -> str:
    """A name from outside as it may appear in a message: quoted, escaped, bounded."""
    return repr(name if len(name) <= 64 else name[:61] + "...")
