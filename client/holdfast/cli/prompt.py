"""The prompt, and commands from standard input: every line is one run of the same tree that the shell uses."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli import exit_codes
from holdfast.cli.state import State
from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History

_QUIT = frozenset({"quit", "exit", "q"})
_HELP = """Commands are written as in the shell, with or without the leading slash:

  /collection list                     /vector search products --query-id book-1
  /storage snapshot create --compress  /storage wal status --format table

  /help               this text; /help storage snapshot shows the commands of a group, or one command
  /quit, Ctrl-D       leave
  Tab                 completes commands, options, collections and snapshots
"""


def read_commands(state: State) -> int:
    """The prompt on a terminal, else one command per line of standard input; returns the exit code."""
    if sys.stdin is None:
        raise InvalidArgument("there is no command, and standard input, where they are read from, is closed")
    if sys.stdin.isatty() and sys.stdout.isatty():
        return _converse(state)
    return _run_script(state, sys.stdin)


def split(line: str) -> list[str]:
    """The words of a line, as a shell would cut them; ValueError for an open quote.

    A ``#`` at the beginning of a word begins a comment; inside a word it belongs to that: an id may have one.
    """
    lexer = shlex.shlex(_without_comment(line), posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _without_comment(line: str) -> str:
    quote, previous, escaped = "", " ", False
    for at, sign in enumerate(line):
        if escaped:
            escaped, sign = False, "\\"  # an escaped blank is part of its word
        elif sign == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "#" and previous.isspace():
            return line[:at]
        previous = sign
    return line


def run_line(state: State, line: str) -> int | None:
    """Run one line; its exit code, or None for a line that asks to leave."""
    try:
        words = split(line)
    except ValueError as error:
        state.say(f"error: {str(error)[0].lower() + str(error)[1:]} in: {line.strip()}")
        return exit_codes.USAGE
    if not words:
        return exit_codes.SUCCESS
    name = words[0].removeprefix("/")
    if name in _QUIT:
        return None
    if name in ("help", "?"):
        return _help(state, words[1:])
    if name == "holdfast":
        words = words[1:] or ["--help"]
    from holdfast.cli.main import run

    return run(words, state.for_line())


def _help(state: State, words: list[str]) -> int:
    if not words:
        sys.stdout.write(_HELP)
        words = []
    from holdfast.cli.main import run

    return run([*words, "--help"], state.for_line()) if words else exit_codes.SUCCESS


def _run_script(state: State, lines: Iterator[str]) -> int:
    """Run every line until one fails: what follows may depend on it."""
    for number, line in enumerate(lines, start=1):
        code = run_line(state, line)
        if code is None:
            break
        if code != exit_codes.SUCCESS:
            state.say(f"line {number} failed, stopping there")
            return code
    return exit_codes.SUCCESS


def _converse(state: State) -> int:
    session = _session(state)
    print("Holdfast. /help shows the commands, Tab completes them, /quit leaves.", file=sys.stderr)
    while True:
        try:
            line = session.prompt("holdfast> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return exit_codes.SUCCESS
        if run_line(state, line) is None:
            return exit_codes.SUCCESS


def _session(state: State) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import ThreadedCompleter

    from holdfast.cli.completer import TreeCompleter

    completer = ThreadedCompleter(TreeCompleter(state))
    return PromptSession(completer=completer, history=_history(), complete_while_typing=False)


def _history() -> History:
    """Lines of former sessions, in a file only the user can read; kept in memory where there is no place for one."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    path = history_path(os.environ.get, Path.home)
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


def history_path(environment: Callable[[str], str | None], home: Callable[[], Path]) -> Path | None:
    """``$XDG_STATE_HOME/holdfast/history`` or ``~/.local/state/holdfast/history``; None without a home."""
    state_home = environment("XDG_STATE_HOME")
    if state_home:
        return Path(state_home) / "holdfast" / "history"
    try:
        return home() / ".local" / "state" / "holdfast" / "history"
    except RuntimeError:
        return None
