"""``ndjson``: one ``{"id","vector","payload"}`` a line.

Nine digits read back to the same float32; a negative zero is written as -0.0, since JSON's -0 is a whole number.
Payloads are written as they are stored.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from holdfast.cli.writers.payload_lines import PayloadLines

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2


def write_ndjson(batches: Iterable[vector_pb2.PointColumns], file: BinaryIO, payloads: PayloadLines) -> int:
    """Write every row; returns how many."""
    written = 0
    for batch in batches:
        file.write("".join(_lines(batch, payloads.of(batch))).encode())
        written += len(batch.ids)
    return written


def _lines(batch: vector_pb2.PointColumns, payloads: Iterable[str]) -> Iterable[str]:
    unpack = struct.Struct(f"<{batch.vectors.dimensions}f").unpack_from
    numbers = ",".join(["%.9g"] * batch.vectors.dimensions)
    width = batch.vectors.dimensions * 4
    for row, (point_id, payload) in enumerate(zip(batch.ids, payloads, strict=True)):
        vector = numbers % unpack(batch.vectors.data, row * width)
        if "-0" in vector:
            vector = ",".join("-0.0" if text == "-0" else text for text in vector.split(","))
        yield f'{{"id":{json.dumps(point_id, ensure_ascii=False)},"vector":[{vector}],"payload":{payload}}}\n'
