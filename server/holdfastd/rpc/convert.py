"""Values that every service speaks of: enumerations, times, durations, and points of the history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from holdfast.v1 import common_pb2

from ..errors import InvalidArgument
from ..model import Metric, StorageKind, SyncMode
from .requests import unknown_value

METRICS: Mapping[int, Metric] = {
    common_pb2.METRIC_UNSPECIFIED: Metric.COSINE,
    common_pb2.METRIC_COSINE: Metric.COSINE,
    common_pb2.METRIC_EUCLIDEAN: Metric.EUCLIDEAN,
    common_pb2.METRIC_DOT: Metric.DOT,
}
STORAGE_KINDS: Mapping[int, StorageKind] = {
    common_pb2.STORAGE_KIND_UNSPECIFIED: StorageKind.DISK,
    common_pb2.STORAGE_KIND_MEMORY: StorageKind.MEMORY,
    common_pb2.STORAGE_KIND_DISK: StorageKind.DISK,
    common_pb2.STORAGE_KIND_HYBRID: StorageKind.HYBRID,
}
QUANTIZATIONS: Mapping[int, str] = {
    common_pb2.QUANTIZATION_UNSPECIFIED: "none",
    common_pb2.QUANTIZATION_NONE: "none",
    common_pb2.QUANTIZATION_SCALAR: "scalar",
    common_pb2.QUANTIZATION_BINARY: "binary",
}
SYNC_MODES: Mapping[int, SyncMode | None] = {
    common_pb2.SYNC_MODE_UNSPECIFIED: None,
    common_pb2.SYNC_MODE_FSYNC: SyncMode.FSYNC,
    common_pb2.SYNC_MODE_PERIODIC: SyncMode.PERIODIC,
    common_pb2.SYNC_MODE_ASYNC: SyncMode.ASYNC,
}
METRIC_OF: Mapping[Metric, common_pb2.Metric.ValueType] = {
    Metric.COSINE: common_pb2.METRIC_COSINE,
    Metric.EUCLIDEAN: common_pb2.METRIC_EUCLIDEAN,
    Metric.DOT: common_pb2.METRIC_DOT,
}
STORAGE_KIND_OF: Mapping[StorageKind, common_pb2.StorageKind.ValueType] = {
    StorageKind.MEMORY: common_pb2.STORAGE_KIND_MEMORY,
    StorageKind.DISK: common_pb2.STORAGE_KIND_DISK,
    StorageKind.HYBRID: common_pb2.STORAGE_KIND_HYBRID,
}
QUANTIZATION_OF: Mapping[str, common_pb2.Quantization.ValueType] = {
    "none": common_pb2.QUANTIZATION_NONE,
    "scalar": common_pb2.QUANTIZATION_SCALAR,
    "binary": common_pb2.QUANTIZATION_BINARY,
}
SYNC_MODE_OF: Mapping[SyncMode, common_pb2.SyncMode.ValueType] = {
    SyncMode.FSYNC: common_pb2.SYNC_MODE_FSYNC,
    SyncMode.PERIODIC: common_pb2.SYNC_MODE_PERIODIC,
    SyncMode.ASYNC: common_pb2.SYNC_MODE_ASYNC,
}
_SYNC_OF_DURABILITY: Mapping[int, bool] = {common_pb2.DURABILITY_UNSPECIFIED: False, common_pb2.DURABILITY_SYNC: True}
_LAST_SECOND = 253_402_300_799
"""9999-12-31T23:59:59Z: the last that a Timestamp may hold."""
T = TypeVar("T")


def chosen(table: Mapping[int, T], number: int, field: str) -> T:
    """The value that an enum's number stands for. Raises InvalidArgument for one that this version does not know."""
    try:
        return table[number]
    except KeyError:
        raise unknown_value(field, number) from None


def wants_sync(durability: int) -> bool:
    """Whether a write asks to be on the disk before it is acknowledged."""
    return chosen(_SYNC_OF_DURABILITY, durability, "durability")


def timestamp(microseconds: int) -> Timestamp | None:
    """A time as a message; 0, which stands for never, as none."""
    if not microseconds:
        return None
    return Timestamp(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def duration(microseconds: int) -> Duration:
    """A duration as a message."""
    return Duration(seconds=microseconds // 1_000_000, nanos=microseconds % 1_000_000 * 1000)


def microseconds_of(message: Duration, field: str) -> int:
    """A duration of a request. Raises InvalidArgument for a negative or malformed one."""
    if message.seconds < 0 or not 0 <= message.nanos < 10**9 or message.seconds > 315_576_000_000:
        raise InvalidArgument(f"{field} is no duration of 0 or more", field=field)
    return message.seconds * 1_000_000 + message.nanos // 1000


def time_of(message: Timestamp, field: str) -> int:
    """A time of a request in microseconds since 1970; what is finer is cut off. Raises InvalidArgument."""
    if not 0 <= message.seconds <= _LAST_SECOND or not 0 <= message.nanos < 10**9:
        raise InvalidArgument(f"{field} is no time between 1970 and 9999", field=field)
    return message.seconds * 1_000_000 + message.nanos // 1000
