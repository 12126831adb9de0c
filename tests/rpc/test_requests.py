"""Paths and tokens as clients send them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.errors import InvalidArgument, PermissionDenied, Unimplemented
from holdfastd.rpc.requests import Paths, decode_token, encode_token, page_size, refuse
from holdfastd.storage.osfiles import OsFileSystem

PATHS = Paths("/data", ("/backup",), OsFileSystem().real_path)


def peer(name: str) -> grpc.ServicerContext:
    return cast(grpc.ServicerContext, SimpleNamespace(peer=lambda: name))


LOCAL, REMOTE = peer("unix:"), peer("ipv4:127.0.0.1:4711")


@pytest.mark.parametrize(
    ("path", "directory", "expected"),
    [
        ("", "", None),
        ("/anywhere/at/all", "", "/anywhere/at/all"),
        ("sub", "/home/me", "/home/me/sub"),
        ("./a/../b//c", "/home/me", "/home/me/b/c"),
        ("../up", "/home/me", "/home/up"),
    ],
)
def test_the_socket_sees_the_whole_machine(path: str, directory: str, expected: str | None) -> None:
    assert PATHS.resolve(path, directory, LOCAL) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("s3://bucket/x/", "s3://bucket/x"), ("file:///a/../b%20c", "/b c"), ("gs://bucket", "gs://bucket")],
)
def test_an_url_is_a_place_of_its_own(path: str, expected: str) -> None:
    assert PATHS.resolve(path, "", LOCAL, objects=True) == expected
    assert PATHS.resolve(path, "/home/me", LOCAL, objects=True) == expected


def test_what_needs_a_disk_takes_no_url_of_an_object() -> None:
    with pytest.raises(InvalidArgument) as caught:
        PATHS.resolve("s3://bucket/x", "", LOCAL, field="path")
    assert (caught.value.reason, caught.value.field) == ("NOT_ON_A_DISK", "path")
    assert PATHS.resolve("file:///a", "", LOCAL) == "/a"


def test_over_tcp_an_url_must_lie_below_one_that_is_allowed() -> None:
    paths = Paths("/data", ("/backup", "s3://bucket/shop"), OsFileSystem().real_path)
    for path in ("s3://bucket/shop", "s3://bucket/shop/daily/x.snap", "file:///backup/x"):
        assert paths.resolve(path, "", REMOTE, objects=True)
    for path in ("s3://bucket", "s3://bucket/shopping", "gs://bucket/shop", "s3://other/shop", "file:///etc/passwd"):
        with pytest.raises(PermissionDenied):
            paths.resolve(path, "", REMOTE, objects=True)
    with pytest.raises(InvalidArgument):
        paths.resolve("s3://bucket/shop/../x", "", REMOTE, objects=True)


@pytest.mark.parametrize("directory", ["", "relative"])
def test_a_relative_path_needs_an_absolute_base(directory: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        PATHS.resolve("sub", directory, LOCAL)
    assert caught.value.reason == "RELATIVE_PATH"


@pytest.mark.parametrize("path", ["/data", "/data/snapshots", "/backup/x", "/backup/./x/../y"])
def test_over_tcp_some_directories_are_allowed(path: str) -> None:
    assert PATHS.resolve(path, "", REMOTE)


@pytest.mark.parametrize("path", ["/", "/etc/passwd", "/database", "/backup/../etc", "/backups", "/data/../etc"])
def test_over_tcp_no_others_are(path: str) -> None:
    with pytest.raises(PermissionDenied):
        PATHS.resolve(path, "", REMOTE)


@pytest.fixture
def linked(tmp_path: Path) -> Paths:
    """An allowed directory with links in it, and one that is reached by a link."""
    for name in ("data", "backup/inner", "outside/deep", "store"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "backup" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "backup" / "file.snap").symlink_to("../outside/file.snap")
    (tmp_path / "backup" / "in").symlink_to(tmp_path / "backup" / "inner")
    (tmp_path / "backup" / "loop").symlink_to("loop")
    (tmp_path / "mount").symlink_to(tmp_path / "store")
    allowed = (str(tmp_path / "backup"), str(tmp_path / "mount"))
    return Paths(str(tmp_path / "data"), allowed, OsFileSystem().real_path)


@pytest.mark.parametrize(
    "path",
    ["backup/out", "backup/out/new", "backup/out/deep/x.snap", "backup/file.snap", "outside", "mount/../outside"],
)
def test_over_tcp_no_link_leads_out_of_what_is_allowed(linked: Paths, tmp_path: Path, path: str) -> None:
    with pytest.raises(PermissionDenied) as caught:
        linked.resolve(str(tmp_path / path), "", REMOTE)
    assert caught.value.metadata["path"] == os.path.normpath(tmp_path / path)
    assert linked.resolve(str(tmp_path / path), "", LOCAL) == os.path.normpath(tmp_path / path)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [
        ("backup", "backup"),
        ("backup/in/new/x.snap", "backup/inner/new/x.snap"),
        ("mount", "mount"),
        ("mount/x", "mount/x"),
        ("store/x", "mount/x"),
        ("backup/new/deeper", "backup/new/deeper"),
    ],
)
def test_over_tcp_the_path_is_taken_without_the_links_below_what_is_allowed(
    linked: Paths, tmp_path: Path, path: str, leads_to: str
) -> None:
    assert linked.resolve(str(tmp_path / path), "", REMOTE) == str(tmp_path / leads_to)


def test_a_link_that_is_changed_after_the_check_leads_nowhere_else(linked: Paths, tmp_path: Path) -> None:
    resolved = linked.resolve(str(tmp_path / "backup" / "in" / "x"), "", REMOTE)
    (tmp_path / "backup" / "in").unlink()
    (tmp_path / "backup" / "in").symlink_to(tmp_path / "outside")
    assert OsFileSystem().real_path(str(resolved)) == str(tmp_path / "backup" / "inner" / "x")


def test_the_root_may_be_allowed() -> None:
    paths = Paths("/data", ("/",), OsFileSystem().real_path)
    assert paths.resolve("/", "", REMOTE) == "/"
    assert paths.resolve("/usr/x", "", REMOTE) == "/usr/x"


def test_over_tcp_there_is_no_working_directory() -> None:
    for path in ("sub", "", "/data/x"):
        with pytest.raises(InvalidArgument) as caught:
            PATHS.resolve(path, "/data", REMOTE)
        assert caught.value.field == "working_directory"
    with pytest.raises(InvalidArgument):
        PATHS.resolve("sub", "", REMOTE)


def test_a_nul_is_no_path() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        PATHS.resolve("/data/a\0b", "", LOCAL, field="snapshot")


@given(st.integers(0, 1 << 63), st.text())
def test_tokens_come_back(number: int, text: str) -> None:
    assert decode_token(encode_token(number, text), tuple[int, str]) == (number, text)


@given(st.text(max_size=30))
def test_any_other_text_is_refused_in_order(token: str) -> None:
    if not token.isascii() or len(token) < 4:
        with pytest.raises(InvalidArgument) as caught:
            decode_token(token, tuple[int, str])
        assert caught.value.field == "page_token"
    else:
        with contextlib.suppress(InvalidArgument):
            decode_token(token, tuple[int, str])


def test_sizes_of_pages() -> None:
    assert [page_size(asked) for asked in (0, 1, 1000, 5000)] == [100, 1, 1000, 1000]
    with pytest.raises(InvalidArgument):
        page_size(-1)


def test_a_field_that_is_not_supported_is_named_and_never_ignored() -> None:
    refuse("base_id", "")
    with pytest.raises(Unimplemented) as caught:
        refuse("base_id", "snap-1")
    assert caught.value.metadata["field"] == "base_id"
