"""Files of every released format version are read for ever, and what is written today is what its version says."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

from holdfast.v1.log_pb2 import LogOperation
from holdfastd.format.checksum import crc32c
from holdfastd.format.collection import decode_collection, decode_settings
from holdfastd.format.manifest import decode_manifest
from holdfastd.format.npy import npy_view
from holdfastd.format.operation import decode, digest_sums, hash_ids, hash_rows, rows_of
from holdfastd.format.record import HEADER_SIZE, Incomplete, RecordHeader, RecordKind, decode_header, find_headers
from holdfastd.format.requests import decode_requests
from holdfastd.format.run import decode_run_info
from holdfastd.format.segment import ROW_HAS_PAYLOAD, decode_segment_info
from holdfastd.format.walfile import FILE_HEADER_SIZE, decode_file_header
from tests.format import examples
from tests.format.examples import GOLDEN
from tests.format.test_operation import assert_same

LOG = "00000001-00000000000000000001.wal"

COMPRESSED = {"upsert-snappy.operation"}
"""What another release of Snappy may compress otherwise: read for ever, but not compared byte for byte."""


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def test_the_folder_holds_exactly_the_examples() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(examples.files())


@pytest.mark.parametrize("name", sorted(examples.files().keys() - COMPRESSED))
def test_what_is_written_today_is_what_was_written_then(name: str) -> None:
    assert examples.files()[name] == golden(name)


def walk(data: bytes) -> Iterator[tuple[int, RecordHeader, bytes]]:
    """The records of a WAL segment, judged as FORMAT.md says: (offset, header, payload)."""
    file_header = decode_file_header(data)
    assert file_header == examples.FILE_HEADER
    offset, chain = FILE_HEADER_SIZE, file_header.chain
    while True:
        header = decode_header(data, offset, salt=examples.SALT, offset=offset, remaining=len(data) - offset)
        if header == Incomplete("end of log"):
            assert not any(data[offset:])
            return
        assert isinstance(header, RecordHeader)
        start = offset + HEADER_SIZE
        payload = data[start : start + header.payload_length]
        assert header.chain == chain
        assert header.payload_crc == crc32c(payload)
        assert not any(data[start + header.payload_length : offset + header.size])
        yield offset, header, payload
        offset, chain = offset + header.size, header.crc


def operations(data: bytes) -> Iterator[tuple[int, LogOperation]]:
    pending = b""
    for _, header, payload in walk(data):
        if header.kind == RecordKind.OPERATION:
            pending += payload
            if header.is_last:
                yield header.sequence, decode(pending)
                pending = b""
    assert pending == b""


def test_the_log_is_read_record_by_record() -> None:
    records = list(walk(golden(LOG)))
    kinds = [RecordKind(header.kind).name for _, header, _ in records]
    assert kinds == ["OPERATION"] * 12 + ["MARKER"] + ["OPERATION"] * 3 + ["CLOSED"]
    assert [header.is_last for _, header, _ in records[-4:]] == [False, False, True, True]
    found = [(offset, header.crc) for offset, header in find_headers(golden(LOG), 0, examples.SALT)]
    assert found == [(offset, header.crc) for offset, header, _ in records]


def test_every_operation_of_the_log_says_what_it_said() -> None:
    logged = dict(operations(golden(LOG)))
    assert list(logged) == list(range(1, 14))
    assert [logged[number] for number in range(1, 13)] == examples.OPERATIONS
    assert logged[13] == logged[2]
    bodies = {field.name for field in LogOperation.DESCRIPTOR.oneofs_by_name["body"].fields}
    assert {operation.WhichOneof("body") for operation in logged.values()} == bodies
    assert_same(rows_of(logged[2].upsert), examples.ROWS)
    assert decode_collection(logged[1].create_collection.collection) == examples.SPEC
    assert decode_collection(logged[6].restore.collections[0].collection) == examples.RESTORED
    assert decode_settings(logged[10].settings) == examples.SETTINGS


def test_a_compressed_upsert_is_read() -> None:
    assert_same(rows_of(decode(golden("upsert-snappy.operation")).upsert), examples.COMPRESSIBLE)


def test_a_file_header_with_a_gap_is_read() -> None:
    assert decode_file_header(golden("gap-before.header")) == examples.GAP_HEADER


ARRAYS = sorted(name for name in examples.files() if name.endswith(".npy"))


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_read_by_us_and_by_numpy(name: str) -> None:
    ours, numpys = npy_view(golden(name)), np.load(io.BytesIO(golden(name)), allow_pickle=False)
    assert (ours.dtype, ours.shape) == (numpys.dtype, numpys.shape)
    assert ours.tobytes() == numpys.tobytes()


def test_the_segment_is_read() -> None:
    info = decode_segment_info(golden("segment.json"))
    assert info == examples.segment_info()
    for name, file in info.files.items():
        assert (len(golden(name)), crc32c(golden(name))) == (file.size, file.crc32c)
    facts, ids, payloads = (npy_view(golden(name)) for name in ("rows.npy", "ids.npy", "payloads.npy"))
    texts = [
        (
            bytes(ids[fact["id_offset"] :][: fact["id_length"]]),
            bytes(payloads[fact["payload_offset"] :][: fact["payload_length"]])
            if fact["flags"] & ROW_HAS_PAYLOAD
            else None,
        )
        for fact in facts
    ]
    assert texts == [(b"a", b'{"n":1}'), (b"b", None)]
    hashes = hash_rows([text[0] for text in texts], npy_view(golden("vectors.npy")), [text[1] for text in texts])
    assert hashes.tolist() == [[int(fact["hash_high"]), int(fact["hash_low"])] for fact in facts]


def test_the_run_of_the_id_index_is_read() -> None:
    info = decode_run_info(golden("run-00000001-run.json"))
    assert info == examples.run_info()
    hashes, places, fence = (npy_view(golden(f"run-00000001-{name}.npy")) for name in ("hash", "rows", "fence"))
    ids = [(b"a", b"b")[place["row"]] for place in places]
    assert hashes.tolist() == hash_ids(ids).tolist() == sorted(hashes.tolist())
    assert fence.tolist() == [0, sum(number < 1 << 63 for number in hashes.tolist()), info.rows]


def test_the_request_ids_are_read() -> None:
    name = examples.manifest().requests_file
    assert name is not None
    assert decode_requests(golden(name)) == examples.REQUESTS
    assert decode_requests(golden("requests-with-digests.json")) == examples.REQUESTS_WITH_DIGESTS
    assert decode_requests(golden("requests-of-the-catalog.json")) == examples.REQUESTS_OF_THE_CATALOG


def test_the_digest_of_a_request_is_read() -> None:
    assert decode(golden("delete-with-digest.operation")) == examples.DELETE_WITH_DIGEST


def test_the_manifest_is_read_and_its_digest_is_that_of_the_live_rows() -> None:
    manifest = decode_manifest(golden("MANIFEST.json"))
    assert manifest == examples.manifest()
    (entry,) = manifest.collections
    kills = npy_view(golden(str(entry.segments[0].kills)))
    live = np.ones(entry.segments[0].rows, bool)
    live[kills["row"]] = False
    hashes = examples.ROWS.hashes[live]
    assert (entry.digest.high, entry.digest.low, entry.count) == (*digest_sums(hashes), len(hashes))
