"""``holdfastd dump``: look into WAL segments, sealed segments and snapshots without a daemon; nothing is changed.

One line per record or row, ``key=value``, so that grep and awk are enough; ``--json`` gives one object a line.
"""

from __future__ import annotations

import argparse
import json
import posixpath
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import numpy as np

from .engine.change_codec import decode_change
from .engine.changes import Change, DeleteIds, UpsertRows
from .errors import Corruption, HoldfastError, NotFound
from .format.outcome import Damaged, Incomplete
from .format.record import RecordKind
from .format.segment import ROW_HAS_PAYLOAD, decode_segment_info
from .format.walfile import FILE_HEADER_SIZE, WalFileHeader, decode_file_header
from .storage.archive_reader import ArchiveReader
from .storage.files import FileSystem
from .storage.kills import Kills, load_kills
from .storage.names import SEGMENT_JSON, parse_kills_name, parse_wal_name
from .storage.osfiles import OsFileSystem
from .storage.segment import Segment
from .storage.wal_entry import Link
from .storage.wal_scan import LoggedRecord, scan_file

EXIT_USAGE = 64
EXIT_DAMAGED = 65
ROWS_AT_ONCE = 4096
SHOWN_IDS = 5

Line: TypeAlias = dict[str, Any]
"""What one line says; ``kind`` comes first."""

EXAMPLES = """\
examples:
  holdfastd dump wal /var/lib/holdfast/wal                  every record of the log, file by file
  holdfastd dump wal DIR/00000001-00000000000000000001.wal  one file
  holdfastd dump wal DIR --stats                            how many records, points and bytes of each kind
  holdfastd dump segment DIR/collections/UUID/UUID --json   the rows of a segment
  holdfastd dump snapshot snap-2026-01-20-103045.gz         what a snapshot holds, every sum checked

Exit codes: 0 all of it was whole, 65 damage was found (the lines before it are shown), 64 a wrong command line."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message}\nhint: see holdfastd dump --help", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def main(arguments: Sequence[str], fs: FileSystem | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _Parser(
        prog="holdfastd dump",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("what", choices=sorted(DUMPS), help="what PATH holds")
    parser.add_argument("path", metavar="PATH", help="a file or a directory")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--stats", action="store_true", help="totals instead of lines")
    chosen = parser.parse_args(arguments)
    path = posixpath.normpath(posixpath.join(str(Path.cwd()), chosen.path))
    lines = DUMPS[chosen.what](fs or OsFileSystem(), path)
    show = _as_json if chosen.json else _as_text
    try:
        for line in _totals(lines) if chosen.stats else lines:
            print(show(line))
    except HoldfastError as error:
        sys.stdout.flush()
        print(f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else []), sep="\n", file=sys.stderr)
        return EXIT_DAMAGED if isinstance(error, Corruption) else EXIT_USAGE
    except BrokenPipeError:
        return 0
    except OSError as error:
        print(f"error: {error.filename or path}: {error.strerror}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def dump_wal(fs: FileSystem, path: str) -> Iterator[Line]:
    """The records of a WAL segment, or of all in a directory, in log order. Raises Corruption behind the last good."""
    for file in _wal_files(fs, path):
        header = _wal_header(fs, file)
        yield {
            "kind": "file",
            "path": file,
            "store": header.store_id,
            "timeline": header.timeline,
            "first_sequence": header.first_sequence,
            "previous_sequence": header.previous_sequence,
            "gap_before": header.gap_before,
            "created": _time(header.created_us),
        }
        yield from _wal_records(fs, file, header)


def dump_segment(fs: FileSystem, path: str) -> Iterator[Line]:
    """The rows of a sealed segment with what is known of their end from its newest kills file; its tombstones."""
    directory = posixpath.dirname(path) if posixpath.basename(path) == SEGMENT_JSON else path
    description = posixpath.join(directory, SEGMENT_JSON)
    try:
        info = decode_segment_info(fs.read(description))
    except ValueError as error:
        raise Corruption(str(error), path=description) from None
    kills_file = max(filter(parse_kills_name, fs.listdir(directory)), default=None)
    kills = Kills(info.rows) if kills_file is None else load_kills(fs, directory, kills_file, info.rows)
    segment = Segment(fs, directory, info, kills, kills_file)
    yield {
        "kind": "segment",
        "path": directory,
        "segment": info.id,
        "collection": info.collection_id,
        "ordinal": info.ordinal,
        "rows": info.rows,
        "dimensions": info.dimensions,
        "first_sequence": info.first_sequence,
        "last_sequence": info.last_sequence,
        "bytes": info.size_bytes,
        "kills": kills_file or "none",
    }
    for start in range(0, info.rows, ROWS_AT_ONCE):
        yield from _rows(segment, np.arange(start, min(start + ROWS_AT_ONCE, info.rows), dtype=np.int64))
    yield from _tombstones(segment)
    segment.verify(False)


def dump_snapshot(fs: FileSystem, path: str) -> Iterator[Line]:
    """The collections and members of a snapshot's file; reading them all checks every one against its sum."""
    archive = ArchiveReader(fs, path)
    manifest = archive.manifest
    yield {
        "kind": "snapshot",
        "path": path,
        "snapshot": manifest.id,
        "store": manifest.store_id,
        "timeline": manifest.timeline,
        "sequence": manifest.sequence,
        "created": _time(manifest.created_us),
        "type": "full" if manifest.base is None else "incremental",
        "base": manifest.base.id if manifest.base is not None else "none",
        "compressed": archive.compressed,
        "bytes": archive.size,
    }
    for collection in manifest.collections:
        yield {
            "kind": "collection",
            "name": collection.spec.name,
            "collection": collection.spec.id,
            "dimensions": collection.spec.dimensions,
            "metric": str(collection.spec.metric),
            "points": collection.count,
            "deleted": collection.deleted,
            "whole": collection.whole,
            "digest": collection.digest.hex(),
        }
    for alias, target in sorted(manifest.aliases.items()):
        yield {"kind": "alias", "alias": alias, "collection": target}
    for member in archive.members():
        yield {"kind": "member", "name": member.name, "bytes": member.size}
    yield {"kind": "sums", "sha256": archive.sums_sha256}


DUMPS: dict[str, Callable[[FileSystem, str], Iterator[Line]]] = {
    "wal": dump_wal,
    "segment": dump_segment,
    "snapshot": dump_snapshot,
}


def _wal_files(fs: FileSystem, path: str) -> list[str]:
    if not fs.exists(path):
        raise NotFound(f"there is no {path}")
    if not fs.is_dir(path):
        return [path]
    found = sorted((key, name) for name in fs.listdir(path) if (key := parse_wal_name(name)) is not None)
    if not found:
        raise NotFound(
            f"{path} holds no WAL segment", hint="the log of a store is DIR/wal, if its settings say no other"
        )
    return [posixpath.join(path, name) for _, name in found]


def _wal_header(fs: FileSystem, path: str) -> WalFileHeader:
    header = decode_file_header(fs.read(path, 0, FILE_HEADER_SIZE))
    if isinstance(header, Incomplete | Damaged):
        raise Corruption(header.reason, path=path, offset=0)
    return header


def _wal_records(fs: FileSystem, path: str, header: WalFileHeader) -> Iterator[Line]:
    scan = scan_file(fs, path, header, Link(header.chain, header.previous_sequence, 0))
    while True:
        try:
            record = next(scan)
        except StopIteration as end:
            result = end.value
            break
        yield _record(record)
    if not result.clean:
        raise Corruption(
            result.finding,
            path=path,
            offset=result.bad_offset,
            hint="at the end of the last file this is a torn tail, which recovery cuts; anywhere else it is damage",
        )


def _record(record: LoggedRecord) -> Line:
    header = record.header
    line: Line = {
        "kind": RecordKind(header.kind).name.lower(),
        "sequence": record.sequence,
        "time": _time(header.timestamp_us),
        "offset": record.offset,
        "bytes": len(record.payload),
    }
    if header.kind != RecordKind.OPERATION:
        return line
    logged = decode_change(record.payload)
    line["kind"] = type(logged.change).__name__ if logged.change is not None else "other"
    line |= {"actor": logged.actor or "-", "request_id": logged.request_id or "-"}
    if logged.origin_sequence:
        line["origin_sequence"] = logged.origin_sequence
    return line | _described(logged.change)


def _described(change: Change | None) -> Line:
    described: Line = {}
    collection_id = getattr(change, "collection_id", None)
    if collection_id is not None:
        described["collection"] = collection_id
    if isinstance(change, UpsertRows | DeleteIds):
        ids = change.rows.ids if isinstance(change, UpsertRows) else change.ids
        described |= {"points": len(ids), "ids": [id.decode("utf-8", "replace") for id in ids[:SHOWN_IDS]]}
    for name in ("alias", "name", "snapshot_id"):
        if hasattr(change, name):
            described[name] = getattr(change, name)
    spec = getattr(change, "spec", None)
    if spec is not None:
        described |= {"collection": spec.id, "name": spec.name, "dimensions": spec.dimensions}
    return described


def _rows(segment: Segment, rows: Any) -> Iterator[Line]:
    facts, killed = segment.facts_at(rows), segment.killed
    for row, id, fact in zip(rows.tolist(), segment.ids_at(rows), facts, strict=True):
        dead_at = 0 if killed is None else int(killed[row])
        yield {
            "kind": "row",
            "row": row,
            "id": id.decode("utf-8", "replace"),
            "sequence": int(fact["sequence"]),
            "version": int(fact["version"]),
            "time": _time(int(fact["time_us"])),
            "payload_bytes": int(fact["payload_length"]) if fact["flags"] & ROW_HAS_PAYLOAD else "none",
            "hash": f"{int(fact['hash_high']):016x}{int(fact['hash_low']):016x}",
            "killed_at": dead_at or "alive",
        }


def _tombstones(segment: Segment) -> Iterator[Line]:
    table = segment.tombstones
    if table is None:
        return
    for start in range(0, len(table), ROWS_AT_ONCE):
        dead = table.at(np.arange(start, min(start + ROWS_AT_ONCE, len(table)), dtype=np.int64))
        for id, sequence, killed, (high, low) in zip(
            dead.ids, dead.sequences.tolist(), dead.killed.tolist(), dead.hashes.tolist(), strict=True
        ):
            yield {
                "kind": "tombstone",
                "id": id.decode("utf-8", "replace"),
                "sequence": sequence,
                "hash": f"{high:016x}{low:016x}",
                "killed_at": killed,
            }


def _totals(lines: Iterator[Line]) -> Iterator[Line]:
    counts: Counter[str] = Counter()
    points: Counter[str] = Counter()
    size: Counter[str] = Counter()
    sequences: list[int] = []
    for line in lines:
        kind = line["kind"]
        counts[kind] += 1
        points[kind] += line.get("points", 0)
        size[kind] += line.get("bytes", 0)
        if "sequence" in line:
            sequences = [min([line["sequence"], *sequences]), max([line["sequence"], *sequences])]
    for kind in sorted(counts):
        yield {"kind": kind, "count": counts[kind], "points": points[kind], "bytes": size[kind]}
    if sequences:
        yield {"kind": "sequences", "first": sequences[0], "last": sequences[-1]}


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _as_json(line: Line) -> str:
    return json.dumps(line, default=str, ensure_ascii=False)


def _as_text(line: Line) -> str:
    kind, *others = line.items()
    return " ".join([str(kind[1]), *(f"{key}={_plain(value)}" for key, value in others)])


def _plain(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if text and text.isprintable() and " " not in text and '"' not in text else json.dumps(text)
