"""``storage archive prune``: what is asked before, what is sent, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import holdfast
from holdfast.cli.state import State
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon

PRUNE = ("storage", "archive", "prune")
TIME = "2024-01-20T10:30:45Z"


def test_everything_is_sent(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    cli(*PRUNE, "--before-snapshot", "snap-2024-01-20-103045", "--keep-within", "30d", "--dry-run")
    [sent] = daemon.requests["PruneArchive"]
    assert (sent.before_snapshot, sent.keep_within.seconds, sent.validate_only) == (
        "snap-2024-01-20-103045",
        30 * 86400,
        True,
    )


def test_a_script_that_says_confirm_asks_once(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    assert cli(*PRUNE, "--confirm").json == {
        "runs": [
            {
                "keep": False,
                "segments": 7,
                "first_sequence": 1,
                "last_sequence": 40,
                "first_time": None,
                "last_time": None,
                "size_bytes": 7 << 20,
                "reasons": [],
            },
            {
                "keep": True,
                "segments": 2,
                "first_sequence": 41,
                "last_sequence": 60,
                "first_time": None,
                "last_time": None,
                "size_bytes": 2 << 20,
                "reasons": ["needed by snap-2024-01-20-103045", "still in the log"],
            },
        ],
        "kept": 2,
        "deleted": 7,
        "freed_bytes": 7 << 20,
        "begins": {"sequence": 41, "time": TIME},
        "duration_ms": 12,
        "status": "completed",
    }
    assert [request.validate_only for request in daemon.requests["PruneArchive"]] == [False]
    assert cli(*PRUNE, "--confirm", "--no-wait").json["kind"] == "prune_archive"


def test_without_a_terminal_it_is_not_done_unasked(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    refused = cli(*PRUNE, stdin="y\n")
    assert (refused.code, "--confirm" in refused.err) == (2, True)
    assert [request.validate_only for request in daemon.requests["PruneArchive"]] == [True]


@pytest.mark.parametrize(("answer", "asked"), [("y\n", [True, False]), ("n\n", [True]), ("", [True])])
def test_a_person_is_asked_how_much(
    cli: Callable[..., Outcome],
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    asked: list[bool],
) -> None:
    monkeypatch.setattr(State, "can_ask", lambda state: True)
    outcome = cli(*PRUNE, stdin=answer)
    assert "Remove 7 WAL segments (7.0 MiB) from the archive and keep 2? [y/N]" in outcome.err
    assert "warning: keep within 0, before None" in outcome.err
    assert [request.validate_only for request in daemon.requests["PruneArchive"]] == asked


def test_a_table_has_the_reasons(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    heading, _, gone, kept, *_ = cli(*PRUNE, "--dry-run", "--format", "table").out.splitlines()
    assert heading.split()[:4] == ["KEEP", "SEGMENTS", "FIRST_SEQUENCE", "LAST_SEQUENCE"]
    assert heading.split()[-1] == "REASONS"
    assert gone.split()[:4] == ["no", "7", "1", "40"]
    assert kept.endswith("needed by snap-2024-01-20-103045; still in the log")


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_a_rule_of_nothing_is_refused(cli: Callable[..., Outcome], daemon: FakeDaemon, value: str) -> None:
    assert cli(*PRUNE, "--keep-within", value, "--confirm").code == 2
    assert "PruneArchive" not in daemon.requests


def test_the_library_takes_durations(db: holdfast.Client, daemon: FakeDaemon) -> None:
    assert db.archive.prune(keep_within="2d").deleted == 7
    assert daemon.requests["PruneArchive"][-1].keep_within.seconds == 2 * 86400
