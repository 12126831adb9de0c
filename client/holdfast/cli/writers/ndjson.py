"""``ndjson``: one ``{"id","vector","payload"}`` a line.

Nine digits read back to the same float32; a negative zero is written as -0.0, since JSON's -0 is a whole number.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from holdfast.json_text import to_json
from holdfast.payloads import decode_payloads

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2


def write_ndjson(batches: Iterable[vector_pb2.PointColumns], file: BinaryIO) -> int:
    """Write every row; returns how many."""
    written = 0
    for batch in batches:
        file.write("".join(_lines(batch)).encode())
        written += len(batch.ids)
    return written


def _lines(batch: vector_pb2.PointColumns) -> Iterable[str]:
    unpack = struct.Struct(f"<{batch.vectors.dimensions}f").unpack_from
    numbers = ",".join(["%.9g"] * batch.vectors.dimensions)
    width = batch.vectors.dimensions * 4
    payloads = decode_payloads(batch.payloads, len(batch.ids))
    for row, (point_id, payload) in enumerate(zip(batch.ids, payloads, strict=True)):
        vector = numbers % unpack(batch.vectors.data, row * width)
        if "-0" in vector:
            vector = ",".join("-0.0" if text == "-0" else text for text in vector.split(","))
        text = to_json(payload, separators=(",", ":"))
        yield f'{{"id":{json.dumps(point_id, ensure_ascii=False)},"vector":[{vector}],"payload":{text}}}\n'
