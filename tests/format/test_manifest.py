"""The manifest: what comes back, what is refused."""

from __future__ import annotations

import dataclasses
import json
import uuid

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import UnsupportedFormat
from holdfastd.format.manifest import (
    CollectionEntry,
    Manifest,
    RunEntry,
    SegmentEntry,
    decode_manifest,
    encode_manifest,
)
from holdfastd.model import (
    Advice,
    CollectionSpec,
    Digest,
    Mark,
    Metric,
    MmapSettings,
    Origin,
    StorageKind,
    SyncMode,
    WalSettings,
)
from tests.format.flips import unnoticed_flips

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
SPECS = st.builds(
    CollectionSpec,
    id=st.uuids(),
    name=st.text(min_size=1, max_size=20),
    dimensions=st.integers(1, 65_536),
    metric=st.sampled_from(Metric),
    storage=st.sampled_from(StorageKind),
    created_us=U64,
    created_sequence=U64,
    hot_tier_bytes=U64,
    schema_json=st.text(max_size=20),
    origin=st.none() | st.builds(Origin, st.uuids(), U32, st.uuids(), U64),
)
SEGMENTS = st.builds(SegmentEntry, st.uuids(), ordinal=U32, rows=U32, bytes=U64, kills=st.none() | NAMES)
ENTRIES = st.builds(
    CollectionEntry,
    spec=SPECS,
    checkpoint_sequence=U64,
    count=U64,
    digest=st.builds(Digest, U64, U64),
    segments=st.lists(SEGMENTS, max_size=3).map(tuple),
    index_runs=st.lists(st.builds(RunEntry, NAMES, st.integers(0, 9), U32), max_size=3).map(tuple),
    next_ordinal=U32,
    updated_us=U64,
    high_water=U64,
    own_writes=st.booleans(),
)
MMAP = st.builds(MmapSettings, st.booleans(), st.sampled_from(Advice), st.booleans())
MANIFESTS = st.builds(
    Manifest,
    store_id=st.uuids(),
    timeline=U32,
    generation=U64,
    sequence=U64,
    last_timestamp_us=U64,
    collections=st.lists(ENTRIES, max_size=3).map(tuple),
    aliases=st.dictionaries(st.text(max_size=9), st.uuids(), max_size=3),
    wal_directories=st.lists(st.text(min_size=1, max_size=9), max_size=2).map(tuple),
    made_wal_directories=st.just(msgspec.UNSET) | st.lists(st.text(min_size=1, max_size=9), min_size=1).map(tuple),
    wal_settings=st.builds(WalSettings, sync_mode=st.sampled_from(SyncMode), retention_us=U64, enabled=st.booleans()),
    marks=st.lists(st.builds(Mark, st.text(max_size=9), U64, U64), max_size=2).map(tuple),
    requests_file=st.none() | NAMES,
    log_start_required=U64,
    logged_sequence=U64,
    clean=st.booleans(),
    settings_origin=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=2),
    mmap_settings=st.just(msgspec.UNSET) | MMAP,
    collection_mmap=st.just(msgspec.UNSET) | st.dictionaries(st.uuids(), MMAP, min_size=1, max_size=3),
)

SPEC = CollectionSpec(uuid.UUID(int=5), "products", 384)
ENTRY = CollectionEntry(
    SPEC,
    7,
    100,
    Digest(2**64 - 1, 1),
    (SegmentEntry(uuid.UUID(int=6), 1, 100, 4096, "kills-7.npy"),),
    (RunEntry("run-1", 0, 100),),
)
EXAMPLE = Manifest(
    uuid.UUID(int=4), 1, 2, 7, 1_700_000_000_000_000, (ENTRY,), {"p": SPEC.id}, requests_file="requests-7"
)


@given(MANIFESTS)
def test_what_is_encoded_is_decoded(manifest: Manifest) -> None:
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_a_manifest_without_anything_in_it() -> None:
    empty = Manifest(uuid.UUID(int=4), 1, 0, 0, 0)
    assert decode_manifest(encode_manifest(empty)) == empty


def test_it_is_json_that_people_can_read() -> None:
    document = json.loads(encode_manifest(EXAMPLE))
    assert document.keys() == {"sha256", "manifest"}
    assert document["manifest"]["collections"][0]["spec"]["name"] == "products"
    assert document["manifest"]["aliases"] == {"p": str(SPEC.id)}


def test_every_single_bit_flip_is_noticed() -> None:
    assert unnoticed_flips(decode_manifest, encode_manifest(EXAMPLE)) == []


def test_a_newer_version_is_not_damage() -> None:
    with pytest.raises(UnsupportedFormat, match=r"manifest has format version 2"):
        decode_manifest(encode_manifest(dataclasses.replace(EXAMPLE, format_version=2)))


def with_entry(**changes: object) -> Manifest:
    return dataclasses.replace(EXAMPLE, collections=(dataclasses.replace(ENTRY, **changes),))


@pytest.mark.parametrize(
    "manifest",
    [
        dataclasses.replace(EXAMPLE, sequence=-1),
        dataclasses.replace(EXAMPLE, sequence=2**64),
        dataclasses.replace(EXAMPLE, requests_file="../requests"),
        with_entry(checkpoint_sequence=-1),
        with_entry(digest=Digest(2**64, 0)),
        with_entry(segments=(dataclasses.replace(ENTRY.segments[0], rows=-1),)),
        with_entry(segments=(dataclasses.replace(ENTRY.segments[0], kills="/kills"),)),
        with_entry(index_runs=(dataclasses.replace(ENTRY.index_runs[0], name="a/b"),)),
        with_entry(index_runs=(dataclasses.replace(ENTRY.index_runs[0], level=-1),)),
    ],
    ids=range(9),
)
def test_values_that_cannot_be_are_refused(manifest: Manifest) -> None:
    with pytest.raises(ValueError, match=r"manifest|plain"):
        decode_manifest(encode_manifest(manifest))


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="manifest"):
        decode_manifest(data)
