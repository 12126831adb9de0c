"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

dry_run: Decorator = click.option(
    "--dry-run", is_flag=True, help="Make all checks and say what would be done; do nothing."
)
no_wait: Decorator = click.option(
    "--no-wait", is_flag=True, help="Return at once with the operation's id (see: holdfast operation watch)."
)
