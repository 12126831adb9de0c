"""``vector insert``, ``vector update``, ``vector delete``."""

from __future__ import annotations

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections
from holdfast.cli.confirm import confirm
from holdfast.cli.options import dry_run, ids_option
from holdfast.cli.state import State
from holdfast.cli.types import PAYLOAD, VECTOR
from holdfast.documents import Document


@click.command(
    cls=Command,
    examples=[
        'holdfast vector insert products --id book-1 --vector "[0.1,0.2,0.3]" --payload \'{"price": 12}\'',
        "holdfast vector insert products -v @vector.json",
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@click.option("--vector", "-v", type=VECTOR, required=True, metavar="VECTOR", help='"[0.1,0.2]", or @FILE.')
@click.option("--id", "point_id", metavar="ID", help="Its id; an existing one is replaced.  [default: generated]")
@click.option("--payload", type=PAYLOAD, metavar="JSON", help="A JSON object, or @FILE.")
@dry_run
@pass_state
def insert(
    state: State, collection: str, vector: list[float], point_id: str | None, payload: bytes | None, dry_run: bool
) -> Document:
    """Insert or replace one vector."""
    point_id = point_id or new_id()
    payloads = [payload] if payload else None
    written = state.client.collection(collection).upsert([point_id], [vector], payloads, validate_only=dry_run)
    status = "validated" if dry_run else "inserted"
    document = Document(id=point_id, status=status, collection=collection, sequence=written.sequence)
    return Document(document, durable=written.durable) if state.verbose else document


@click.command(
    cls=Command,
    examples=[
        "holdfast vector update products --id book-1 --payload '{\"price\": 10}' --merge",
        'holdfast vector update products --id book-1 --vector "[0.3,0.2,0.1]"',
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@click.option("--id", "point_id", required=True, metavar="ID", help="The vector's id.")
@click.option("--vector", type=VECTOR, metavar="VECTOR", help='The new vector: "[0.1,0.2]", or @FILE.')
@click.option("--payload", type=PAYLOAD, metavar="JSON", help="The new payload: a JSON object, or @FILE.")
@click.option("--merge", is_flag=True, help="Lay the payload over the old one; null removes a key.")
@dry_run
@pass_state
def update(
    state: State,
    collection: str,
    point_id: str,
    vector: list[float] | None,
    payload: bytes | None,
    merge: bool,
    dry_run: bool,
) -> Document:
    """Change a vector or its payload.

    What is not given stays. Fails if the id does not exist.
    """
    if vector is None and payload is None:
        raise click.UsageError("nothing to change: give --vector, --payload or both")
    if merge and payload is None:
        raise click.UsageError("--merge needs --payload")
    done = state.client.collection(collection).update(
        [point_id],
        None if vector is None else [vector],
        None if payload is None else [payload],
        merge=merge,
        validate_only=dry_run,
    )
    if dry_run:
        return Document(id=point_id, status="validated")
    document = Document(id=point_id, status="updated", version=done.versions[0])
    return Document(document, sequence=done.sequence, durable=done.durable) if state.verbose else document


@click.command(
    cls=Command,
    examples=[
        "holdfast vector delete products --id book-1,book-2",
        "holdfast vector delete products --id '[\"a,b\"]' --id c",
        "holdfast vector delete products --filter \"category = 'books' AND price < 10\" --dry-run",
        "holdfast vector delete products --all --confirm",
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@ids_option()
@click.option("--filter", "expression", metavar="EXPR", help="All that match, such as: price < 10 AND NOT sold = true.")
@click.option("--all", "everything", is_flag=True, help="All of them; the collection stays.")
@click.option("--confirm", "confirmed", is_flag=True, help="Do not ask (with --all).")
@dry_run
@pass_state
def delete(
    state: State,
    collection: str,
    ids: list[str] | None,
    expression: str | None,
    everything: bool,
    confirmed: bool,
    dry_run: bool,
) -> Document:
    """Delete vectors by id, by filter, or all.

    Ids that do not exist are no error. With --all it asks on a terminal; elsewhere --confirm is required.
    """
    if [ids is not None, expression is not None, everything].count(True) != 1:
        raise click.UsageError("give exactly one of --id, --filter and --all")
    target = state.client.collection(collection)
    expected = None
    if everything and not (confirmed or dry_run):
        expected = target.count()
        confirm(state, f"Delete all {expected:,} vectors of {collection!r}?", "--confirm")
    gone = target.delete(ids, filter=expression, all=everything, expected_count=expected, validate_only=dry_run)
    document = Document(deleted=gone.count, status="validated" if dry_run else "deleted")
    return Document(document, sequence=gone.sequence, durable=gone.durable) if state.verbose else document


def new_id() -> str:
    """A random id for a vector that came without one."""
    from uuid import uuid4

    return str(uuid4())
