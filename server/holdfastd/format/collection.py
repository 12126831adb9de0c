"""Collections and settings as the log writes them, to and from the nouns of the engine.

A noun and its message have the same fields. Those that are not the same values on both sides are named here, once, with
the way there and back.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message

from holdfast.v1 import log_pb2

from ..model import CatalogOrigin, CollectionSpec, Metric, Origin, StorageKind, SyncMode, WalSettings

N = TypeVar("N")
M = TypeVar("M", bound=Message)


class _Ways(NamedTuple):
    """One field's way into a message, and back; the way back raises ValueError for what cannot be."""

    there: Callable[[Any], Any]
    back: Callable[[Any], Any]


def _number(what: str, numbers: Mapping[Any, int]) -> _Ways:
    values = {number: value for value, number in numbers.items()}

    def back(number: int) -> Any:
        if number not in values:
            raise ValueError(f"unknown {what} {number}")
        return values[number]

    return _Ways(numbers.__getitem__, back)


def _uuid(raw: bytes) -> uuid.UUID:
    if len(raw) != 16:
        raise ValueError(f"a uuid of {len(raw)} bytes")
    return uuid.UUID(bytes=raw)


_UUID = _Ways(lambda value: value.bytes, _uuid)
_ORIGIN = {"store_id": _UUID, "collection_id": _UUID}
_CATALOG_ORIGIN = {"store_id": _UUID}
_SETTINGS = {
    "sync_mode": _number(
        "sync mode",
        {
            SyncMode.FSYNC: log_pb2.LOGGED_SYNC_MODE_FSYNC,
            SyncMode.PERIODIC: log_pb2.LOGGED_SYNC_MODE_PERIODIC,
            SyncMode.ASYNC: log_pb2.LOGGED_SYNC_MODE_ASYNC,
        },
    )
}
_COLLECTION = {
    "id": _UUID,
    "metric": _number(
        "metric",
        {
            Metric.COSINE: log_pb2.LOGGED_METRIC_COSINE,
            Metric.EUCLIDEAN: log_pb2.LOGGED_METRIC_EUCLIDEAN,
            Metric.DOT: log_pb2.LOGGED_METRIC_DOT,
        },
    ),
    "storage": _number(
        "storage",
        {
            StorageKind.MEMORY: log_pb2.LOGGED_STORAGE_MEMORY,
            StorageKind.DISK: log_pb2.LOGGED_STORAGE_DISK,
            StorageKind.HYBRID: log_pb2.LOGGED_STORAGE_HYBRID,
        },
    ),
    "origin": _Ways(
        lambda origin: _encoded(origin, log_pb2.LoggedOrigin, _ORIGIN),
        lambda message: _decoded(message, Origin, _ORIGIN),
    ),
}


def encode_collection(spec: CollectionSpec) -> log_pb2.LoggedCollection:
    """The message of ``spec``, every field of it."""
    return _encoded(spec, log_pb2.LoggedCollection, _COLLECTION)


def decode_collection(message: log_pb2.LoggedCollection) -> CollectionSpec:
    """The spec in ``message``. Raises ValueError with a reason for an id, metric or storage that cannot be."""
    return _decoded(message, CollectionSpec, _COLLECTION)


def encode_settings(settings: WalSettings) -> log_pb2.SettingsBody:
    """The message of ``settings``, every field of it."""
    return _encoded(settings, log_pb2.SettingsBody, _SETTINGS)


def decode_settings(message: log_pb2.SettingsBody) -> WalSettings:
    """The settings in ``message``. Raises ValueError for an unknown sync mode."""
    return _decoded(message, WalSettings, _SETTINGS)


def encode_catalog_origin(origin: CatalogOrigin) -> log_pb2.LoggedCatalogOrigin:
    """The message of ``origin``, but for ``since``: that is the sequence of the record that holds the message."""
    return _encoded(origin, log_pb2.LoggedCatalogOrigin, _CATALOG_ORIGIN)


def decode_catalog_origin(message: log_pb2.LoggedCatalogOrigin) -> CatalogOrigin:
    """The origin in ``message``. Raises ValueError for an id that cannot be."""
    return _decoded(message, CatalogOrigin, _CATALOG_ORIGIN)


def _encoded(noun: object, message: type[M], ways: Mapping[str, _Ways]) -> M:
    values = {name: getattr(noun, name) for name in message.DESCRIPTOR.fields_by_name}
    # A field of a message that stands for a noun is there or not; None is no value of any other field.
    given = {name: value for name, value in values.items() if value is not None}
    return message(**{name: ways[name].there(value) if name in ways else value for name, value in given.items()})


def _decoded(message: Message, noun: type[N], ways: Mapping[str, _Ways]) -> N:
    values = {}
    for name, field in message.DESCRIPTOR.fields_by_name.items():
        if field.message_type is not None and not message.HasField(name):
            continue
        value = getattr(message, name)
        values[name] = ways[name].back(value) if name in ways else value
    return noun(**values)
