"""A memoryview of an Arrow array, read through its own methods: pyarrow is never imported here."""

from __future__ import annotations

from typing import Any

from holdfast.errors import InvalidArgument


def arrow_view(values: Any) -> memoryview[Any]:
    """View a FloatArray as (n,) and a FixedSizeListArray of float as (n, d), without copying.

    Raises InvalidArgument for nulls, for another element type and for lists of varying length.
    """
    kind = values.type
    if getattr(values, "null_count", 0):
        raise InvalidArgument("the Arrow array holds nulls, and a vector has none", reason="BAD_VECTOR_TYPE")
    list_size = getattr(kind, "list_size", None)
    floats = values.flatten() if list_size is not None else values
    if str(floats.type) != "float":
        raise InvalidArgument(
            f"the Arrow array is {kind}, not float or fixed_size_list<float>",
            reason="BAD_VECTOR_TYPE",
            hint="cast it: array.cast(pyarrow.list_(pyarrow.float32(), d))",
        )
    if getattr(floats, "null_count", 0):
        raise InvalidArgument("the Arrow array holds nulls, and a vector has none", reason="BAD_VECTOR_TYPE")
    start = floats.offset * 4
    flat = memoryview(floats.buffers()[-1]).cast("B")[start : start + len(floats) * 4]
    return flat.cast("f") if list_size is None else flat.cast("B").cast("f", (len(values), list_size))
