"""``parquet`` through pyarrow, if installed: ``id``, ``vector`` (fixed-size lists of float), ``payload`` (JSON)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

from holdfast.cli.readers.parquet_rows import INSTALL, MISSING
from holdfast.errors import Unimplemented
from holdfast.payloads import payload_texts

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2


def write_parquet(batches: Iterable[vector_pb2.PointColumns], dimensions: int, file: BinaryIO) -> int:
    """Write every row; returns how many. Unimplemented without pyarrow."""
    try:
        import pyarrow  # type: ignore[import-not-found,import-untyped,unused-ignore]
        from pyarrow import parquet
    except ImportError:
        raise Unimplemented(MISSING, reason="NO_PYARROW", hint=INSTALL) from None
    vectors = pyarrow.list_(pyarrow.float32(), dimensions)
    schema = pyarrow.schema([("id", pyarrow.string()), ("vector", vectors), ("payload", pyarrow.string())])
    written = 0
    with parquet.ParquetWriter(file, schema) as writer:
        for batch in batches:
            writer.write_table(pyarrow.Table.from_arrays(_columns(pyarrow, batch, vectors), schema=schema))
            written += len(batch.ids)
    return written


def _columns(pyarrow: Any, batch: vector_pb2.PointColumns, vectors: Any) -> list[Any]:
    floats = pyarrow.Array.from_buffers(
        pyarrow.float32(), len(batch.vectors.data) // 4, [None, pyarrow.py_buffer(batch.vectors.data)]
    )
    return [
        pyarrow.array(list(batch.ids), pyarrow.string()),
        pyarrow.FixedSizeListArray.from_arrays(floats, type=vectors),
        pyarrow.array(payload_texts(batch.payloads, len(batch.ids)), pyarrow.string()),
    ]
