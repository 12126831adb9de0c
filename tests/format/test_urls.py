"""URLs of places: kept in one form, without anything that could be a credential."""

from __future__ import annotations

import pytest

from holdfastd.errors import InvalidArgument
from holdfastd.format.urls import is_kept_url, is_object_url, place_of, split_url
from holdfastd.storage.names import Layout

KEPT = [
    ("s3://bucket/a/b", "s3://bucket/a/b"),
    ("S3://bucket/a/b//", "s3://bucket/a/b"),
    ("gs://bucket", "gs://bucket"),
    ("az://container/", "az://container"),
    ("s3://bucket/with space+and=more", "s3://bucket/with space+and=more"),
    ("file:///a/b", "/a/b"),
    ("file://localhost/a%20b", "/a b"),
    ("file://LOCALHOST/a%20%C3%A9", "/a é"),
    ("/a/s3://b", "/a/s3://b"),
    ("relative/path", "relative/path"),
    ("s3:bucket", "s3:bucket"),
]


@pytest.mark.parametrize(("given", "kept"), KEPT)
def test_a_place_is_kept_in_one_form(given: str, kept: str) -> None:
    assert place_of(given) == kept
    assert place_of(kept) == kept
    assert is_kept_url(given) == (given == kept and is_object_url(given))


SECRET = "pa55word"
REFUSED = [
    f"s3://key:{SECRET}@bucket/x",
    f"s3://bucket/x?token={SECRET}",
    f"s3://bucket/x#{SECRET}",
    f"https://account.blob.example.com/c?sig={SECRET}",
    "s3://",
    "s3:///x",
    "s3://b/x",
    "s3://bucket//x",
    "s3://bucket/../other",
    "s3://bucket/./x",
    "s3://bucket/a%2Fb",
    "s3://bucket/a\nb",
    "s3://bucket/é",
    "s3://bucket/" + "x" * 1100,
    "file://elsewhere/x",
    "file://x",
    "file:///a%00b",
    "file:///a%FFb",
    "s3:/bucket/x",
    "File:/x",
]


@pytest.mark.parametrize("given", REFUSED)
def test_what_is_no_place_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        place_of(given, field="base_path")
    said = f"{caught.value.message} {caught.value.hint} {caught.value.metadata}"
    assert (caught.value.field, caught.value.reason) == ("base_path", "INVALID_URL")
    assert SECRET not in said
    assert not is_kept_url(given)


def test_an_url_has_parts() -> None:
    assert split_url("s3://bucket/a/b") == ("s3", "bucket", "a/b")
    assert split_url("s3://bucket") == ("s3", "bucket", "")


def test_a_data_directory_leaves_urls_as_they_are() -> None:
    layout = Layout("/data")
    assert layout.resolve("s3://bucket/a/") == layout.relative("s3://bucket/a") == "s3://bucket/a"
    assert (layout.resolve("file:///x/../y"), layout.relative("file:///data/snapshots/x")) == ("/y", "snapshots/x")
