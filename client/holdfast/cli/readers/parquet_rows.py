"""``parquet`` through pyarrow, if it is installed: columns ``id``, ``vector`` (lists of float), ``payload``."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

from holdfast.cli.readers.rows import BadFile, BadRow, Row, Rows, make_row
from holdfast.errors import Unimplemented
from holdfast.json_text import json_problem

MISSING = "parquet needs pyarrow, which is not installed"
INSTALL = "pip install pyarrow, or use ndjson"


def read_parquet(file: BinaryIO, batch_size: int = 1000) -> Rows:
    """Rows in order; "line" is the row's number from 1. Payloads are JSON text or structs.

    Unimplemented, before anything is read, without pyarrow.
    """
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise Unimplemented(MISSING, reason="NO_PYARROW", hint=INSTALL) from None
    return _read(parquet, ArrowException, file, batch_size)


def _read(parquet: Any, arrow_exception: type[Exception], file: BinaryIO, batch_size: int) -> Rows:
    try:
        source = parquet.ParquetFile(file)
        _check_schema(source.schema_arrow)
        line = 0
        for batch in source.iter_batches(batch_size):
            for values in batch.to_pylist():
                line += 1
                yield _row(line, values)
    except arrow_exception as error:
        raise BadFile(f"not a parquet file: {error}") from None


def _check_schema(schema: Any) -> None:
    unknown = set(schema.names) - {"id", "vector", "payload"}
    if unknown or "vector" not in schema.names:
        raise BadFile(f"the columns are {', '.join(schema.names)}, not id, vector, payload")
    element = getattr(schema.field("vector").type, "value_type", None)
    if str(element) not in ("float", "halffloat"):
        raise BadFile(
            f"vector is {schema.field('vector').type}, not lists of float: cast it to pyarrow.list_(pyarrow.float32())"
        )


def _row(line: int, values: dict[str, Any]) -> Row | BadRow:
    payload = values.get("payload")
    written = payload if isinstance(payload, str) else None
    if written is not None:
        try:
            payload = json.loads(written)
        except (ValueError, RecursionError) as error:
            return BadRow(line, f"the payload is not JSON: {json_problem(error)}")
    return make_row(line, values.get("id"), values["vector"], payload, written)
