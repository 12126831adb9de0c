"""The prompt, commands from standard input, and completion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

import holdfast
from holdfast.cli.complete import Names
from holdfast.cli.completer import TreeCompleter
from holdfast.cli.main import complete as complete_shell
from holdfast.cli.prompt import history_path, run_line, split
from holdfast.cli.state import Connector, State
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon


@pytest.fixture
def state(daemon: FakeDaemon) -> State:
    return State(connector=Connector(address=daemon.address))


def test_lines_of_standard_input_are_run_until_one_fails(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    lines = ["# a comment", "", "/collection create a -d 2", "holdfast collection create b -d 2", "/nope"]
    script = "\n".join([*lines, "/collection create c -d 2"])
    outcome = cli(stdin=script)
    assert outcome.code == 2
    assert "line 5 failed, stopping there" in outcome.err
    assert sorted(daemon.collections) == ["a", "b"]


def test_quit_ends_a_script_with_success(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    assert cli(stdin="/quit\n/collection create a -d 2\n").code == 0
    assert cli(stdin="").code == 0
    assert not daemon.collections


def test_options_of_a_line_do_not_outlive_it(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    run_line(state, "/storage mmap --format csv --address unix:///nonexistent/x")
    assert "no daemon answers" in capsys.readouterr().err
    assert run_line(state, "/storage mmap") == 0
    assert capsys.readouterr().out.startswith("{")


def test_a_prompt_started_with_a_format_keeps_it(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    state.output_format = "csv"
    run_line(state, "/storage mmap")
    assert capsys.readouterr().out.startswith("mmap_enabled,")


@pytest.mark.parametrize("line", ["/quit", "quit", "/exit", "q"])
def test_leaving(state: State, line: str) -> None:
    assert run_line(state, line) is None


@pytest.mark.parametrize(
    ("line", "words"), [("/help", "/quit"), ("/help storage wal", "enable"), ("?", "Tab"), ("holdfast", "Commands:")]
)
def test_help_in_the_prompt(state: State, capsys: pytest.CaptureFixture[str], line: str, words: str) -> None:
    assert run_line(state, line) == 0
    assert words in capsys.readouterr().out


def test_an_open_quote_is_an_error_and_not_the_end(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_line(state, "/vector get c --id 'x") == 2
    assert "error: no closing quotation" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/vector get c --id 'a b'", ["/vector", "get", "c", "--id", "a b"]),
        ('vector search c -q "[0.1, 0.2]"', ["vector", "search", "c", "-q", "[0.1, 0.2]"]),
        ("storage status # now", ["storage", "status"]),
        ("", []),
        ("# nothing", []),
        (r"vector get c --id a\ #b # now", ["vector", "get", "c", "--id", "a #b"]),
    ],
)
def test_a_line_is_cut_as_a_shell_would(line: str, words: list[str]) -> None:
    assert split(line) == words


def complete(state: State, text: str) -> list[str]:
    """What is offered; the only candidate comes with a space, so that the next word can be typed."""
    texts = [c.text for c in TreeCompleter(state).get_completions(Document(text), CompleteEvent())]
    assert [text[-1:] == " " for text in texts] == [len(texts) == 1] * len(texts)
    return [text.removesuffix(" ") for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/sto", ["/storage"]),
        ("sto", ["storage"]),
        ("/storage sn", ["snapshot"]),
        (
            "/storage snapshot ",
            [
                "create",
                "restore",
                "list",
                "show",
                "verify",
                "delete",
                "prune",
                "diff",
                "download",
                "upload",
                "pin",
                "unpin",
                "describe",
                "schedules",
            ],
        ),
        ("/storage wal enable --sync-mode ", ["fsync", "periodic", "async"]),
        ("/storage wal enable --sync", ["--sync-mode"]),
        ("/collection stats pr", ["products"]),
        ("/storage snapshot restore ", ["latest", "snap-2024-01-20-103045"]),
        ("/storage snapshot create --incremental --base ", ["latest", "snap-2024-01-20-103045"]),
        ("/storage snapshot verify --skip", ["--skip-chain"]),
        ("/storage snapshot show s", ["snap-2024-01-20-103045"]),
        ("/collection alias switch ", ["live"]),
        ("/operation watch ", ["op-1"]),
        ("/help sto", ["storage"]),
        ("/he", ["/help"]),
        ("/vector get products --id 'a", []),
        ("/storage mmap --format ", ["json", "table", "yaml", "csv"]),
    ],
)
def test_completion_knows_commands_options_choices_and_names(
    state: State, db: holdfast.Client, products: holdfast.Collection, text: str, expected: list[str]
) -> None:
    db.snapshots.create("products")
    db.collections.aliases.create("live", "products")
    assert complete(state, text) == expected


def test_completion_of_a_dead_daemon_is_empty_and_asked_once(tmp_path: Path) -> None:
    state = State(connector=Connector(address=f"unix://{tmp_path}/none"))
    assert complete(state, "/collection stats ") == []
    assert complete(state, "/collection stats ") == []


def test_names_are_kept_for_a_moment() -> None:
    now, asked = [0.0], [0]

    def ask() -> list[str]:
        asked[0] += 1
        if asked[0] == 2:
            raise OSError
        return [f"n{asked[0]}"]

    names = Names(lambda: now[0])
    assert [names.get("k", ask), names.get("k", ask)] == [["n1"], ["n1"]]
    now[0] = 6.0
    assert [names.get("k", ask), names.get("k", ask)] == [[], []]
    now[0] = 12.0
    assert names.get("k", ask) == ["n3"]


def test_the_history_has_a_place_where_there_is_a_home() -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    assert history_path({"XDG_STATE_HOME": "/s"}.get, homeless) == Path("/s/holdfast/history")
    assert history_path({}.get, lambda: Path("/h")) == Path("/h/.local/state/holdfast/history")
    assert history_path({}.get, homeless) is None


def test_the_shell_is_completed_by_the_same_tree(
    daemon: FakeDaemon,
    products: holdfast.Collection,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert complete_shell("bash_source") == 0
    assert "_HOLDFAST_COMPLETE=bash_complete" in capsys.readouterr().out
    monkeypatch.setenv("HOLDFAST_ADDRESS", daemon.address)
    monkeypatch.setenv("COMP_WORDS", "holdfast collection stats pr")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert complete_shell("bash_complete") == 0
    assert capsys.readouterr().out == "plain,products\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/vector delete p --id doc#5", ["/vector", "delete", "p", "--id", "doc#5"]),
        ("collection list # all of them", ["collection", "list"]),
        ("# nothing", []),
        ("vector get p --id '#5' --id \\#6", ["vector", "get", "p", "--id", "#5", "--id", "#6"]),
        ('vector get p --id "a #b"', ["vector", "get", "p", "--id", "a #b"]),
    ],
)
def test_a_comment_begins_with_a_word_and_never_inside_one(line: str, words: list[str]) -> None:
    assert split(line) == words
