"""Paths are built and parsed in one place; names from outside are refused unless they are plain."""

from __future__ import annotations

import uuid

import pytest

from holdfastd.errors import InvalidArgument
from holdfastd.storage import names

LAYOUT = names.Layout("/var/lib/holdfast/")
COLLECTION = uuid.UUID(int=1)


def test_log_files_sort_in_log_order_and_parse_back() -> None:
    paths = [names.wal_file("/w", timeline, first) for timeline, first in [(1, 9), (1, 10), (2, 3), (2, 2**63)]]
    assert paths == sorted(paths)
    assert names.parse_wal_name("00000002-00000000000000000003.wal") == (2, 3)
    assert names.parse_wal_name(paths[3].removeprefix("/w/")) == (2, 2**63)


@pytest.mark.parametrize("name", ["", "x.wal", "00000001-1.wal", "00000001-00000000000000000003.wal.broken", ".next"])
def test_other_files_are_not_log_files(name: str) -> None:
    assert names.parse_wal_name(name) is None


def test_kills_files_parse_back() -> None:
    assert names.parse_kills_name(names.kills_name(77, 0xABCDEF)) == (77, 0xABCDEF)
    assert names.parse_kills_name("kills-77.npy") is None


def test_request_tables_parse_back() -> None:
    assert LAYOUT.requests(5) == "/var/lib/holdfast/requests-00000000000000000005.json"
    assert names.parse_requests_name("requests-00000000000000000005.json") == 5
    assert names.parse_requests_name("requests-5.json") is None


def test_everything_of_a_collection_lies_below_its_directory() -> None:
    below = LAYOUT.collection_dir(COLLECTION) + "/"
    assert LAYOUT.segment_dir(COLLECTION, uuid.UUID(int=2)).startswith(below)
    assert all(path.startswith(LAYOUT.ids_dir(COLLECTION)) for path in LAYOUT.run_files(COLLECTION, "run"))
    assert LAYOUT.ids_dir(COLLECTION).startswith(below)


@pytest.mark.parametrize(
    ("path", "recorded", "resolved"),
    [
        ("wal", "wal", "/var/lib/holdfast/wal"),
        ("./wal/", "wal", "/var/lib/holdfast/wal"),
        ("/var/lib/holdfast/wal", "wal", "/var/lib/holdfast/wal"),
        ("/data/wal", "/data/wal", "/data/wal"),
        ("../other", "/var/lib/other", "/var/lib/other"),
        ("/var/lib/holdfast-2/wal", "/var/lib/holdfast-2/wal", "/var/lib/holdfast-2/wal"),
        (".", ".", "/var/lib/holdfast"),
    ],
)
def test_paths_inside_the_data_directory_are_recorded_relative(path: str, recorded: str, resolved: str) -> None:
    assert LAYOUT.relative(path) == recorded
    assert LAYOUT.wal_dir(path) == resolved
    assert LAYOUT.resolve(LAYOUT.relative(path)) == resolved


@pytest.mark.parametrize("name", ["a", "products", "A.b_c-9", "0", "x" * 128])
def test_plain_names_are_collection_names(name: str) -> None:
    assert names.check_collection_name(name) == name
    assert names.check_alias_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-a", "_a", "a b", "a\n", "a\0", "ä", "x" * 129, "ａ"])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        names.check_collection_name(name)
    assert caught.value.field == "collection"
    assert len(caught.value.message) < 200
    with pytest.raises(InvalidArgument):
        names.check_mark_name(name)


@pytest.mark.parametrize("name", ["before-import", "v2.1", "release_7", "a1"])
def test_words_are_mark_names(name: str) -> None:
    assert names.check_mark_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["7", "1.5", "1e9", "0x10", "1_000", "nan", "inf", "latest", "NOW", "today", "20240120", "2024-01-20", "24h", "7D"],
)
def test_marks_that_read_as_numbers_or_times_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        names.check_mark_name(name)


@pytest.mark.parametrize("name", ["snap-2024-01-20-103045", "snap-2024-01-20-103045-2"])
def test_snapshot_ids(name: str) -> None:
    assert names.check_snapshot_id(name) == name


@pytest.mark.parametrize("name", ["snap", "snap-2024-01-20-103045-0", "snap-2024-01-20-103045/..", "latest", ""])
def test_other_snapshot_ids_are_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        names.check_snapshot_id(name)


def test_only_canonical_uuids_name_directories() -> None:
    assert names.parse_uuid(str(COLLECTION)) == COLLECTION
    assert names.parse_uuid(COLLECTION.hex) is None
    assert names.parse_uuid("ids") is None
