"""NumPy's file format, both ways, and all that is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.format.npy import VECTORS_ALIGN, npy_header, npy_view
from holdfastd.format.segment import KILL_DTYPE, ROW_DTYPE, RUN_ROW_DTYPE, TOMBSTONE_DTYPE, TOMBSTONE_ROW_DTYPE
from tests.format.flips import bit_flips

SCALARS = [np.dtype(kind) for kind in ("u1", "i1", "?", "<u2", "<i4", "<u8", "<f2", "<f4", "<f8")]
STRUCTURED = [ROW_DTYPE, KILL_DTYPE, TOMBSTONE_DTYPE, TOMBSTONE_ROW_DTYPE, RUN_ROW_DTYPE, np.dtype([("only", "<u4")])]
DTYPES = st.sampled_from(SCALARS + STRUCTURED)
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)


def filled(dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    return np.frombuffer(bytes(number % 2 for number in range(size)), dtype).reshape(shape)


@given(DTYPES, SHAPES, st.sampled_from([64, 4096]))
def test_files_are_read_by_us_and_by_numpy(dtype: np.dtype, shape: tuple[int, ...], align: int) -> None:
    array = filled(dtype, shape)
    header = npy_header(dtype, shape, align=align)
    data = header + array.tobytes()
    assert len(header) % align == 0
    for read in (npy_view(data), np.load(io.BytesIO(data), allow_pickle=False)):
        assert (read.dtype, read.shape) == (dtype, shape)
        assert read.tobytes() == array.tobytes()


@given(DTYPES, SHAPES)
def test_files_of_numpy_are_read(dtype: np.dtype, shape: tuple[int, ...]) -> None:
    array = filled(dtype, shape)
    file = io.BytesIO()
    np.save(file, array)
    read = npy_view(file.getvalue())
    assert (read.dtype, read.shape, read.tobytes()) == (dtype, shape, array.tobytes())


@pytest.mark.parametrize("of", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_a_view_copies_nothing_and_is_read_only(of: type) -> None:
    data = of(npy_header("<f4", (2, 3)) + np.arange(6, dtype="<f4").tobytes())
    view = npy_view(data)
    assert view.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(view, np.frombuffer(data, np.uint8))
    assert not view.flags.writeable


def test_vectors_start_on_a_page() -> None:
    assert len(npy_header("<f4", (10**9, 1536), align=VECTORS_ALIGN)) == VECTORS_ALIGN


@pytest.mark.parametrize("dtype", ["O", ">u4", "S5", "U3", "<M8[us]", [("a", "O")], [("a", "<u4", (2,))], "V8", "<c8"])
def test_types_that_would_not_be_read_are_not_written(dtype: object) -> None:
    with pytest.raises(ValueError, match="npy"):
        npy_header(dtype, (1,))


def npy(header: str, data: bytes = b"", magic: bytes = b"\x93NUMPY\x01\x00") -> bytes:
    return magic + len(header).to_bytes(2, "little") + header.encode() + data


GOOD = "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }\n"


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", "not an npy file"),
        (npy(GOOD)[:9], "not an npy file"),
        (npy(GOOD, b"1234", magic=b"\x93NUMPY\x02\x00"), "not an npy file"),
        (npy(GOOD, b"123"), "data of 3 bytes"),
        (npy(GOOD, b"12345"), "data of 5 bytes"),
        (npy(GOOD)[:40], "header of 58 bytes in a file of 40"),
        (npy(GOOD.replace("False", "True"), b"1234"), "C order"),
        (npy(GOOD.replace("<u2", "|O"), b"1234"), "not a little-endian number"),
        (npy(GOOD.replace("<u2", ">u2"), b"1234"), "not a little-endian number"),
        (npy(GOOD.replace("<u2", "<f1"), b"12"), "does not exist"),
        (npy(GOOD.replace("(2,)", "(-2,)"), b"1234"), "not of the form"),
        (npy(GOOD.replace("(2,)", "(2 2)"), b"1234"), "shape"),
        (npy(GOOD.replace("(2,)", "(,)"), b"1234"), "shape"),
        (npy(GOOD.replace("(2,)", "(9999999999999999,)"), b"1234"), "shape"),
        (npy(GOOD.replace("(2,)", "(1, 1, 1, 1, 1, 1, 1, 1, 2)"), b"1234"), "shape"),
        (npy(GOOD.replace("(2,)", "(999999999999999, 999999999999999)"), b"1234"), "data of 4 bytes"),
        (npy(GOOD.replace("'<u2'", "[]"), b"1234"), "flat list"),
        (npy(GOOD.replace("'<u2'", "[('a', '<u1'), ('a', '<u1')]"), b"1234"), "flat list"),
        (npy(GOOD.replace("'<u2'", "[('a', '<u1'), x]"), b"1234"), "flat list"),
        (npy(GOOD.replace("'<u2'", "[('a', '<u1', (2,))]"), b"1234"), "flat list"),
        (npy("{}\n"), "not of the form"),
        (npy("__import__('os')\n"), "not of the form"),
        (npy(GOOD.replace("\n", " " * 9000 + "\n"), b"1234"), "header of 9058 bytes"),
    ],
)
def test_what_is_not_ours_is_refused_with_a_reason(file: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        npy_view(file)


def test_an_array_of_objects_is_never_unpickled() -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="not a little-endian number"):
        npy_view(file.getvalue())


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    for file in (data, npy("")[:8] + data):
        with pytest.raises(ValueError, match="npy"):
            npy_view(file)


def test_no_bit_flip_is_another_exception_or_a_view_beyond_the_file() -> None:
    file = npy_header(RUN_ROW_DTYPE, (2,)) + bytes(16)
    for _, damaged in bit_flips(file):
        try:
            view = npy_view(damaged)
        except ValueError:
            continue
        assert view.nbytes == 16
