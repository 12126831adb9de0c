"""What the tests of the services share: batches, and the details of a failed call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2

from holdfast.v1 import vector_pb2
from holdfastd.rpc.errors import DETAILS_KEY


def batch(ids: Sequence[str], **more: Any) -> vector_pb2.UpsertRequest:
    """An upsert of two-dimensional vectors: the n-th is (n, 1)."""
    matrix = np.array([[row, 1] for row in range(len(ids))], np.float32)
    return vector_pb2.UpsertRequest(**{"collection": "books", "ids": ids, "vectors": matrix.tobytes(), **more})


class Failure:
    """A failed call: its code, its status, and the details in it."""

    def __init__(self, error: Any) -> None:
        self.code: grpc.StatusCode = error.code()
        self.text: str = error.details()
        self.status = status_pb2.Status()
        for key, value in error.trailing_metadata() or ():
            if key == DETAILS_KEY:
                self.status.ParseFromString(value)

    @property
    def info(self) -> error_details_pb2.ErrorInfo:
        return self.detail(error_details_pb2.ErrorInfo())

    def detail(self, message: Any) -> Any:
        """The detail of this kind; AssertionError if there is none."""
        for packed in self.status.details:
            if packed.Unpack(message):
                return message
        raise AssertionError(f"no {type(message).__name__} in {self.status}")

    @property
    def field(self) -> str:
        """The field that a BadRequest names."""
        return str(self.detail(error_details_pb2.BadRequest()).field_violations[0].field)


def failing(call: Callable[[], object]) -> Failure:
    """Make a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return Failure(caught.value)
