"""``npy``: vectors as an (n, d) float32 array, ids and payloads beside it, one a line, as insert-batch reads them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from holdfast.cli.writers.atomic import atomic_file
from holdfast.cli.writers.payload_lines import PayloadLines
from holdfast.errors import FailedPrecondition

if TYPE_CHECKING:
    from holdfast.v1 import vector_pb2

_HEADER_BYTES = 128


def write_npy(
    batches: Iterable[vector_pb2.PointColumns], dimensions: int, path: Path, payload_lines: PayloadLines
) -> tuple[int, list[Path]]:
    """Write the three files; returns the number of rows and their paths. Ids must not contain line breaks.

    dimensions: the collection's, which an array without rows has too.
    """
    ids_path, payloads_path = companions(path)
    written = 0
    with ExitStack() as files:
        array, ids, payloads = (files.enter_context(atomic_file(p)) for p in (path, ids_path, payloads_path))
        array.write(npy_header(0, 0))
        for batch in batches:
            array.write(batch.vectors.data)
            dimensions = batch.vectors.dimensions or dimensions
            _write_ids(batch, ids)
            payloads.write("".join(f"{line}\n" for line in payload_lines.of(batch)).encode())
            written += len(batch.ids)
        array.seek(0)
        array.write(npy_header(written, dimensions))
    return written, [path, ids_path, payloads_path]


def companions(path: Path) -> tuple[Path, Path]:
    """Where ids and payloads of ``vectors.npy`` go: ``vectors.ids.txt`` and ``vectors.payloads.ndjson``."""
    stem = path.with_suffix("") if path.suffix == ".npy" else path
    return stem.with_name(stem.name + ".ids.txt"), stem.with_name(stem.name + ".payloads.ndjson")


def npy_header(rows: int, columns: int) -> bytes:
    """A version 1.0 header of 128 bytes, whatever the numbers."""
    fields = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}"
    text = fields.ljust(_HEADER_BYTES - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin-1")


def _write_ids(batch: vector_pb2.PointColumns, ids: BinaryIO) -> None:
    for point_id in batch.ids:
        if "\n" in point_id or "\r" in point_id:
            raise FailedPrecondition(
                f"the id {point_id!r} contains a line break, and npy keeps ids one a line",
                reason="ID_WITH_LINE_BREAK",
                hint="export it with --format ndjson",
            )
    ids.write("".join(f"{point_id}\n" for point_id in batch.ids).encode())
