"""Pins and descriptions from the command line and from Python."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import holdfast
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon

SNAPSHOT = ("storage", "snapshot")


@pytest.fixture
def id(cli: Callable[..., Outcome], products: holdfast.Collection) -> str:
    """A snapshot that was pinned and described when it was made, and one of which nothing was said."""
    pinned = cli(*SNAPSHOT, "create", "--pin", "--description", "before größer").json["snapshot_id"]
    cli(*SNAPSHOT, "create")
    return str(pinned)


def test_it_is_said_and_taken_back(cli: Callable[..., Outcome], id: str) -> None:
    def shown(*words: str) -> tuple[bool, str | None]:
        document = cli(*SNAPSHOT, *words).json
        assert list(document) == ["id", "path", "pinned", "description"]
        return document["pinned"], document["description"]

    assert shown("unpin", id) == (False, "before größer")
    assert shown("describe", id, "after") == (False, "after")
    assert shown("pin", id) == (True, "after")
    assert shown("describe", id, "--remove") == (True, None)


def test_lists_show_it_where_there_is_any(cli: Callable[..., Outcome], id: str) -> None:
    rows = cli(*SNAPSHOT, "list").json["snapshots"]
    assert [(row["pinned"], row["description"]) for row in rows] == [(False, None), (True, "before größer")]
    heading = cli(*SNAPSHOT, "list", "--format", "table").out.splitlines()[0]
    assert heading.split()[-2:] == ["PINNED", "DESCRIPTION"]
    assert cli(*SNAPSHOT, "show", id).json["pinned"] is True
    cli(*SNAPSHOT, "unpin", id)
    cli(*SNAPSHOT, "describe", id, "--remove")
    assert "pinned" not in cli(*SNAPSHOT, "list").json["snapshots"][0]


@pytest.mark.parametrize("words", [("describe",), ("describe", "ID"), ("describe", "ID", "x", "--remove"), ("pin",)])
def test_what_says_nothing_is_a_usage_error(cli: Callable[..., Outcome], id: str, words: tuple[str, ...]) -> None:
    assert cli(*SNAPSHOT, *(id if word == "ID" else word for word in words)).code == 2


def test_what_is_not_said_is_not_sent(daemon: FakeDaemon, db: holdfast.Client, id: str) -> None:
    assert db.snapshots.update(id, pinned=False).pinned is False
    assert db.snapshots.update(id, description="").description is None
    first, second = daemon.requests["UpdateSnapshot"]
    assert (first.HasField("description"), second.HasField("pinned")) == (False, False)
    with pytest.raises(holdfast.InvalidArgument, match="UTF-8"):
        db.snapshots.update(id, description="\udcff")
    with pytest.raises(TypeError):
        db.snapshots.create(description=b"x")  # type: ignore[call-overload]
