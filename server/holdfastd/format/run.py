"""``<run>-run.json``: what a run of the id index consists of (FORMAT.md, The id index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .document import decode_document, encode_document
from .segment import FileInfo

RUN_VERSION = 1
FENCE_DTYPE = np.dtype("<u4")
MAX_RUN_ROWS = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class RunInfo:
    """What ``<run>-run.json`` says; the files are those of ``Layout.run_files``."""

    rows: int
    fence_bits: int
    hashes: FileInfo
    places: FileInfo
    fence: FileInfo
    format_version: int = RUN_VERSION


def encode_run_info(info: RunInfo) -> bytes:
    """The bytes of ``<run>-run.json``."""
    return encode_document("run", info)


def decode_run_info(data: bytes) -> RunInfo:
    """The contents of ``<run>-run.json``. Raises ValueError, or UnsupportedFormat, as ``decode_document``."""
    info = decode_document("run", data, RunInfo, RUN_VERSION)
    if not (0 <= info.rows <= MAX_RUN_ROWS and 1 <= info.fence_bits <= 32):
        raise ValueError(f"run: {info.rows} rows, {info.fence_bits} bits")
    return info
