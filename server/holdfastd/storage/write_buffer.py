"""The memory out of which files are written past the page cache.

A disk is handed such memory page by page. Of small pages, which lie anywhere, 4 MiB are a thousand entries and several
requests; of huge ones two entries and one request: a virtual disk wrote the former at 210 MB/s, the latter at 500.
"""

from __future__ import annotations

import contextlib
import mmap

import numpy as np

from .files import ByteArray

BLOCK_BYTES = 4096
"""What direct writes must be aligned to: memory, offset and length."""
HUGE_PAGE_BYTES = 2 << 20
_LEAST_IN_HUGE_PAGES = 1 << 20


def whole_blocks(count: int) -> int:
    """The bytes of as many blocks as hold ``count``."""
    return -(-count // BLOCK_BYTES) * BLOCK_BYTES


def write_buffer(count: int) -> ByteArray:
    """(count,) zeros aligned for direct writes; where it is large, in huge pages if the kernel has some to spare."""
    if count < _LEAST_IN_HUGE_PAGES:
        return _aligned(np.zeros(count + BLOCK_BYTES, np.uint8), BLOCK_BYTES)[:count]
    size = -(-count // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
    memory = mmap.mmap(-1, size + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):
        # A kernel without them: small pages serve as well.
        memory.madvise(mmap.MADV_HUGEPAGE)
    return _aligned(np.frombuffer(memory, np.uint8), HUGE_PAGE_BYTES)[:count]


def _aligned(memory: ByteArray, boundary: int) -> ByteArray:
    return memory[-memory.ctypes.data % boundary :]
