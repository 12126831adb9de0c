"""From a client's request to a change that can be logged: validation, hashing and encoding, in the caller's thread.

Everything that needs no order happens here, before the committer sees the change (RULES 14). Whatever is wrong is
refused here, naming the row and the field; nothing of a refused batch reaches the log.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import InvalidArgument
from ..format.norms import row_norms
from ..format.operation import hash_ids, hash_rows
from ..format.payload_limits import accept_payloads
from ..model import CollectionSpec, Float32Array, Rows

MAX_ID_BYTES = 512
MAX_BATCH_ROWS = 100_000


def prepare_rows(spec: CollectionSpec, ids: Sequence[str], vectors: Float32Array, payload_block: bytes) -> Rows:
    """Validate a batch: unique ids (the last of duplicates wins), (n, d) finite float32, one JSON array or b"".

    Raises InvalidArgument naming row and field. Pure; does not block.
    """
    keys = check_ids(ids)
    norms = check_vectors(spec, vectors, len(keys))
    payloads: list[bytes | None] = accept_payloads(payload_block, len(keys)) if payload_block else [None] * len(keys)
    if len(set(keys)) != len(keys):
        last = {key: row for row, key in enumerate(keys)}
        kept = sorted(last.values())
        keys, payloads = [keys[row] for row in kept], [payloads[row] for row in kept]
        vectors, norms = np.ascontiguousarray(vectors[kept]), norms[kept]
    return Rows(keys, vectors, payloads, hash_ids(keys), hash_rows(keys, vectors, payloads), norms)


def check_ids(ids: Sequence[str]) -> list[bytes]:
    """The ids as UTF-8. Raises InvalidArgument for none at all, an empty or oversize id, or one with a NUL in it."""
    if not ids:
        raise InvalidArgument("the batch holds no points", field="ids", hint="send at least one id")
    if len(ids) > MAX_BATCH_ROWS:
        raise InvalidArgument(
            f"the batch holds {len(ids)} points, the limit is {MAX_BATCH_ROWS}",
            field="ids",
            reason="BATCH_TOO_LARGE",
            hint="send smaller batches; 1,000 points are a good size",
        )
    keys = [id.encode() for id in ids]
    if max(map(len, keys)) > MAX_ID_BYTES or min(map(len, keys)) == 0 or b"\0" in b"".join(keys):
        for row, key in enumerate(keys):
            _check_id(row, key)
    return keys


def _check_id(row: int, key: bytes) -> None:
    problem = None
    if not key:
        problem = "is empty"
    elif len(key) > MAX_ID_BYTES:
        problem = f"is {len(key)} bytes long, the limit is {MAX_ID_BYTES}"
    elif b"\0" in key:
        problem = "contains a NUL character"
    if problem is not None:
        raise InvalidArgument(
            f"ids[{row}] {problem}",
            field=f"ids[{row}]",
            reason="INVALID_ID",
            hint=f"an id is text of 1 to {MAX_ID_BYTES} bytes without NUL",
            row=row,
        )


def check_distinct(keys: Sequence[bytes]) -> None:
    """Raise InvalidArgument for an id that stands twice."""
    if len(set(keys)) == len(keys):
        return
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        if first.setdefault(key, row) != row:
            raise InvalidArgument(
                f"ids[{row}] stands twice, at ids[{first[key]}] too",
                field=f"ids[{row}]",
                reason="DUPLICATE_ID",
                hint="send each id once",
                row=row,
            )


def check_finite(vectors: Float32Array, place: str) -> None:
    """Raise InvalidArgument unless all of (n, d) ``vectors`` is finite.

    ``place``: how the caller knows a value, with ``{row}`` and ``{column}``; without ``{row}`` where there is only one.
    """
    if np.isfinite(vectors).all():
        return
    row, column = (int(found[0]) for found in np.nonzero(~np.isfinite(vectors)))
    field = place.format(row=row, column=column)
    raise InvalidArgument(
        f"{field} is {vectors[row, column]}, only finite numbers make a vector",
        field=field,
        reason="VECTOR_NOT_FINITE",
        hint="look for a division by zero where the embedding was made or normalised",
        row=row if "{row}" in place else None,
    )


def check_vectors(spec: CollectionSpec, vectors: Float32Array, count: int) -> Float32Array:
    """The (count,) norms of ``vectors``; raises InvalidArgument unless it is (count, dimensions) and finite."""
    if vectors.shape != (count, spec.dimensions):
        d, given = spec.dimensions, vectors.size
        many = f"{count} vectors of {d} dimensions have {count * d} values, not {given}"
        raise InvalidArgument(
            many if count > 1 else f"the vector has {given} values, {spec.name!r} has {d} dimensions",
            field="vectors",
            reason="DIMENSION_MISMATCH",
            hint=f"the collection {spec.name!r} was created with --dimensions {spec.dimensions}",
            expected=spec.dimensions,
        )
    norms = row_norms(vectors)
    if math.isnan(norms[0] if count == 1 else norms.max(initial=0)):
        check_finite(vectors, "vectors[{row}][{column}]")
    return norms
