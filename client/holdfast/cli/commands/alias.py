"""``collection alias …``: create, switch, delete, list."""

from __future__ import annotations

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_aliases, complete_collections
from holdfast.cli.options import dry_run
from holdfast.cli.state import State
from holdfast.documents import Document


@click.command(cls=Command, examples=["holdfast collection alias create live --collection products-v1"])
@click.argument("alias")
@click.option(
    "--collection", "-c", required=True, metavar="NAME", shell_complete=complete_collections,
    help="The collection that it stands for.",
)  # fmt: skip
@pass_state
def create(state: State, alias: str, collection: str) -> Document:
    """Make an alias.

    An alias is accepted wherever a collection is read or written.
    """
    return state.client.collections.aliases.create(alias, collection)


@click.command(cls=Command, examples=["holdfast collection alias switch live --collection products-v2"])
@click.argument("alias", shell_complete=complete_aliases)
@click.option(
    "--collection", "-c", required=True, metavar="NAME", shell_complete=complete_collections,
    help="The collection that it stands for from now on.",
)  # fmt: skip
@dry_run
@pass_state
def switch(state: State, alias: str, collection: str, dry_run: bool) -> Document:
    """Point an alias at another collection.

    The switch is atomic: no reader sees the alias missing.
    """
    return state.client.collections.aliases.switch(alias, collection, validate_only=dry_run)


@click.command(cls=Command, examples=["holdfast collection alias delete live"])
@click.argument("alias", shell_complete=complete_aliases)
@dry_run
@pass_state
def delete(state: State, alias: str, dry_run: bool) -> Document:
    """Remove an alias.

    Its collection stays.
    """
    gone = state.client.collections.aliases.delete(alias, validate_only=dry_run)
    return state.shown(gone, ("alias", "status"))


@click.command(cls=Command, examples=["holdfast collection alias list"])
@click.option(
    "--collection", "-c", metavar="NAME", shell_complete=complete_collections, help="Only those of this collection."
)
@pass_state
def list_aliases(state: State, collection: str | None) -> Document:
    """List aliases."""
    found = state.client.collections.aliases.list(collection)
    return Document(aliases=found, total=len(found))
