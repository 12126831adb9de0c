"""docs/cli.md, made from what ``--help`` says: of each command without what all of them share, and of the daemon."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import click

from holdfast.cli.tree import build
from holdfastd.config import make_parser

WIDTH = 100
_HEAD = """# Every command

Made from the commands' own help; `tests/test_docs.py` compares. The prompt and scripts on standard input take the same
commands, with or without a leading slash. Results and exit codes: [README.md](../README.md#operating-it).

| commands | |
| --- | --- |
{contents}
| the daemon | [holdfastd](#holdfastd) |

Options that every command has, minus the spellings that it uses for something of its own:

```text
{common}
```

## How values are written

| in the help | write |
| --- | --- |
| `WHEN` | a time: `2026-01-20T10:00:00Z`, `-2h`, `10:32`, `'yesterday 10:32'`, `now`, `@1768903200`; without an \
offset it is in your time zone, and standard error says how it was understood. Or a sequence: `4711`. Or a mark's name |
| `DURATION` | `5s`, `24h`, `7d`, `1h30m`, `500ms` |
| `--schema JSON` | `{{"price": "number", "author.name": "string", "tags": "string[]"}}`: a field of the payload, or a \
path into objects, and its type. `string`; `integer` of 64 bits, without point or exponent; `number`, a float64; \
`boolean`; `timestamp`, a string with an RFC 3339 time and its offset; `[]` behind one is an array of them. \
`{{"type": "number", "required": true}}` must be there; else null is as good as nothing |
| `SIZE` | bytes, `64MB` (10⁶), `64MiB` (2²⁰); of the log, MB means MiB |
| `PERCENT` | `20` or `20%` |
| `VECTOR` | `"[0.1,0.2,0.3]"`, `0.1,0.2,0.3`, or `@FILE` with one of them in it |
| `EXPR` | a filter: below |

### Filters

A filter is a condition on the payload, as after `WHERE` in SQL:

```text
category = 'books' AND (price < 10 OR tags CONTAINS 'new') AND NOT archived = true
```

| condition | holds if |
| --- | --- |
| `= != <> < <= > >=` | it compares so with a string or a number; `=` and `!=` also with `true` and `false` |
| `BETWEEN 5 AND 10` | it is at least the one and at most the other |
| `IN ('a', 'b')` | it equals one of them |
| `LIKE 'a%'` | the text matches: `%` is any text, `_` one character, `\\` makes the next one plain |
| `CONTAINS 'x'` | the array has this member, or the string this part |
| `IS NULL`, `IS NOT NULL` | it is missing or null; it is neither |

`NOT` binds tighter than `AND`, `AND` tighter than `OR`. Strings stand in single quotes (`''` is a quote in one).
`author.name` is a field of an object; a name with other characters than letters, digits and `_` is quoted:
`"unit price"`. As in SQL, a comparison with a missing field is neither true nor false: `NOT archived = true` leaves out
the points without `archived`; write `(archived IS NULL OR archived = false)` to have them too.
"""


def reference() -> str:
    """The whole page."""
    root = build()
    context = _context(root, "holdfast", None)
    contexts = list(_contexts(root, context))
    common = _section(root.get_help(context), "Common options")
    head = _HEAD.format(common=common, contents="\n".join(_contents(contexts)))
    return "\n".join([head, *map(_entry, contexts), _daemon()])


def _contents(contexts: list[click.Context]) -> Iterator[str]:
    """One row for each group, with links to its commands."""
    links: dict[str, list[str]] = {}
    for context in contexts:
        path = context.command_path
        links.setdefault(path.rpartition(" ")[0], []).append(f"[{context.info_name}](#{path.replace(' ', '-')})")
    for group, members in links.items():
        yield f"| `{group}` | {' '.join(members)} |"


def _daemon() -> str:
    parser = make_parser()
    parser.formatter_class = partial(argparse.RawDescriptionHelpFormatter, width=WIDTH)  # whatever the terminal has
    return f"## holdfastd\n\n```text\n{parser.format_help().strip()}\n```\n"


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
    own = f"{text}\n".replace(f"Common options:\n{shared}\n", "").replace("\n\n\n", "\n\n").strip()
    return f"## {context.command_path}\n\n```text\n{own}\n```\n"


def _section(text: str, title: str) -> str:
    """The indented lines below a heading of a help text."""
    found = re.search(rf"^{title}:\n((?:  .*\n?)+)", text, re.MULTILINE)
    assert found is not None, f"the help has no section {title!r}"
    return found[1].rstrip("\n")
