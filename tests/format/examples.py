"""One value of everything that is on disk, and its bytes: the source of tests/golden and of the examples in FORMAT.md.

``python -m tests.format.examples`` writes the golden files that do not exist yet. A golden file is never written again:
when the format changes, its version does, and new examples go to the folder of the new version.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from holdfast.v1 import log_pb2
from holdfast.v1.log_pb2 import LogOperation
from holdfastd.format.checksum import crc32c
from holdfastd.format.collection import encode_collection, encode_settings
from holdfastd.format.manifest import CollectionEntry, Manifest, RunEntry, SegmentEntry, encode_manifest
from holdfastd.format.npy import VECTORS_ALIGN, npy_header
from holdfastd.format.operation import (
    digest_sums,
    encode,
    encode_upsert,
    hash_ids,
    hash_rows,
    join_payloads,
    row_norms,
)
from holdfastd.format.record import RecordFlag, RecordKind, encode_header, padded_size
from holdfastd.format.requests import encode_requests
from holdfastd.format.run import FENCE_DTYPE, RunInfo, encode_run_info
from holdfastd.format.segment import (
    KILL_DTYPE,
    ROW_DTYPE,
    ROW_HAS_PAYLOAD,
    RUN_HASH_DTYPE,
    RUN_ROW_DTYPE,
    TOMBSTONE_DTYPE,
    TOMBSTONE_ROW_DTYPE,
    FileInfo,
    SegmentInfo,
    encode_segment_info,
)
from holdfastd.format.walfile import FILE_HEADER_SIZE, WalFileFlag, WalFileHeader, encode_file_header
from holdfastd.model import (
    CollectionSpec,
    Digest,
    Mark,
    Metric,
    Origin,
    Rows,
    StorageKind,
    SyncMode,
    WalSettings,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"

STORE_ID = uuid.UUID("5701e000-0000-4000-8000-000000000001")
COLLECTION_ID = uuid.UUID("c0111ec7-0000-4000-8000-000000000002")
RESTORED_ID = uuid.UUID("c0111ec7-0000-4000-8000-000000000003")
SEGMENT_ID = uuid.UUID("5e93e27a-0000-4000-8000-000000000004")
SALT = 0x5A17_5A17_5A17_5A17
START_US = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z."""

SPEC = CollectionSpec(
    COLLECTION_ID, "products", 2, Metric.COSINE, StorageKind.HYBRID, START_US, 1, 1 << 20, "{}", "none"
)
RESTORED = CollectionSpec(RESTORED_ID, "copy", 2, origin=Origin(STORE_ID, 1, COLLECTION_ID, 4))
SETTINGS = WalSettings(sync_mode=SyncMode.PERIODIC, retention_us=7 * 86_400_000_000)

LONG = b'{"text": "' + b"to be, or not " * 12 + b'"}'


def make_rows(ids: list[bytes], vectors: list[list[float]], payloads: list[bytes | None]) -> Rows:
    matrix = np.array(vectors, np.float32)
    return Rows(ids, matrix, payloads, hash_ids(ids), hash_rows(ids, matrix, payloads), row_norms(matrix))


ROWS = make_rows([b"a", b"b"], [[3.0, 4.0], [1.0, -0.0]], [b'{"n":1}', None])
COMPRESSIBLE = make_rows([b"long"], [[0.5, 0.25]], [LONG])

FILE_HEADER = WalFileHeader(STORE_ID, 1, 0, SALT, 1, 0, START_US)
GAP_HEADER = WalFileHeader(STORE_ID, 2, 0xC4A1_14ED, SALT, 100, 41, START_US, WalFileFlag.GAP_BEFORE)


def upsert(rows: Rows) -> bytes:
    block = join_payloads(rows.payloads)
    return b"".join(encode_upsert(COLLECTION_ID, rows, block, actor="root", request_id="r-1"))


UPSERT = upsert(ROWS)
COMPRESSED_UPSERT = upsert(COMPRESSIBLE)

_ABOUT = {"collection_id": COLLECTION_ID.bytes, "actor": "root"}
OPERATIONS: list[LogOperation] = [
    LogOperation(
        **_ABOUT, create_collection=log_pb2.CreateCollectionBody(collection=encode_collection(SPEC)), request_id="r-0"
    ),
    LogOperation.FromString(UPSERT),
    LogOperation(**_ABOUT, delete=log_pb2.DeleteBody(ids=["b", "größer"])),
    LogOperation(**_ABOUT, put_alias=log_pb2.PutAliasBody(alias="shop")),
    LogOperation(mark=log_pb2.MarkBody(name="before-migration"), actor="root"),
    LogOperation(
        restore=log_pb2.RestoreBody(
            snapshot_id="snap-2026-01-01-000000",
            collections=[
                log_pb2.RestoredCollection(
                    collection=encode_collection(RESTORED),
                    staging="c0111ec7-0000-4000-8000-000000000003",
                    digest=bytes(range(16)),
                    count=2,
                    overwrite=True,
                    replaced_collection_id=COLLECTION_ID.bytes,
                    aliases=["shop"],
                )
            ],
            sequence=4,
        )
    ),
    LogOperation(**_ABOUT, truncate=log_pb2.TruncateBody(), origin_sequence=4),
    LogOperation(collection_id=RESTORED_ID.bytes, replayed=log_pb2.ReplayedBody(through=5, count=1)),
    LogOperation(
        checkpoint=log_pb2.CheckpointBody(collection_ids=[COLLECTION_ID.bytes, RESTORED_ID.bytes], sequence=8)
    ),
    LogOperation(settings=encode_settings(SETTINGS)),
    LogOperation(actor="root", delete_alias=log_pb2.DeleteAliasBody(alias="shop")),
    LogOperation(**_ABOUT, drop_collection=log_pb2.DropCollectionBody()),
]
"""One of every body, in log order from sequence 1 on."""

DIVIDED_AT = 40
"""Into records of how many bytes the last upsert of the example log is divided; in reality only a very large one is."""


def record_fields() -> Iterator[tuple[dict[str, int], bytes]]:
    """Header fields (without the chain) and payload of each record of the example log."""
    sequence = 0
    for operation in OPERATIONS:
        sequence += 1
        yield _fields(RecordKind.OPERATION, sequence, sequence - 1, encode(operation)), encode(operation)
    yield _fields(RecordKind.MARKER, sequence, sequence, b""), b""
    sequence += 1
    pieces = [UPSERT[start : start + DIVIDED_AT] for start in range(0, len(UPSERT), DIVIDED_AT)]
    for piece in pieces:
        last = RecordFlag.LAST if piece is pieces[-1] else RecordFlag(0)
        yield _fields(RecordKind.OPERATION, sequence, sequence - 1, piece, last), piece
    yield _fields(RecordKind.CLOSED, sequence, sequence, b""), b""


def _fields(
    kind: RecordKind, sequence: int, previous: int, payload: bytes, flags: RecordFlag = RecordFlag.LAST
) -> dict[str, int]:
    return {
        "kind": kind,
        "flags": flags,
        "payload_length": len(payload),
        "payload_crc": crc32c(payload),
        "sequence": sequence,
        "previous": previous,
        "timestamp_us": START_US + sequence,
        "wall_us": START_US + sequence // 2,
        "durable_offset": FILE_HEADER_SIZE,
    }


def wal_segment() -> bytes:
    """A whole WAL segment, preallocated zeros at its end included."""
    data, chain = encode_file_header(FILE_HEADER), FILE_HEADER.chain
    for fields, payload in record_fields():
        header, chain = encode_header(**fields, chain=chain, salt=SALT, offset=len(data))
        data += header + payload.ljust(padded_size(len(payload)) - len(header), b"\0")
    return data + bytes(256)


def npy(array: np.ndarray, align: int = 64) -> bytes:
    return npy_header(array.dtype, array.shape, align=align) + array.tobytes()


def row_facts() -> np.ndarray:
    facts = np.zeros(2, ROW_DTYPE)
    facts["sequence"], facts["time_us"], facts["version"] = 2, START_US + 2, [1, 3]
    facts["hash_high"], facts["hash_low"] = ROWS.hashes.T
    facts["id_offset"], facts["id_length"] = [0, 1], 1
    facts["payload_offset"], facts["payload_length"], facts["flags"] = [0, 7], [7, 0], [ROW_HAS_PAYLOAD, 0]
    return facts


def run_order() -> np.ndarray:
    return np.argsort(ROWS.id_hashes)


def index_rows() -> np.ndarray:
    return np.array([(1, row) for row in run_order().tolist()], RUN_ROW_DTYPE)


TOMBSTONES = np.array([(int(hash_ids([b"gone"])[0]), 3, 0, 4, 0, 0)], TOMBSTONE_DTYPE)
TOMBSTONE_ROWS = np.array([(2, *hash_rows([b"gone"], np.zeros((1, 2), np.float32), [None])[0])], TOMBSTONE_ROW_DTYPE)
"""Newer than the segment of the example, whose segment.json does not list it."""
KILLS = np.array([(1, 0, 3)], KILL_DTYPE)

ARRAYS: dict[str, tuple[np.ndarray, int]] = {
    "vectors.npy": (ROWS.vectors, VECTORS_ALIGN),
    "norms.npy": (ROWS.norms, 64),
    "rows.npy": (row_facts(), 64),
    "ids.npy": (np.frombuffer(b"ab", np.uint8), 64),
    "payloads.npy": (np.frombuffer(b'{"n":1}', np.uint8), 64),
    "tombstones.npy": (TOMBSTONES, 64),
    "tombstone-ids.npy": (np.frombuffer(b"gone", np.uint8), 64),
}
"""The arrays of the example segment, and the alignment of their data."""


def segment_info() -> SegmentInfo:
    images = {name: npy(*array) for name, array in ARRAYS.items()}
    files = {name: FileInfo(len(image), crc32c(image)) for name, image in images.items()}
    return SegmentInfo(SEGMENT_ID, COLLECTION_ID, 1, 2, 2, 2, 2, files)


def kills_file() -> str:
    return f"kills-{3:020d}-{crc32c(npy(KILLS)):08x}.npy"


def manifest() -> Manifest:
    kept = Digest(*digest_sums(ROWS.hashes[:1]))
    size = segment_info().size_bytes
    entry = CollectionEntry(
        spec=SPEC,
        checkpoint_sequence=3,
        count=1,
        digest=kept,
        segments=(SegmentEntry(SEGMENT_ID, 1, 2, size, kills_file()),),
        index_runs=(RunEntry("run-00000001", 0, 2),),
        next_ordinal=2,
        updated_us=START_US + 3,
        high_water=2,
        own_writes=True,
    )
    return Manifest(
        store_id=STORE_ID,
        timeline=1,
        generation=4,
        sequence=5,
        last_timestamp_us=START_US + 5,
        collections=(entry,),
        aliases={"shop": COLLECTION_ID},
        wal_directories=("wal",),
        wal_settings=SETTINGS,
        marks=(Mark("before-migration", 5, START_US + 5),),
        requests_file="requests-00000000000000000005.json",
        log_start_required=4,
        logged_sequence=5,
        clean=True,
        settings_origin={"retention": "wal enable"},
    )


def run_arrays() -> dict[str, np.ndarray]:
    """The arrays of the example run; its fence is by the first bit."""
    hashes = ROWS.id_hashes[run_order()].astype(RUN_HASH_DTYPE)
    fence = np.searchsorted(hashes >> np.uint64(63), np.arange(3, dtype=np.uint64)).astype(FENCE_DTYPE)
    return {"hash": hashes, "rows": index_rows(), "fence": fence}


def run_info() -> RunInfo:
    images = [npy(array) for array in run_arrays().values()]
    return RunInfo(2, 1, *[FileInfo(len(image), crc32c(image)) for image in images])


REQUESTS = (("import-1", 2, 2, START_US + 2, (), 0, False), ("größer", 5, 0, START_US + 5, (), 0, False))
"""As they were written before requests had digests."""
DIGEST = 0xD16E_57D1_6E57_D16E
REQUESTS_WITH_DIGESTS = (
    ("import-1", 2, 2, START_US + 2, (), DIGEST, False),
    ("drop-1", 5, 7, START_US + 5, ("shop",), 1, False),
)
"""As they were written before a change of the catalog was told from others."""
REQUESTS_OF_THE_CATALOG = (
    ("import-1", 2, 2, START_US + 2, (), DIGEST, False),
    ("drop-1", 5, 7, START_US + 5, ("shop",), 1, True),
    ("create-1", 6, 0, START_US + 6, (), 0, True),
)
DELETE_WITH_DIGEST = LogOperation(
    **_ABOUT, request_id="r-2", request_digest=DIGEST, delete=log_pb2.DeleteBody(ids=["b"])
)


def files() -> dict[str, bytes]:
    """The golden files: name and content."""
    return {
        "00000001-00000000000000000001.wal": wal_segment(),
        "gap-before.header": encode_file_header(GAP_HEADER),
        "upsert-snappy.operation": COMPRESSED_UPSERT,
        **{name: npy(*array) for name, array in ARRAYS.items()},
        "tombstone-rows.npy": npy(TOMBSTONE_ROWS),
        "segment.json": encode_segment_info(segment_info()),
        kills_file(): npy(KILLS),
        **{f"run-00000001-{name}.npy": npy(array) for name, array in run_arrays().items()},
        "run-00000001-run.json": encode_run_info(run_info()),
        "MANIFEST.json": encode_manifest(manifest()),
        "requests-00000000000000000005.json": encode_requests(REQUESTS),
        "requests-with-digests.json": encode_requests(REQUESTS_WITH_DIGESTS),
        "requests-of-the-catalog.json": encode_requests(REQUESTS_OF_THE_CATALOG),
        "delete-with-digest.operation": encode(DELETE_WITH_DIGEST),
    }


def main() -> None:
    """Write the golden files that are missing."""
    for name, content in files().items():
        path = GOLDEN / name
        if not path.exists():
            path.write_bytes(content)


if __name__ == "__main__":
    main()
