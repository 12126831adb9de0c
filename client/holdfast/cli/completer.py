"""Completion of a prompt's line, by click's own rules over the same tree; prompt_toolkit calls it on a thread."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from holdfast.cli.state import State

_OWN = (("help", "Show this help"), ("quit", "Leave"))


class TreeCompleter(Completer):
    """Offers commands, options, choices, and names from the daemon."""

    def __init__(self, state: State) -> None:
        self._state = state

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        words = _words(document.text_before_cursor)
        if words is None:
            return
        *before, current = words
        found = list(self._candidates(before, current))
        end = " " if len(found) == 1 else ""  # the only candidate is the whole word
        for value, help_text in found:
            text = _quoted(value) + end
            yield Completion(text, start_position=-len(current), display=value, display_meta=help_text or "")

    def _candidates(self, before: list[str], current: str) -> Iterable[tuple[str, str | None]]:
        from click.shell_completion import ShellComplete

        from holdfast.cli.main import COMPLETION_VARIABLE
        from holdfast.cli.tree import build

        slash = "/" if not before and current.startswith("/") else ""
        stripped = [before[0].removeprefix("/"), *before[1:]] if before else []
        if stripped[:1] == ["help"]:
            stripped = stripped[1:]
        complete = ShellComplete(build(), {"obj": self._state.for_line()}, "holdfast", COMPLETION_VARIABLE)
        for item in complete.get_completions(stripped, current.removeprefix(slash)):
            yield slash + str(item.value), item.help
        if not before:
            yield from ((slash + n, text) for n, text in _OWN if n.startswith(current.removeprefix(slash)))


def _words(text: str) -> list[str] | None:
    """The words so far, the last one being typed; None inside an open quote."""
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    return [*words, ""] if not text or text[-1].isspace() else words


def _quoted(value: str) -> str:
    return shlex.quote(value) if any(c.isspace() or c in "'\"" for c in value) else value
