"""Replies as documents: plain JSON values under the keys that the command line prints, from protobuf messages.

A `Document` is a dict whose keys can also be read as attributes: ``stats["digest"]`` and ``stats.digest`` are the same.
Times are RFC 3339 in UTC, sizes are bytes, states and kinds are lower-case words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp


class Document(dict[str, Any]):
    """A dict of JSON values whose keys also read as attributes."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name!r} here, only: {', '.join(self)}") from None


Documents: TypeAlias = list[Document]
"""Several documents; a name of its own, since classes here have methods called ``list``."""


def timestamp(value: Timestamp, *, whole_seconds: bool = False) -> str | None:
    """RFC 3339 with microseconds where there are any, or cut to the second; None for a time that is not set."""
    if not value.seconds and not value.nanos:
        return None
    from datetime import UTC, datetime, timedelta

    from holdfast.times import format_time

    microseconds = 0 if whole_seconds else value.nanos // 1000
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.seconds, microseconds=microseconds)
    return format_time(moment)


def duration(value: Duration) -> str:
    """``24h``, ``1h30m``, ``500ms``."""
    from datetime import timedelta

    from holdfast.units import format_duration

    return format_duration(timedelta(seconds=value.seconds, microseconds=value.nanos // 1000))


def word(name: str, prefix: str) -> str:
    """An enumeration's value as a word: ``METRIC_COSINE`` with prefix ``METRIC_`` is ``cosine``."""
    return name.removeprefix(prefix).lower()


def pick(document: Mapping[str, Any], keys: Iterable[str]) -> Document:
    """Only these keys, in this order; those that are missing stay missing."""
    return Document((key, document[key]) for key in keys if key in document)
