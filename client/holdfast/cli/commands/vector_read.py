"""``vector get``, ``vector search``, ``vector scroll``, ``vector count``."""

from __future__ import annotations

import time

import click

from holdfast.checks import INT64_MAX, UINT32_MAX
from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections
from holdfast.cli.numbers import float32_number, float32_numbers
from holdfast.cli.options import filter_option, ids_option
from holdfast.cli.state import State
from holdfast.cli.types import VECTOR
from holdfast.documents import Document
from holdfast.errors import NotFound
from holdfast.records import Hit, Record, records_of

MAX_K = 10_000
_MOST_PER_PAGE = 10_000


@click.command(
    cls=Command,
    examples=[
        "holdfast vector get products --id book-1",
        "holdfast vector get products --id a,b --no-include-vector",
        "holdfast vector get products --id '[\"a,b\"]'",
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@ids_option(required=True)
@click.option("--include-vector/--no-include-vector", default=True, show_default=True, help="Show the vectors.")
@pass_state
def get(state: State, collection: str, ids: list[str], include_vector: bool) -> Document:
    """Show vectors by id.

    One id that does not exist is an error; of several, those that exist are shown in the order asked.
    """
    records = state.client.collection(collection).get(ids, include_vector=include_vector)
    rows = [_row(record, with_version=True) for record in records]
    if len(ids) != 1:
        return Document(vectors=rows, count=len(rows))
    if not rows:
        raise NotFound(
            f"there is no id {ids[0]!r} in {collection!r}",
            reason="ID_NOT_FOUND",
            hint=f"see some that exist: holdfast vector scroll {collection} --limit 10",
        )
    return rows[0]


@click.command(
    cls=Command,
    examples=[
        'holdfast vector search products --query "[0.1,0.2,0.3]" --k 5',
        "holdfast vector search products --query-id book-1 --filter \"category = 'books'\" --format table",
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@click.option("--query", "-q", type=VECTOR, metavar="VECTOR", help='What to search for: "[0.1,0.2]", or @FILE.')
@click.option("--query-id", metavar="ID", help="Search for the vector of this id; it is left out of the result.")
@click.option("--k", type=click.IntRange(1, MAX_K), metavar="N", default=10, show_default=True, help="Results at most.")
@filter_option
@click.option("--threshold", type=float, metavar="SCORE", help="Only those at least this near.")
@click.option("--exact", is_flag=True, help="Compare with every vector instead of asking an index.")
@click.option("--ef", type=click.IntRange(1, UINT32_MAX), metavar="N", help="Candidates that an index looks at.")
@click.option("--include-vector", is_flag=True, help="Show the vectors.")
@pass_state
def search(
    state: State,
    collection: str,
    query: list[float] | None,
    query_id: str | None,
    k: int,
    expression: str | None,
    threshold: float | None,
    exact: bool,
    ef: int | None,
    include_vector: bool,
) -> Document:
    """Find the nearest vectors.

    Nearest first. Scores: cosine similarity in [-1, 1], inner product for dot, distance for euclidean (smaller is
    nearer). A filter is a condition on the payload, as after WHERE in SQL: = != < <= > >=, BETWEEN, IN, LIKE, CONTAINS,
    IS NULL, with AND, OR, NOT and parentheses. Strings stand in single quotes; author.name is a field in an object.
    """
    if (query is None) == (query_id is None):
        raise click.UsageError("give exactly one of --query and --query-id")
    if exact and ef is not None:
        raise click.UsageError("--ef contradicts --exact, which asks no index")
    target = state.client.collection(collection)
    target.connection.warm_up()
    started = time.perf_counter()
    hits = target.search(
        query, k, expression, query_id=query_id, threshold=threshold, exact=exact, ef=ef, include_vector=include_vector
    )
    duration_ms = round((time.perf_counter() - started) * 1000, 3)
    return Document(results=[_hit(hit) for hit in hits], count=len(hits), duration_ms=duration_ms)


@click.command(
    cls=Command,
    examples=[
        "holdfast vector scroll products --limit 20",
        "holdfast vector scroll products --offset 20 --limit 20 --order timestamp",
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@click.option(
    "--offset", type=click.IntRange(0, INT64_MAX), metavar="N", default=0, show_default=True, help="Vectors to skip."
)
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=100, show_default=True, help="Vectors at most."
)
@filter_option
@click.option(
    "--order", type=click.Choice(["id", "timestamp"]), default="id", show_default=True, help="By id or last write."
)
@click.option("--include-vector", is_flag=True, help="Show the vectors.")
@pass_state
def scroll(
    state: State, collection: str, offset: int, limit: int, expression: str | None, order: str, include_vector: bool
) -> Document:
    """Page through a collection."""
    target = state.client.collection(collection)
    records: list[Record] = []
    token, skip, total = "", offset, 0
    while len(records) < limit:
        page = target.scroll_page(
            expression, order=order, offset=skip, page_size=min(_MOST_PER_PAGE, limit - len(records)),
            page_token=token, include_vector=include_vector, include_total=not token,
        )  # fmt: skip
        total = page.total_count if not token else total
        records += records_of(page.points)
        token, skip = page.next_page_token, 0
        if not token:
            break
    rows = [_row(record, with_version=False) for record in records]
    return Document(vectors=rows, count=len(rows), offset=offset, total=total)


@click.command(
    cls=Command,
    examples=["holdfast vector count products", "holdfast vector count products --filter \"tags CONTAINS 'new'\""],
)
@click.argument("collection", shell_complete=complete_collections)
@filter_option
@pass_state
def count(state: State, collection: str, expression: str | None) -> Document:
    """Count vectors."""
    return Document(count=state.client.collection(collection).count(expression), collection=collection)


def _row(record: Record, *, with_version: bool) -> Document:
    row = Document(id=record.id)
    if record.vector is not None:
        row["vector"] = float32_numbers(record.vector)
    row["payload"] = record.payload
    return Document(row, version=record.version) if with_version else row


def _hit(hit: Hit) -> Document:
    row = Document(id=hit.id, score=float32_number(hit.score), payload=hit.payload)
    return row if hit.vector is None else Document(row, vector=float32_numbers(hit.vector))
