"""The manifest of an archive: what it fixes, what it may not say, and that FORMAT.md and README.txt tell the truth."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import holdfastd.format
from holdfastd.errors import UnsupportedFormat
from holdfastd.format.document import encode_document
from holdfastd.format.snapshot import (
    MAX_SEQUENCE,
    REMOVED,
    SNAPSHOT_VERSION,
    TOMBSTONE_IDS,
    TOMBSTONES,
    SnapshotBase,
    SnapshotCollection,
    SnapshotDelta,
    SnapshotManifest,
    SnapshotPart,
    archive_bytes,
    data_members,
    decode_snapshot,
    encode_snapshot,
    readme_text,
    sums_bytes,
    sums_text,
)
from holdfastd.model import CollectionSpec, Digest, Metric, Origin, StorageKind
from tests.format.flips import unnoticed_flips

GOLDEN = Path(__file__).parents[1] / "golden" / "snapshot-v1"
FORMAT_MD = (Path(holdfastd.format.__path__[0]) / "FORMAT.md").read_text()
STORE = uuid.UUID("5701e000-0000-4000-8000-000000000001")
PRODUCTS = uuid.UUID("c0111ec7-0000-4000-8000-000000000002")
EMPTY = uuid.UUID("c0111ec7-0000-4000-8000-000000000003")


def manifest(planes: bool = False) -> SnapshotManifest:
    vectors = {"vectors.planes.npy": 128 + 24} if planes else {"vectors.npy": 4096 + 24}
    sizes = vectors | {"norms.npy": 128 + 12, "rows.npy": 448, "ids.npy": 131, "payloads.npy": 128 + 7}
    spec = CollectionSpec(
        PRODUCTS,
        "products",
        2,
        Metric.DOT,
        StorageKind.HYBRID,
        created_us=1,
        created_sequence=2,
        origin=Origin(STORE, 1, EMPTY, 9),
    )
    products = SnapshotCollection(spec, 3, Digest(1, 2), 5, (SnapshotPart(3, sizes),))
    return SnapshotManifest(
        id="snap-2026-01-01-000000",
        store_id=STORE,
        timeline=1,
        sequence=7,
        time_us=6,
        created_us=8,
        everything=True,
        planes=planes,
        collections=(products, SnapshotCollection(CollectionSpec(EMPTY, "empty", 3), 0, Digest(), 4)),
        aliases={"shop": PRODUCTS},
        daemon_version="0.1.0",
    )


@pytest.mark.parametrize("planes", [False, True])
def test_what_is_encoded_is_decoded(planes: bool) -> None:
    assert decode_snapshot(encode_snapshot(manifest(planes))) == manifest(planes)


def test_every_single_bit_flip_is_noticed() -> None:
    assert unnoticed_flips(decode_snapshot, encode_snapshot(manifest())) == []


def test_the_golden_manifest_is_read_and_written_as_it_was() -> None:
    golden = (GOLDEN / "MANIFEST.json").read_bytes()
    assert decode_snapshot(golden) == manifest()
    assert encode_snapshot(manifest()) == golden


def test_the_golden_manifest_of_one_that_stands_for_another_is_read_and_written_as_it_was() -> None:
    golden = (GOLDEN / "MANIFEST-stands-for.json").read_bytes()
    value = replace(manifest(planes=True), stands_for="ab" * 32)
    assert decode_snapshot(golden) == value
    assert encode_snapshot(value) == golden
    assert "stands_for" not in json.loads(encode_snapshot(manifest()))["snapshot"]


def test_the_golden_manifest_of_one_with_a_description_is_read_and_written_as_it_was() -> None:
    golden = (GOLDEN / "MANIFEST-description.json").read_bytes()
    value = replace(manifest(), description="before the migration, größer")
    assert decode_snapshot(golden) == value
    assert encode_snapshot(value) == golden
    assert "description" not in json.loads(encode_snapshot(manifest()))["snapshot"]


def test_members_stand_in_one_order_and_their_sizes_add_up() -> None:
    files = ["vectors.npy", "norms.npy", "rows.npy", "ids.npy", "payloads.npy"]
    members = list(data_members(manifest()))
    assert [member.name for member in members] == [f"collections/{PRODUCTS}/0/{file}" for file in files]
    assert [member.part_ends for member in members] == [False] * 4 + [True]
    text = sums_text({"MANIFEST.json": "0" * 64, "README.txt": "1" * 64} | {m.name: "2" * 64 for m in members})
    assert len(text) == sums_bytes(manifest())
    sizes = [1000, 600, *(member.size for member in members), len(text)]
    assert archive_bytes(manifest(), 1000, 600) == sum(512 + -(-size // 512) * 512 for size in sizes) + 1024


def test_a_full_snapshot_counts_what_it_holds() -> None:
    assert (manifest().vectors, manifest().type) == (3, "full")


Change = Callable[[SnapshotManifest], SnapshotManifest]


def of_products(**changes: Any) -> Change:
    def change(value: SnapshotManifest) -> SnapshotManifest:
        return replace(value, collections=(replace(value.collections[0], **changes), *value.collections[1:]))

    return change


def of_spec(**changes: Any) -> Change:
    return lambda value: of_products(spec=replace(value.collections[0].spec, **changes))(value)


def of_sizes(**changes: int) -> Change:
    sizes = dict(manifest().collections[0].parts[0].sizes)
    sizes |= {f"{name}.npy": size for name, size in changes.items()}
    return of_products(parts=(SnapshotPart(3, sizes),))


REFUSED: list[tuple[str, Change, str]] = [
    ("id", lambda m: replace(m, id="../../etc"), "is no snapshot id"),
    ("sequence", lambda m: replace(m, sequence=MAX_SEQUENCE + 1), "sequence or timeline out of range"),
    ("negative sequence", lambda m: replace(m, sequence=-1), "sequence or timeline out of range"),
    ("timeline", lambda m: replace(m, timeline=0), "sequence or timeline out of range"),
    ("time", lambda m: replace(m, created_us=-5), "a time is out of range"),
    ("name", of_spec(name="../x"), "is no collection name"),
    ("dimensions", of_spec(dimensions=0), "dimensions or a hot tier out of range"),
    ("wide", of_spec(dimensions=1 << 40), "dimensions or a hot tier out of range"),
    ("digest", of_products(digest=Digest(1 << 64, 0)), "the digest of products is out of range"),
    ("updated", of_products(updated_us=-1), "a time of products is out of range"),
    ("count", of_products(count=4), "counts 4 vectors, its parts hold 3"),
    ("not whole", of_products(whole=False), "its parts hold 3"),
    ("deleted", of_products(deleted=1), "its parts hold 3"),
    ("same name", lambda m: replace(m, collections=(m.collections[0],) * 2), "two collections of the same name"),
    ("alias", lambda m: replace(m, aliases={"shop": STORE}), "'shop' is no alias"),
    ("alias name", lambda m: replace(m, aliases={"a/b": PRODUCTS}), "'a/b' is no alias"),
    ("alias taken", lambda m: replace(m, aliases={"empty": PRODUCTS}), "'empty' is no alias"),
    ("empty part", of_products(count=0, parts=(SnapshotPart(0, {}),)), "has no rows, or other members"),
    ("members", of_products(parts=(SnapshotPart(3, {"../x": 5}),)), "has no rows, or other members"),
    ("vectors", of_sizes(vectors=24), "24 bytes cannot be the vectors.npy of 3 rows"),
    ("vectors too large", of_sizes(vectors=1 << 40), "cannot be the vectors.npy"),
    ("rows", of_sizes(rows=191), "cannot be the rows.npy"),
    ("ids", of_sizes(ids=3 * 512 + 8300), "cannot be the ids.npy"),
    ("payloads", of_sizes(payloads=1 << 40), "cannot be the payloads.npy"),
    ("stands for", lambda m: replace(m, stands_for="AB" * 32), "stands for another by no SHA-256"),
    ("stands for nothing", lambda m: replace(m, stands_for=""), "stands for another by no SHA-256"),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_an_intact_manifest_may_not_say_everything(change: Change, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        decode_snapshot(encode_snapshot(change(manifest())))


def test_only_a_newer_minimum_reader_is_too_new() -> None:
    newer = replace(manifest(), format_version=SNAPSHOT_VERSION + 7)
    assert decode_snapshot(encode_snapshot(newer)) == newer
    with pytest.raises(UnsupportedFormat, match="needs a reader of format version 2") as caught:
        decode_snapshot(encode_snapshot(replace(newer, min_reader=2)))
    assert caught.value.metadata == {"version": "2", "supported": "1"}


def test_too_new_is_said_even_when_the_rest_has_another_shape() -> None:
    document = encode_document("snapshot", {"format_version": 9, "min_reader": 9, "contents": []})
    with pytest.raises(UnsupportedFormat):
        decode_snapshot(document)


BASE = SnapshotBase("snap-2026-01-01-000000", STORE, 1, 5, "ab" * 32, "/backups/snap-2026-01-01-000000.snap")
DELTA = SnapshotDelta(Digest(3, 4), {TOMBSTONES: 128 + 32, TOMBSTONE_IDS: 128 + 4})


def increment(**changes: Any) -> SnapshotManifest:
    """A manifest of an increment; ``changes`` are of its first collection."""
    products = replace(manifest().collections[0], count=9, whole=False, deleted=1, delta=DELTA)
    collections = (replace(products, **changes), manifest().collections[1])
    return replace(manifest(), id="snap-2026-01-02-000000-2", base=BASE, collections=collections)


def test_an_incremental_one_names_its_base_and_what_is_gone_since() -> None:
    value = increment()
    assert decode_snapshot(encode_snapshot(value)) == value
    assert value.type == "incremental"
    assert [(m.part, m.file, m.size) for m in data_members(value)][-2:] == [
        (REMOVED, TOMBSTONES, 160),
        (REMOVED, TOMBSTONE_IDS, 132),
    ]
    assert [collection.rows_digest for collection in value.collections] == [Digest(3, 4), value.collections[1].digest]
    text = readme_text(value).decode()
    assert BASE.id in text
    assert "removed/tombstones.npy" in text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (increment(delta=msgspec.UNSET), "counts 9 vectors, its parts hold 3"),
        (increment(whole=True), "whole and says what changed"),
        (replace(increment(), base=None), "whole and says what changed"),
        (increment(count=2), "counts 2 vectors, 3 of them changed"),
        (increment(deleted=-1), "counts 9 vectors"),
        (increment(deleted=0), "0 ids are gone from products, with other members"),
        (increment(deleted=6), "cannot be the tombstones.npy of 6 ids"),
        (increment(delta=replace(DELTA, sizes={})), "1 ids are gone from products, with other members"),
        (increment(delta=replace(DELTA, sizes={**DELTA.sizes, TOMBSTONE_IDS: 1})), "cannot be the tombstone-ids.npy"),
        (increment(delta=replace(DELTA, rows_digest=Digest(-1, 0))), "digest of the changed rows"),
        (replace(increment(), stands_for="ab" * 32), "has a base itself"),
        (replace(increment(), base=replace(BASE, id="../x")), "no snapshot id"),
        (replace(increment(), base=replace(BASE, id="snap-2026-01-02-000000-2")), "no snapshot id"),
        (replace(increment(), base=replace(BASE, sums_sha256="AB" * 32)), "no SHA-256"),
        (replace(increment(), base=replace(BASE, sequence=8)), "younger than itself"),
        (replace(increment(), base=replace(BASE, path="daily/x.snap")), "path of its base"),
        (replace(increment(), base=replace(BASE, path="/daily/\0.snap")), "path of its base"),
        (replace(increment(), base=replace(BASE, timeline=2)), "younger than itself"),
        (replace(increment(), base=replace(BASE, store_id=uuid.UUID(int=1))), "another store"),
    ],
)
def test_an_increment_that_says_what_cannot_be_is_refused(value: SnapshotManifest, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        decode_snapshot(encode_snapshot(value))


# What the documents tell ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", [False, True])
def test_the_readme_names_the_files_that_are_there(planes: bool) -> None:
    text = readme_text(manifest(planes)).decode()
    for member in data_members(manifest(planes)):
        assert member.file in text
    assert ("transpose(0, 2, 1)" in text) is planes


SECTION = FORMAT_MD.partition("\n## Snapshots\n")[2]


def test_format_md_shows_an_intact_manifest() -> None:
    shown = re.search(r"^```json\n(\{\"sha256\".*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert decode_snapshot(shown[1].encode()) == manifest()


def test_format_md_explains_every_member_of_the_manifest() -> None:
    said = set(re.findall(r"`(\w+)`", SECTION))
    body = json.loads(encode_snapshot(manifest()))["snapshot"]
    wanted = {*body, *body["collections"][0], *SnapshotPart.__dataclass_fields__, *SnapshotBase.__dataclass_fields__}
    wanted |= {*SnapshotDelta.__dataclass_fields__, "delta", "stands_for", "description"}
    assert wanted <= said


def test_format_md_and_the_readme_tell_the_same_way_back_from_planes() -> None:
    inverse = 'np.load("vectors.planes.npy").transpose(0, 2, 1).reshape(-1).view("<f4").reshape(-1, d)[:n]'
    assert inverse in SECTION
    assert inverse in readme_text(manifest(planes=True)).decode()
