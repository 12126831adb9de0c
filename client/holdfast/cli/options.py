"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from holdfast.cli.types import IDS, MOMENT

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

dry_run: Decorator = click.option(
    "--dry-run", is_flag=True, help="Make all checks and say what would be done; do nothing."
)
no_wait: Decorator = click.option(
    "--no-wait", is_flag=True, help="Return at once with the operation's id (see: holdfast operation watch)."
)
filter_option: Decorator = click.option(
    "--filter", "expression", metavar="EXPR", help="Only those that match, such as: price < 10 AND NOT sold = true."
)


def ids_option(*, required: bool = False) -> Decorator:
    """``--id``: an id, several with commas, or a JSON array of them; each time that it is given adds to the list."""
    return click.option(
        "--id", "ids", type=IDS, required=required, multiple=True, metavar="A[,B]", callback=_all_ids,
        help='Ids; ["a,b"] if they have commas; may be repeated.',
    )  # fmt: skip


def _all_ids(ctx: click.Context, param: click.Parameter, values: tuple[list[str], ...]) -> list[str] | None:
    return [one for ids in values for one in ids] or None


log_path: Decorator = click.option(
    "--path",
    metavar="DIR|URL",
    help="Where the log lies, on the daemon's machine or archived.  [default: the store's own]",
)
before_option: Decorator = click.option(
    "--before", type=MOMENT, metavar="WHEN", help="As --to, but up to just before it."
)


def refuse_two_ends(to: object, before: object) -> None:
    """Raise UsageError where a range is given both of its ends, the inclusive and the exclusive one."""
    if to is not None and before is not None:
        raise click.UsageError("--to contradicts --before")
