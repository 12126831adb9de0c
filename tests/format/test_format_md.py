"""FORMAT.md is judged like code: every example in it, and every table of fields, is held against the codecs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xxhash

import holdfastd.format
from holdfast.v1.log_pb2 import LogOperation
from holdfastd.format.document import decode_document
from holdfastd.format.manifest import CollectionEntry, Manifest, decode_manifest
from holdfastd.format.operation import decode, rows_of
from holdfastd.format.record import HEADER_SIZE, RecordHeader, decode_header
from holdfastd.format.requests import decode_requests
from holdfastd.format.run import decode_run_info
from holdfastd.format.segment import (
    KILL_DTYPE,
    ROW_DTYPE,
    RUN_ROW_DTYPE,
    TOMBSTONE_DTYPE,
    TOMBSTONE_ROW_DTYPE,
    decode_segment_info,
)
from holdfastd.format.verify_receipt import VerifyReceipt
from holdfastd.format.walfile import FILE_HEADER_SIZE, decode_file_header
from holdfastd.storage.log_archive_note import ARCHIVE_VERSION, ArchiveGap, ArchiveNote, Through
from holdfastd.storage.names import beginning_name, parse_piece_name, parse_wal_name
from holdfastd.storage.objects import PART
from tests.format import examples
from tests.format.test_operation import assert_same

TEXT = (Path(holdfastd.format.__path__[0]) / "FORMAT.md").read_text()
FENCE = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FIELD_ROW = re.compile(r"^\| (\d+) \| (\d+) \| (\w+) \|", re.MULTILINE)

BLOCKS = {(kind, name): body for kind, name, body in FENCE.findall(TEXT)}
HEX = {name: body for (kind, name), body in BLOCKS.items() if kind == "hex"}


def hex_bytes(name: str) -> bytes:
    """The bytes of an example: what stands before the ``|`` of each line, ``20*9`` being nine spaces."""
    data = b""
    for line in HEX[name].splitlines():
        for token in line.partition("|")[0].split():
            byte, _, times = token.partition("*")
            data += bytes.fromhex(byte) * int(times or 1)
    return data


def fields(heading: str) -> list[tuple[str, int, int]]:
    """(field, offset, size) of each row of the first table of fields below ``heading``."""
    below = TEXT.partition(f"{heading}\n")[2]
    assert below, f"FORMAT.md has no heading {heading!r}"
    table = re.search(r"^\| offset \|.*\n(?:^\|.*\n)+", below, re.MULTILINE)
    assert table is not None
    return [(name, int(offset), int(size)) for offset, size, name in FIELD_ROW.findall(table[0])]


def record_at(offset: int, data: bytes) -> RecordHeader:
    header = decode_header(data, 0, salt=examples.SALT, offset=offset, remaining=len(data))
    assert isinstance(header, RecordHeader)
    return header


RECORD_OFFSET = int(re.search(r"at offset (\d+), an upsert", TEXT)[1])
FILES = examples.files()
EXPECTED = {
    "wal-file-header": FILES["00000001-00000000000000000001.wal"][:FILE_HEADER_SIZE],
    "vectors.npy": FILES["vectors.npy"],
    "rows.npy": examples.row_facts()[:1].tobytes(),
    "tombstones.npy": examples.TOMBSTONES.tobytes(),
    "tombstone-rows.npy": examples.TOMBSTONE_ROWS.tobytes(),
    "kills.npy": FILES[examples.kills_file()],
    "run-hash.npy": FILES["run-00000001-hash.npy"][-16:],
    "run-rows.npy": FILES["run-00000001-rows.npy"][-16:],
    "run-fence.npy": FILES["run-00000001-fence.npy"][-12:],
}
DOCUMENTS = ("segment.json", "run.json", "MANIFEST.json", "requests.json", "ARCHIVE.json")


def test_every_example_is_checked_here() -> None:
    assert HEX.keys() == EXPECTED.keys() | {"wal-record", "wal-marker", "row-hash"}
    assert BLOCKS.keys() - {("hex", name) for name in HEX} == {("json", name) for name in DOCUMENTS}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_examples_are_what_the_codecs_write(name: str) -> None:
    assert hex_bytes(name) == EXPECTED[name]


def test_the_record_is_one_of_the_log_and_decodes_to_the_upsert() -> None:
    data = hex_bytes("wal-record")
    log = FILES["00000001-00000000000000000001.wal"]
    assert log[RECORD_OFFSET : RECORD_OFFSET + len(data)] == data
    header = record_at(RECORD_OFFSET, data)
    assert header.size == len(data)
    payload = data[HEADER_SIZE:][: header.payload_length]
    assert decode(payload) == LogOperation.FromString(examples.UPSERT)
    assert_same(rows_of(decode(payload).upsert), examples.ROWS)


def test_the_marker_is_one_of_the_log() -> None:
    log = FILES["00000001-00000000000000000001.wal"]
    data = hex_bytes("wal-marker")
    assert record_at(log.index(data), data).kind == 2


def test_the_row_hash_is_over_the_bytes_shown() -> None:
    high, low = examples.ROWS.hashes[0].tolist()
    assert xxhash.xxh3_128_intdigest(hex_bytes("row-hash")) == high << 64 | low


def test_the_documents_shown_are_intact() -> None:
    assert decode_segment_info(BLOCKS["json", "segment.json"].encode()) == examples.segment_info()
    assert decode_manifest(BLOCKS["json", "MANIFEST.json"].encode()) == examples.manifest()
    assert decode_run_info(BLOCKS["json", "run.json"].encode()) == examples.run_info()
    assert decode_requests(BLOCKS["json", "requests.json"].encode()) == examples.REQUESTS
    note = decode_document("archive", BLOCKS["json", "ARCHIVE.json"].encode(), ArchiveNote, ARCHIVE_VERSION)
    assert (note.through.offset, len(note.gaps)) == (18_432, 1)


def test_every_member_of_the_archive_s_note_is_explained() -> None:
    below = TEXT.partition("### An archive of the log")[2].partition("### ")[0]
    explained = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^- .*$", below, re.MULTILINE))))
    members = {field for each in (ArchiveNote, Through, ArchiveGap) for field in each.__dataclass_fields__}
    assert explained == members - {"format_version"}


def test_the_names_in_an_archive_are_those_that_are_written() -> None:
    below = TEXT.partition("### An archive of the log")[2].partition("`ARCHIVE.json`")[0]
    whole, first, second, unfinished, beginning = (
        line.split()[0] for line in re.findall(r"^    0.*$", below, re.MULTILINE)
    )
    assert parse_wal_name(whole) == (1, 1)
    pieces = [parse_piece_name(name) for name in (first, second)]
    assert [piece and (piece.start, piece.end) for piece in pieces] == [(0, 16_384), (16_384, 18_432)]
    assert parse_piece_name(unfinished.removesuffix(PART)) is not None
    assert beginning == beginning_name(beginning.removesuffix(".begins"))


@pytest.mark.parametrize(
    ("heading", "size"),
    [
        ("### File header: 80 bytes", FILE_HEADER_SIZE),
        ("### Record header: 64 bytes, at a multiple of 8", HEADER_SIZE),
        ("### rows.npy", ROW_DTYPE.itemsize),
        ("### tombstones.npy", TOMBSTONE_DTYPE.itemsize),
        ("### tombstone-rows.npy", TOMBSTONE_ROW_DTYPE.itemsize),
        ("### kills", KILL_DTYPE.itemsize),
        ("## The id index", RUN_ROW_DTYPE.itemsize),
    ],
)
def test_tables_leave_no_byte_out(heading: str, size: int) -> None:
    end = 0
    for name, offset, width in fields(heading):
        assert offset == end, name
        end += width
    assert end == size


@pytest.mark.parametrize(
    ("heading", "dtype"),
    [
        ("### rows.npy", ROW_DTYPE),
        ("### tombstones.npy", TOMBSTONE_DTYPE),
        ("### tombstone-rows.npy", TOMBSTONE_ROW_DTYPE),
        ("### kills", KILL_DTYPE),
        ("## The id index", RUN_ROW_DTYPE),
    ],
)
def test_tables_of_rows_are_the_types_of_the_arrays(heading: str, dtype: np.dtype) -> None:
    described = [(name, field[1], field[0].itemsize) for name, field in (dtype.fields or {}).items()]
    assert fields(heading) == described


def assert_fields_read(heading: str, data: bytes, value: object, apart: set[str]) -> None:
    """Each field of the table, read from ``data`` where the table says, is the attribute of ``value``."""
    for name, offset, size in fields(heading):
        if name not in apart:
            assert int.from_bytes(data[offset : offset + size], "little") == getattr(value, name), name


def test_fields_of_the_record_header_stand_where_the_table_says() -> None:
    data = hex_bytes("wal-record")
    heading = "### Record header: 64 bytes, at a multiple of 8"
    assert_fields_read(heading, data, record_at(RECORD_OFFSET, data), {"magic", "reserved"})


def test_fields_of_the_file_header_stand_where_the_table_says() -> None:
    data = FILES["gap-before.header"]
    header = decode_file_header(data)
    assert_fields_read("### File header: 80 bytes", data, header, {"magic", "store_id", "reserved", "crc"})
    assert data[16:32] == examples.STORE_ID.bytes


def test_every_member_of_the_manifest_is_explained() -> None:
    below = TEXT.partition("### The manifest\n")[2]
    first_cells = " ".join(re.findall(r"^\| (`.*?) \|", below, re.MULTILINE))
    explained = set(re.findall(r"\w+", first_cells)) - {"collections"}
    members = {*Manifest.__dataclass_fields__, *CollectionEntry.__dataclass_fields__}
    assert explained == members - {"collections", "format_version"}


def test_links_inside_the_page_lead_somewhere() -> None:
    anchors = {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", TEXT, re.M)}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors
    for path in re.findall(r"\]\(([^#)][^)]*)\)", TEXT):
        assert (Path(holdfastd.format.__path__[0]) / path).exists(), path


def test_the_checksum_of_a_document_can_be_had_by_hand() -> None:
    command = re.search(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert command is not None
    shell = subprocess.run(["sh", "-c", command[1]], cwd=examples.GOLDEN, capture_output=True, check=True, text=True)
    assert shell.stdout.split()[0] == json.loads((examples.GOLDEN / "MANIFEST.json").read_text())["sha256"]


def test_every_member_of_a_receipt_is_explained() -> None:
    below = TEXT.partition("*verification receipts*")[2].partition("### ")[0]
    first = " ".join(re.findall(r"^- (`.*?):", below, re.MULTILINE))
    assert set(re.findall(r"\w+", first)) == set(VerifyReceipt.__dataclass_fields__)
