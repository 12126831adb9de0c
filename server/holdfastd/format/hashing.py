"""Hashes of ids and of whole rows, and the content digest that sums them.

    row hash := XXH3-128( id_length:u32 id vector:f32* has_payload:u8 payload )          (little-endian, verbatim bytes)
    digest   := (sum of the high halves, sum of the low halves), each mod 2^64

The digest does not depend on the order of rows and leaves out version, time and sequence. It detects accidents; an
attacker who may write rows can forge it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import xxhash

from ..model import Float32Array, Uint64Array

_pack_length = struct.Struct("<I").pack
_MASK = (1 << 64) - 1


def hash_ids(ids: Sequence[bytes]) -> Uint64Array:
    """(n,) XXH3-64 of each id."""
    canonical = np.frombuffer(b"".join(map(xxhash.xxh3_64_digest, ids)), np.dtype(">u8"))
    return canonical.astype(np.uint64)


def hash_rows(ids: Sequence[bytes], vectors: Float32Array, payloads: Sequence[bytes | None]) -> Uint64Array:
    """(n, 2) row hashes as (high, low); ``vectors`` is (n, d) float32, payloads are verbatim JSON objects or None.

    Raises ValueError when the three do not have the same number of rows.
    """
    if not len(ids) == len(vectors) == len(payloads):
        raise ValueError(f"{len(ids)} ids, {len(vectors)} vectors and {len(payloads)} payloads")
    digest, join, pack = xxhash.xxh3_128_digest, b"".join, _pack_length
    matrix = np.ascontiguousarray(vectors, np.dtype("<f4")).reshape(-1).view(np.uint8).data
    width = vectors.shape[1] * 4
    # One join per row is the cheapest way in Python to a one-shot hash of five parts. The rows are views of the matrix:
    # as bytes objects they cost twice as much, in page faults.
    canonical = [
        digest(join((pack(len(id_)), id_, matrix[at : at + width], b"\1", payload)))
        if payload is not None
        else digest(join((pack(len(id_)), id_, matrix[at : at + width], b"\0")))
        for id_, at, payload in zip(ids, range(0, width * len(ids), width), payloads, strict=True)
    ]
    return hashes_from_bytes(join(canonical))


def hashes_from_bytes(canonical: bytes) -> Uint64Array:
    """(n, 2) hashes from n × 16 bytes in canonical (big-endian) form."""
    return np.frombuffer(canonical, np.dtype(">u8")).astype(np.uint64).reshape(-1, 2)


def hashes_to_bytes(hashes: Uint64Array) -> bytes:
    """The canonical form of (n, 2) hashes: 16 bytes each, big-endian, high half first."""
    return hashes.astype(np.dtype(">u8")).tobytes()


def digest_sums(hashes: Uint64Array) -> tuple[int, int]:
    """The two sums, mod 2^64, by which rows with these hashes change a digest: (high, low)."""
    high, low = hashes.sum(axis=0, dtype=np.uint64).tolist()
    return int(high) & _MASK, int(low) & _MASK
