"""Collections and settings on their way through the log."""

from __future__ import annotations

import dataclasses
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.v1 import log_pb2
from holdfastd.format.collection import decode_collection, decode_settings, encode_collection, encode_settings
from holdfastd.model import CollectionSpec, Metric, Origin, StorageKind, SyncMode, WalSettings

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
SPECS = st.builds(
    CollectionSpec,
    id=st.uuids(),
    name=st.text(),
    dimensions=U32,
    metric=st.sampled_from(Metric),
    storage=st.sampled_from(StorageKind),
    created_us=U64,
    created_sequence=U64,
    hot_tier_bytes=U64,
    schema_json=st.text(),
    quantization=st.text(),
    origin=st.none() | st.builds(Origin, st.uuids(), U32, st.uuids(), U64),
)
SETTINGS = st.builds(
    WalSettings,
    enabled=st.booleans(),
    sync_mode=st.sampled_from(SyncMode),
    segment_size_bytes=U64,
    retention_us=U64,
    flush_interval_us=U64,
    max_wal_bytes=U64,
    path=st.text(),
)


@given(SPECS)
def test_collections_survive_the_log(spec: CollectionSpec) -> None:
    assert decode_collection(encode_collection(spec)) == spec


@given(SETTINGS)
def test_settings_survive_the_log(settings: WalSettings) -> None:
    assert decode_settings(encode_settings(settings)) == settings


@pytest.mark.parametrize(
    ("noun", "message"),
    [
        (CollectionSpec, log_pb2.LoggedCollection),
        (Origin, log_pb2.LoggedOrigin),
        (WalSettings, log_pb2.SettingsBody),
    ],
)
def test_every_field_of_the_noun_has_one_in_the_log(noun: type, message: type) -> None:
    assert {field.name for field in dataclasses.fields(noun)} == set(message.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("values", [Metric, StorageKind, SyncMode], ids=lambda values: values.__name__)
def test_every_value_has_a_number_of_its_own(values: type) -> None:
    enum = {Metric: log_pb2.LoggedMetric, StorageKind: log_pb2.LoggedStorage, SyncMode: log_pb2.LoggedSyncMode}[values]
    assert len(enum.values()) == len(values) + 1


GOOD = encode_collection(
    CollectionSpec(uuid.UUID(int=1), "c", 3, origin=Origin(uuid.UUID(int=2), 1, uuid.UUID(int=3), 9))
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (log_pb2.LoggedCollection(metric=9), "unknown metric 9"),
        (log_pb2.LoggedCollection(storage=9), "unknown storage 9"),
        (log_pb2.LoggedCollection(id=b"short"), "uuid of 5 bytes"),
        (log_pb2.LoggedCollection(origin=log_pb2.LoggedOrigin(store_id=b"short")), "uuid of 5 bytes"),
    ],
)
def test_values_that_cannot_be_are_refused(change: log_pb2.LoggedCollection, message: str) -> None:
    damaged = log_pb2.LoggedCollection.FromString(GOOD.SerializeToString() + change.SerializeToString())
    with pytest.raises(ValueError, match=message):
        decode_collection(damaged)


def test_settings_without_a_mode_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown sync mode 0"):
        decode_settings(log_pb2.SettingsBody())
