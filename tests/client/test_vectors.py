"""Vectors as bytes: what is accepted, and what is refused rather than converted."""

from __future__ import annotations

import struct
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidArgument
from holdfast.vectors import decode_matrix, decode_vector, encode_matrix, encode_vector

ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
DATA = struct.pack("<6f", 1, 2, 3, 4, 5, 6)


class Tensor:
    """What torch and jax look like from here."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def __array__(self) -> Any:
        return self._values


@pytest.mark.parametrize(
    "vectors",
    [
        ROWS,
        [tuple(row) for row in ROWS],
        np.array(ROWS, "f4"),
        list(np.array(ROWS, "f4")),
        [array("f", row) for row in ROWS],
        memoryview(DATA).cast("f", (2, 3)),
        Tensor(np.array(ROWS, "f4")),
        np.asfortranarray(np.array(ROWS, "f4")),
        np.array([[*row, 9.0] for row in ROWS], "f4")[:, :3],
    ],
    ids=[
        "lists",
        "tuples",
        "numpy",
        "rows of numpy",
        "arrays",
        "memoryview",
        "__array__",
        "fortran",
        "strided",
    ],
)
def test_every_form_of_the_same_matrix_becomes_the_same_bytes(vectors: Any) -> None:
    matrix = encode_matrix(vectors)
    assert (matrix.data, matrix.count, matrix.dimensions) == (DATA, 2, 3)


@pytest.mark.parametrize(
    "vector",
    [[1.0, 2.0, 3.0], (1, 2, 3), array("f", [1, 2, 3]), np.array([1, 2, 3], "f4"), np.array([[1, 2, 3]], "f4")],
)
def test_every_form_of_one_vector_becomes_the_same_bytes(vector: Any) -> None:
    assert encode_vector(vector) == DATA[:12]


def test_one_flat_buffer_is_one_vector() -> None:
    matrix = encode_matrix(array("f", [1, 2, 3]), count=1)
    assert (matrix.count, matrix.dimensions) == (1, 3)


@pytest.mark.parametrize(
    ("vectors", "kind"),
    [
        (np.zeros((2, 3)), "float64"),
        (np.zeros((2, 3), "f2"), "float16"),
        (np.zeros((2, 3), "i4"), "int32"),
        (np.zeros((2, 3), ">f4"), "big-endian float32"),
        (array("d", [1.0]), "float64"),
        ([np.zeros(3)], "float64"),
        (Tensor(np.zeros((1, 2))), "float64"),
    ],
)
def test_another_element_type_is_refused_with_the_conversion(vectors: Any, kind: str) -> None:
    with pytest.raises(InvalidArgument, match=kind) as caught:
        encode_matrix(vectors)
    assert caught.value.hint is not None
    assert "astype('<f4')" in caught.value.hint
    assert caught.value.reason == "BAD_VECTOR_TYPE"


@pytest.mark.parametrize(
    ("vectors", "words"),
    [
        ([[1.0, 2.0], [1.0]], r"vectors\[1\] has 1 values, vectors\[0\] has 2"),
        ([[1.0, "a"]], r"vectors\[0\]\[1\] is str"),
        ([[1e300]], "beyond float32"),
        ([[1.0, 2.0], [1.0, 10**400]], r"^vectors\[1\]\[1\] is beyond float32's range"),
        ([[1.0, 1e39, "a"]], r"^vectors\[0\]\[1\] is beyond float32's range"),
        ([[1.0, None, 10**400]], r"^vectors\[0\]\[1\] is NoneType, not a number"),
        (b"1234", "bytes, which has no element type"),
        ("1234", "str, which has no element type"),
        (7, "int"),
        (np.zeros((2, 2, 2), "f4"), "3 dimensions"),
        ([np.zeros((2, 2), "f4")], "2 dimensions, not one"),
    ],
)
def test_what_is_no_matrix_is_refused_in_words(vectors: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        encode_matrix(vectors)


def test_a_count_that_does_not_fit_names_both_numbers() -> None:
    with pytest.raises(InvalidArgument, match="3 ids came with 2 vectors"):
        encode_matrix(ROWS, count=3)


def test_no_vectors_are_no_bytes() -> None:
    assert encode_matrix([], count=0).data == b""


@given(st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_values_survive_bit_for_bit(rows: list[list[float]]) -> None:
    expected = np.array(rows, "f4")
    assert encode_matrix(expected).data == expected.tobytes()
    decoded = decode_matrix(encode_matrix(expected).data, len(rows))
    assert [vector.tobytes() for vector in decoded] == [row.tobytes() for row in expected]


def test_a_decoded_vector_is_an_array_of_float() -> None:
    vector = decode_vector(DATA[:12])
    assert vector == array("f", [1, 2, 3])
    assert isinstance(vector, array)


class FakeArrow:
    """A FloatArray, or a FixedSizeListArray of float, with the methods that are used of pyarrow's."""

    def __init__(
        self, kind: str, data: bytes, length: int, list_size: int | None = None, offset: int = 0, nulls: int = 0
    ) -> None:
        self.offset, self.null_count, self._data, self._length, self._list_size = offset, nulls, data, length, list_size
        self.type = type("Type", (), {"__str__": lambda _: kind} | ({"list_size": list_size} if list_size else {}))()

    def __len__(self) -> int:
        return self._length

    def flatten(self) -> FakeArrow:
        assert self._list_size is not None
        kind = "float" if "float" in str(self.type) else "double"
        return FakeArrow(kind, self._data, self._length * self._list_size, offset=self.offset * self._list_size)

    def buffers(self) -> list[Any]:
        return [None, memoryview(self._data)]


def test_an_arrow_list_array_is_a_matrix_from_its_offset() -> None:
    arrow = FakeArrow("fixed_size_list<item: float>[3]", bytes(12) + DATA, 2, list_size=3, offset=1)
    assert encode_matrix(arrow) == encode_matrix(ROWS)


def test_an_arrow_float_array_is_one_vector() -> None:
    assert encode_vector(FakeArrow("float", DATA, 6)) == DATA


@pytest.mark.parametrize(
    "arrow",
    [
        FakeArrow("fixed_size_list<item: double>[3]", bytes(48), 2, list_size=3),
        FakeArrow("int32", bytes(4), 1),
        FakeArrow("float", DATA, 6, nulls=1),
    ],
)
def test_other_arrow_types_and_nulls_are_refused(arrow: FakeArrow) -> None:
    with pytest.raises(InvalidArgument, match="Arrow"):
        encode_matrix(arrow)
