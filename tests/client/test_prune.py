"""``storage snapshot prune``: what is asked before, what is sent, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import holdfast
from holdfast.cli.state import State
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon

PRUNE = ("storage", "snapshot", "prune", "--keep-last", "1")


@pytest.fixture
def three(db: holdfast.Client, products: holdfast.Collection, daemon: FakeDaemon) -> FakeDaemon:
    """A daemon with three snapshots."""
    for _ in range(3):
        db.snapshots.create("products")
    return daemon


def test_every_rule_is_sent(cli: Callable[..., Outcome], three: FakeDaemon) -> None:
    rules = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
    options = [text for number, rule in enumerate(rules, 1) for text in (f"--keep-{rule}", str(number))]
    cli(
        "storage",
        "snapshot",
        "prune",
        *options,
        "--keep-within",
        "2d",
        "--path",
        "/b",
        "--collection",
        "c",
        "--dry-run",
    )
    [sent] = three.requests["PruneSnapshots"]
    assert [getattr(sent.policy, f"keep_{rule}") for rule in rules] == [1, 2, 3, 4, 5, 6]
    assert (sent.policy.keep_within.seconds, sent.path, sent.collection) == (2 * 86400, "/b", "c")
    assert sent.validate_only


def test_a_script_that_says_confirm_asks_once(cli: Callable[..., Outcome], three: FakeDaemon) -> None:
    document = cli(*PRUNE, "--confirm").json
    assert (document["kept"], document["deleted"], document["status"]) == (1, 2, "completed")
    assert [row["reasons"] for row in document["snapshots"]] == [["last"], [], []]
    assert {"id", "type", "collections", "created_at", "size_bytes", "path", "keep"} < document["snapshots"][0].keys()
    assert [request.validate_only for request in three.requests["PruneSnapshots"]] == [False]
    assert cli(*PRUNE, "--confirm").json["deleted"] == 0


def test_without_a_terminal_it_is_not_done_unasked(cli: Callable[..., Outcome], three: FakeDaemon) -> None:
    refused = cli(*PRUNE, stdin="y\n")
    assert (refused.code, "--confirm" in refused.err) == (2, True)
    assert len(three.snapshots) == 3


@pytest.mark.parametrize(("answer", "left"), [("y\n", 1), ("n\n", 3), ("", 3)])
def test_a_person_is_asked_how_much(
    cli: Callable[..., Outcome], three: FakeDaemon, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    monkeypatch.setattr(State, "can_ask", lambda state: True)
    outcome = cli(*PRUNE, stdin=answer)
    assert "Delete 2 snapshots (" in outcome.err
    assert ") and keep 1? [y/N]" in outcome.err
    assert len(three.snapshots) == left


def test_nobody_is_asked_where_nothing_goes(cli: Callable[..., Outcome], three: FakeDaemon) -> None:
    document = cli("storage", "snapshot", "prune", "--keep-last", "9").json
    assert (document["deleted"], document["status"]) == (0, "completed")


def test_a_table_has_the_reasons(cli: Callable[..., Outcome], three: FakeDaemon) -> None:
    heading, _, first, second, *_ = cli(*PRUNE, "--dry-run", "--format", "table").out.splitlines()
    assert heading.split() == ["ID", "TYPE", "COLLECTIONS", "CREATED_AT", "SIZE", "KEEP", "REASONS"]
    assert first.split()[-2:] == ["yes", "last"]
    assert second.split()[-1] == "no"
    rows = cli(*PRUNE, "--dry-run", "--format", "csv").out.splitlines()
    assert rows[0] == "id,type,collections,created_at,size_bytes,keep,reasons"
    assert rows[1].endswith(",true,last")


@pytest.mark.parametrize("option", ["--keep-last", "--keep-daily", "--keep-within"])
@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_rule_of_nothing_is_refused(cli: Callable[..., Outcome], three: FakeDaemon, option: str, value: str) -> None:
    assert cli("storage", "snapshot", "prune", option, value, "--confirm").code == 2
    assert len(three.snapshots) == 3
