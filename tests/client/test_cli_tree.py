"""The command tree: every command is explained, and common options belong to every command minus what it owns."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from holdfast.cli.base import Branch, Leaf, load
from holdfast.cli.exit_codes import MEANINGS
from holdfast.cli.not_built import NOT_BUILT, NOTE, options_not_built
from holdfast.cli.tree import ROOT, build
from holdfast.errors import InvalidArgument
from tests.client.conftest import Outcome


def leaves(branch: Branch, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Leaf]]:
    for name, node in branch.members.items():
        if isinstance(node, Branch):
            yield from leaves(node, (*path, name))
        else:
            yield (*path, name), node


LEAVES = list(leaves(ROOT))
IDS = ["-".join(path) for path, _ in LEAVES]

SPECIFIED = """
collection create|delete|list|info|stats
collection alias create|switch|delete|list
vector insert|insert-batch|get|update|delete|search|scroll|count|export
storage snapshot create|restore|list|verify|delete|prune|show|diff|download|upload|pin|unpin|describe|schedules
storage wal enable|disable|replay|status|dump|grep|tail|verify|mark
storage mmap|compact|status|alarms
operation list|watch|cancel
"""


@pytest.mark.parametrize("line", SPECIFIED.strip().splitlines())
def test_every_specified_command_exists(line: str) -> None:
    *path, last = line.split()
    paths = {path for path, _ in LEAVES}
    assert {(*path, name) for name in last.split("|")} <= paths


@pytest.mark.parametrize(("path", "leaf"), LEAVES, ids=IDS)
def test_the_tree_and_the_command_say_the_same(path: tuple[str, ...], leaf: Leaf) -> None:
    command = load(leaf)
    assert command.help is not None
    assert command.help.splitlines()[0] == f"{leaf.summary}."


@pytest.mark.parametrize(("path", "leaf"), LEAVES, ids=IDS)
def test_every_command_has_examples_that_parse(
    path: tuple[str, ...], leaf: Leaf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vector.json").write_text("[1, 2]")
    monkeypatch.chdir(tmp_path)
    examples = getattr(load(leaf), "examples", ())
    assert examples
    assert any(" ".join(path) in example for example in examples)
    for example in examples:
        words_of_it = example.split()
        for command, options in NOT_BUILT.items():
            assert f"holdfast {command} " not in f"{example} " or not {*options} & {*words_of_it}
    for example in examples:
        line = next(part for part in example.split(" | ") if part.startswith("holdfast"))
        words = shlex.split(line.partition(" > ")[0])[1:]
        context: click.Context | None = build().make_context("holdfast", words)
        command: click.Command = build()
        while isinstance(command, click.Group) and context is not None:
            name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None
            context, command = found.make_context(name, words, parent=context), found


@pytest.mark.parametrize(("path", "leaf"), LEAVES, ids=IDS)
def test_the_help_says_what_is_not_built(cli: Callable[..., Outcome], path: tuple[str, ...], leaf: Leaf) -> None:
    options = options_not_built(" ".join(path))
    shown = " ".join(cli(*path, "--help").out.split())
    assert shown.count(NOTE) == len(options)
    known = {spelling for param in load(leaf).params for spelling in param.opts}
    assert known >= {*options}


@pytest.mark.parametrize(("path", "leaf"), LEAVES, ids=IDS)
def test_every_option_is_explained(path: tuple[str, ...], leaf: Leaf) -> None:
    for param in load(leaf).params:
        if isinstance(param, click.Option):
            assert param.help, param.name


@pytest.mark.parametrize(("path", "leaf"), LEAVES, ids=IDS)
def test_common_options_belong_to_every_command_minus_what_it_owns(path: tuple[str, ...], leaf: Leaf) -> None:
    command = load(leaf)
    own = {spelling for param in command.params for spelling in (*param.opts, *param.secondary_opts)}
    every = {
        spelling
        for param in command.get_params(click.Context(command, **command.context_settings))
        for spelling in param.opts
    }
    assert every - own >= {"--format", "--verbose", "-v", "--address", "--help", "-h"} - own
    assert ("-v" in own) == (path == ("vector", "insert"))
    assert ("--format" in own) == (path in (("vector", "insert-batch"), ("vector", "export")))


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["storage", "-h"], ["/storage", "snapshot", "create", "-h"]])
def test_help_is_a_success_on_stdout(cli: Callable[..., Outcome], arguments: list[str]) -> None:
    outcome = cli(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert "Common options:" in outcome.out


def test_a_group_without_a_command_shows_its_commands_and_fails(cli: Callable[..., Outcome]) -> None:
    outcome = cli("storage", "snapshot")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == cli("storage", "snapshot", "--help").out


def test_the_top_help_has_the_exit_codes(cli: Callable[..., Outcome]) -> None:
    text = cli("--help").out
    for code, meaning in MEANINGS.items():
        assert f"{code:>3}  {meaning}" in text


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["collecton"], "there is no command 'collecton'; did you mean 'collection'?", "holdfast --help"),
        (["/storage", "snap"], "there is no command 'snap'; did you mean 'snapshot'?", "holdfast storage --help"),
        (["snapshot", "list"], "there is no command 'snapshot'; did you mean 'storage snapshot'?", "holdfast --help"),
        (["storage", "create"], "there is no command 'create'; did you mean 'snapshot create'?", "storage --help"),
        (["storage", "operation"], "no command 'operation'; did you mean 'holdfast operation'?", "storage --help"),
        (
            ["status"],
            "did you mean 'storage status' or 'storage wal status' or 'storage archive status'?",
            "holdfast --help",
        ),
        (["vector", "insert-batch", "c", "--file", "gone.npy"], "cannot read gone.npy: No such file", "--help"),
        (["collection", "create", "c"], "Missing option '--dimensions' / '-d'", "holdfast collection create --help"),
        (["collection", "list", "--nope"], "--nope", "holdfast collection list --help"),
        (["collection", "list", "--format", "xml"], "Invalid value for '--format'", "holdfast collection list --help"),
        (
            ["storage", "mmap", "--enable", "--disable"],
            "--enable contradicts --disable",
            "holdfast storage mmap --help",
        ),
        (
            ["storage", "wal", "replay", "--to", "1", "--before", "2"],
            "--to contradicts --before",
            "holdfast storage wal replay",
        ),
        (
            ["collection", "create", "c", "-d", "2", "--on-disk", "--storage", "memory"],
            "--on-disk contradicts",
            "--help",
        ),
        (["storage", "snapshot", "create", "--base", "x"], "--base needs --incremental", "--help"),
        (["storage", "compact", "--threshold", "200"], "'200' is not a percentage", "--help"),
        (["storage", "wal", "enable", "--retention", "24"], "'24' is not a duration", "--help"),
        (["vector", "search", "c"], "exactly one of --query and --query-id", "--help"),
        (["vector", "delete", "c"], "exactly one of --id, --filter and --all", "--help"),
        (["vector", "search", "c", "-q", "[1,2]", "--exact", "--ef", "10"], "--ef contradicts --exact", "--help"),
        (["vector", "insert", "c", "-v", "[1,2]", "--id", ""], "'--id': it is empty; leave it out", "--help"),
        (["vector", "delete", "c", "--id", ""], "'--id': it is empty", "--help"),
        (["vector", "delete", "c", "--id", ","], "',' names an empty id", "--help"),
        (["vector", "delete", "c", "--id", "a,"], "'a,' names an empty id", "--help"),
        (["vector", "delete", "c", "--id", "[]"], "'[]' names an empty id", "--help"),
        (["vector", "delete", "c", "--id", "a", "--id", '[""]'], "names an empty id", "--help"),
        (["vector", "delete", "c", "--filter", ""], "'--filter': it is empty", "--help"),
        (["storage", "snapshot", "create", "--path", ""], "'--path': it is empty", "storage snapshot create --help"),
        (["storage", "snapshot", "create", "--path="], "'--path': it is empty", "storage snapshot create --help"),
        (["storage", "snapshot", "create", ""], "'[COLLECTION]': it is empty", "storage snapshot create --help"),
        (["storage", "wal", "enable", "--path", ""], "'--path': it is empty", "storage wal enable --help"),
        (["storage", "wal", "dump", "--kind", "mark", "--kind", ""], "'--kind': it is empty", "--help"),
        (["storage", "wal", "replay", "--skip", "4"], "need --into", "--help"),
        (["storage", "wal", "replay", "--into", "n", "--skip", "5-4"], "not above the last", "--help"),
        (["storage", "wal", "replay", "--into", "n", "--skip", "4-"], "'4-' names no sequences", "--help"),
        (["storage", "wal", "replay", "--into", "n", "--skip", "0"], "'0' names no sequences", "--help"),
        (["storage", "wal", "replay", "--into", "n", "--skip", "9" * 19], "names no sequences", "--help"),
        (["storage", "wal", "replay", "--into", "n", "--skip-request-id", ""], "it is empty", "--help"),
        (["storage", "wal", "grep"], "say what to look for", "--help"),
        (["storage", "wal", "grep", "--since", "4"], "say what to look for", "--help"),
        (["storage", "wal", "grep", "--op", "vanish"], "'vanish' is not one of", "--help"),
        (["storage", "wal", "grep", "--actor", ""], "'--actor': it is empty", "--help"),
        (["storage", "wal", "grep", "--op", "mark", "--to", "3", "--before", "4"], "--to contradicts", "--help"),
        (["storage", "wal", "dump", "--stats", "--limit", "3"], "--limit contradicts", "--help"),
        (["--address", "", "storage", "status"], "'--address': it is empty", "holdfast --help"),
        (["storage", "status", "--address", ""], "'--address': it is empty", "storage status --help"),
        (["vector", "update", "c", "--id", "a"], "nothing to change", "--help"),
        (["storage", "snapshot", "prune"], "at least one --keep", "--help"),
    ],
)
def test_wrong_usage_is_one_line_a_hint_and_exit_code_2(
    cli: Callable[..., Outcome], arguments: list[str], error: str, hint: str
) -> None:
    outcome = cli(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    first, second = outcome.err.splitlines()
    assert first.startswith("error: ")
    assert error.lower() in first.lower()
    assert second.startswith("hint: ")
    assert hint in second


@pytest.mark.parametrize(
    "line",
    [
        ["storage", "wal", "status"],
        ["/storage", "wal", "status"],
        ["--format", "json", "/storage", "wal", "status"],
        ["-v", "storage", "wal", "status", "--format", "json"],
    ],
)
def test_shell_and_slash_spellings_are_the_same_parse(cli: Callable[..., Outcome], line: list[str]) -> None:
    assert cli(*line).json == cli("storage", "wal", "status").json


def test_the_innermost_format_wins(cli: Callable[..., Outcome]) -> None:
    assert cli("--format", "yaml", "collection", "list").out == "collections: []\ntotal: 0\n"
    assert cli("--format", "table", "collection", "list", "--format", "csv").out == ""
    assert cli("--format", "table", "storage", "mmap", "--format", "csv").out.startswith("mmap_enabled,advise_mode")


def test_an_unknown_daemon_is_one_line_and_exit_code_11(cli: Callable[..., Outcome], tmp_path: object) -> None:
    outcome = cli("--address", f"unix://{tmp_path}/none", "storage", "status")
    assert outcome.code == 11
    assert outcome.err.startswith("error: no daemon answers at unix://")
    assert "hint: start it" in outcome.err


def test_a_picture_of_the_place_is_left_out_of_the_one_line(
    cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InvalidArgument("filter, line 1, column 5: expected a value\n  a = \n      ^", reason="INVALID_ARGUMENT")

    monkeypatch.setattr("holdfast.storage.Storage.status", refuse)
    assert cli("storage", "status").err == "error: filter, line 1, column 5: expected a value\n"


def test_a_fault_of_this_program_is_no_traceback(cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("holdfast.storage.Storage.status", broken)
    outcome = cli("storage", "status")
    assert outcome.code == 1
    assert outcome.err.splitlines()[0] == "error: this is a fault of holdfast: ZeroDivisionError: oh"
    assert "Traceback" not in outcome.err
    monkeypatch.setenv("HOLDFAST_DEBUG", "1")
    assert "Traceback" in cli("storage", "status").err


def test_verbose_adds_the_reason_of_a_failure(cli: Callable[..., Outcome]) -> None:
    outcome = cli("collection", "info", "nope", "-v")
    assert outcome.code == 4
    assert "reason: COLLECTION_NOT_FOUND (NOT_FOUND) collection=nope" in outcome.err


def test_the_version_is_shown(cli: Callable[..., Outcome]) -> None:
    outcome = cli("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("holdfast ")
