"""The memory of large writes: aligned for them, in huge pages where there are any, and as good without them."""

from __future__ import annotations

import errno
import mmap

import pytest

from holdfastd.storage import write_buffer as module
from holdfastd.storage.write_buffer import BLOCK_BYTES, HUGE_PAGE_BYTES, write_buffer


@pytest.mark.parametrize("count", [BLOCK_BYTES, 256 << 10, 1 << 20, HUGE_PAGE_BYTES, 3 << 20, 4 << 20])
def test_a_buffer_is_aligned_zero_and_writable(count: int) -> None:
    buffers = [write_buffer(count) for _ in range(3)]
    for number, buffer in enumerate(buffers):
        assert buffer.shape == (count,)
        assert buffer.ctypes.data % (HUGE_PAGE_BYTES if count >= 1 << 20 else BLOCK_BYTES) == 0
        assert not buffer.any()
        buffer[:] = number + 1
    assert [int(buffer.min()) for buffer in buffers] == [int(buffer.max()) for buffer in buffers] == [1, 2, 3]


class Refusing(mmap.mmap):
    """Memory of a kernel that knows no huge pages."""

    refused = 0

    def madvise(self, *_arguments: int) -> None:
        Refusing.refused += 1
        raise OSError(errno.EINVAL, "no huge pages")


def test_a_kernel_without_huge_pages_gives_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.mmap, "mmap", Refusing)
    buffer = write_buffer(4 << 20)
    buffer[:] = 1
    assert Refusing.refused == 1
    assert int(buffer.sum()) == 4 << 20
