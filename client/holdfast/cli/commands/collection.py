"""``collection …``: create, delete, list, info, stats."""

from __future__ import annotations

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections
from holdfast.cli.confirm import confirm
from holdfast.cli.options import dry_run
from holdfast.cli.state import State
from holdfast.cli.types import SIZE
from holdfast.documents import Document

MAX_DIMENSIONS = 65_536
_LIST_KEYS = ("name", "dimensions", "vectors", "indexes", "size_bytes")
_INFO_KEYS = ("name", "dimensions", "metric", "vectors", "created_at", "updated_at")
_SCHEMA_KEYS = ("schema", "schema_problem")
_CREATE_KEYS = ("name", "dimensions", "metric", "storage", "status", "vectors")
_STATS_KEYS = (
    "name", "dimensions", "metric", "vectors", "size_bytes", "digest", "sequence", "segments", "garbage_percent",
    "indexes", "storage", "performance",
)  # fmt: skip


@click.command(
    cls=Command,
    examples=[
        "holdfast collection create products -d 384",
        "holdfast collection create cache -d 384 --storage memory",
        "holdfast collection create hybrid -d 384 --storage hybrid --hot-tier-size 10GB",
        'holdfast collection create books -d 384 --schema \'{"price": "number", "tags": "string[]"}\'',
    ],
)
@click.argument("name")
@click.option(
    "--dimensions", "-d", type=click.IntRange(1, MAX_DIMENSIONS), metavar="N", required=True, help="Values per vector."
)
@click.option(
    "--metric", type=click.Choice(["cosine", "euclidean", "dot"]), default="cosine", show_default=True,
    help="How vectors are compared.",
)  # fmt: skip
@click.option(
    "--storage", type=click.Choice(["memory", "disk", "hybrid"]),
    help="Where vectors live: in RAM (lost at a restart), in mapped files, or in both.  [default: disk]",
)  # fmt: skip
@click.option("--on-disk", is_flag=True, help="The same as --storage disk.")
@click.option("--hot-tier-size", type=SIZE, metavar="SIZE", help="RAM for the hot blocks of a hybrid collection.")
@click.option(
    "--quantization", type=click.Choice(["none", "scalar", "binary"]), default="none", show_default=True,
    help="How vectors are encoded for searching; the exact ones are kept.",
)  # fmt: skip
@click.option(
    "--schema", metavar="JSON",
    help="Fields of the payload with their types: string, integer, number, boolean, timestamp; string[] is an array.",
)  # fmt: skip
@dry_run
@pass_state
def create(
    state: State,
    name: str,
    dimensions: int,
    metric: str,
    storage: str | None,
    on_disk: bool,
    hot_tier_size: int | None,
    quantization: str,
    schema: str | None,
    dry_run: bool,
) -> Document:
    """Create a collection.

    With --schema payloads that contradict it are refused. A key is a field or a path such as author.name; a field that
    must be there is written {"type": "number", "required": true}; fields that are not named may hold anything.
    """
    if on_disk and storage not in (None, "disk"):
        raise click.UsageError(f"--on-disk contradicts --storage {storage}")
    storage = storage or "disk"
    if hot_tier_size is not None and storage != "hybrid":
        raise click.UsageError("--hot-tier-size is for --storage hybrid")
    made = state.client.collections.create_described(
        name,
        dimensions,
        metric,
        storage,
        quantization=quantization,
        hot_tier_size=hot_tier_size,
        schema=schema,
        validate_only=dry_run,
    )
    return state.shown(Document(made, status="validated" if dry_run else "created"), _CREATE_KEYS)


@click.command(
    cls=Command,
    examples=["holdfast collection delete products", "holdfast collection delete products --confirm"],
)
@click.argument("name", shell_complete=complete_collections)
@click.option("--confirm", "confirmed", is_flag=True, help="Do not ask.")
@click.option("--keep-snapshots", is_flag=True, help="Accepted for clarity: the files of snapshots always stay.")
@dry_run
@pass_state
def delete(state: State, name: str, confirmed: bool, keep_snapshots: bool, dry_run: bool) -> Document:
    """Delete a collection with its vectors.

    Its aliases go with it; the files of snapshots stay. On a terminal it asks first; elsewhere --confirm is required.
    """
    collections = state.client.collections
    expected_id = None
    if not (confirmed or dry_run):
        described = collections.get(name)
        planned = collections.delete(name, validate_only=True)
        confirm(state, f"Delete collection {name!r} with {planned.vectors_deleted:,} vectors?", "--confirm")
        expected_id = described.id
    gone = collections.delete(name, expected_id=expected_id, validate_only=dry_run)
    return state.shown(gone, ("name", "vectors_deleted", "status"))


@click.command(cls=Command, examples=["holdfast collection list", "holdfast collection list --detailed --format table"])
@click.option("--detailed", is_flag=True, help="All that is known of each.")
@pass_state
def list_collections(state: State, detailed: bool) -> Document:
    """List collections."""
    found = state.client.collections.list(detailed=detailed)
    if detailed:
        rows = [Document({key: value for key, value in row.items() if key != "stats"} | row.stats) for row in found]
    else:
        rows = [state.shown(row, _LIST_KEYS) for row in found]
    return Document(collections=rows, total=len(rows))


@click.command(cls=Command, examples=["holdfast collection info products"])
@click.argument("name", shell_complete=complete_collections)
@pass_state
def info(state: State, name: str) -> Document:
    """Describe a collection.

    Its schema is shown if it has one, and schema_problem if that cannot be checked.
    """
    described = state.client.collections.get(name)
    return _with_damage(state, described, (*_INFO_KEYS, *(key for key in _SCHEMA_KEYS if described[key])))


@click.command(cls=Command, examples=["holdfast collection stats products"])
@click.argument("name", shell_complete=complete_collections)
@pass_state
def stats(state: State, name: str) -> Document:
    """Show a collection's figures.

    Two collections with the same digest hold the same ids, vectors and payloads, whatever their history.
    """
    return _with_damage(state, state.client.collections.stats(name), _STATS_KEYS)


def _with_damage(state: State, document: Document, keys: tuple[str, ...]) -> Document:
    """These keys, and the segments that are quarantined if there are any."""
    return state.shown(document, (*keys, "quarantined") if document.quarantined else keys)
