"""docs/cli.md, made from the command tree: what ``--help`` says of each command, without what all of them share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click

from holdfast.cli.tree import build

WIDTH = 100
_HEAD = """# Every command

Made from the commands' own help; `tests/test_docs.py` compares. The prompt and scripts on
standard input take the same commands, with or without a leading slash. Results and exit codes:
[README.md](../README.md#operating-it).

Options that every command has, minus the spellings that it uses for something of its own:

```text
{common}
```
"""


def reference() -> str:
    """The whole page."""
    root = build()
    context = _context(root, "holdfast", None)
    parts = [_HEAD.format(common=_section(root.get_help(context), "Common options"))]
    for command_context in _contexts(root, context):
        parts.append(_entry(command_context))
    return "\n".join(parts)


def _contexts(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    """The contexts of all commands below a group, in the order of the tree."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        below = _context(command, name, context)
        if isinstance(command, click.Group):
            yield from _contexts(command, below)
        else:
            yield below


def _context(command: click.Command, name: str, parent: click.Context | None) -> click.Context:
    settings: dict[str, Any] = {**command.context_settings, "terminal_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


def _entry(context: click.Context) -> str:
    text = context.command.get_help(context)
    shared = _section(text, "Common options")
    own = text.replace(f"Common options:\n{shared}\n", "").replace("\n\n\n", "\n\n").strip()
    return f"## {context.command_path}\n\n```text\n{own}\n```\n"


def _section(text: str, title: str) -> str:
    """The indented lines below a heading of a help text."""
    found = re.search(rf"^{title}:\n((?:  .*\n?)+)", text, re.MULTILINE)
    assert found is not None, f"the help has no section {title!r}"
    return found[1].rstrip("\n")
