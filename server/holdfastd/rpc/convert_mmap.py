"""How segments are read, as messages."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.v1 import storage_pb2

from ..engine.mmap_control import CollectionMmap, MmapStatus
from ..model import Advice
from .requests import unknown_value

_ADVICE: Mapping[Advice, storage_pb2.MmapAdvice.ValueType] = {
    Advice.NORMAL: storage_pb2.MMAP_ADVICE_NORMAL,
    Advice.RANDOM: storage_pb2.MMAP_ADVICE_RANDOM,
    Advice.SEQUENTIAL: storage_pb2.MMAP_ADVICE_SEQUENTIAL,
}
_ADVICE_OF: Mapping[int, Advice] = {number: advice for advice, number in _ADVICE.items()}


def advice_of(number: int) -> Advice | None:
    """What a request asks for; None where it asks for nothing. Raises InvalidArgument for a number from the future."""
    if number == storage_pb2.MMAP_ADVICE_UNSPECIFIED:
        return None
    if number not in _ADVICE_OF:
        raise unknown_value("advise_mode", number)
    return _ADVICE_OF[number]


def mmap_message(status: MmapStatus) -> storage_pb2.MmapStatus:
    """The status of the store, or of one collection."""
    settings, residence = status.settings, status.residence
    return storage_pb2.MmapStatus(
        mmap_enabled=settings.enabled,
        advise_mode=_ADVICE[settings.advise],
        populate=settings.populate,
        total_mapped_bytes=residence.mapped,
        resident_bytes=residence.resident,
        pinned_bytes=residence.pinned,
        collections=map(_collection_message, status.collections),
    )


def _collection_message(row: CollectionMmap) -> storage_pb2.CollectionMmap:
    return storage_pb2.CollectionMmap(
        collection=row.name,
        own_settings=row.own,
        mmap_enabled=row.settings.enabled,
        advise_mode=_ADVICE[row.settings.advise],
        populate=row.settings.populate,
        mapped_bytes=row.residence.mapped,
        resident_bytes=row.residence.resident,
        pinned_bytes=row.residence.pinned,
    )
