"""``vector export``: a collection into a file, as of one moment."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections
from holdfast.cli.options import filter_option
from holdfast.cli.state import State
from holdfast.cli.stdout import standard_output
from holdfast.cli.writers.atomic import atomic_file
from holdfast.cli.writers.payload_lines import PayloadLines
from holdfast.collection import Collection
from holdfast.documents import Document

_FORMATS = ["ndjson", "npy", "parquet"]
_BY_SUFFIX = {".ndjson": "ndjson", ".jsonl": "ndjson", ".npy": "npy", ".parquet": "parquet"}


@click.command(
    cls=Command,
    examples=[
        "holdfast vector export products --file products.ndjson",
        "holdfast vector export products --file products.npy",
        "holdfast vector export products --file - | gzip > products.ndjson.gz",
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@click.option("--file", "path", required=True, metavar="FILE", help="The file to write; - is standard output (ndjson).")
@click.option("--format", "file_format", type=click.Choice(_FORMATS), help="Its format.  [default: by its name]")
@filter_option
@pass_state
def export(
    state: State, collection: str, path: str, file_format: str | None, expression: str | None
) -> Document | None:
    """Write a collection to a file.

    All of one moment, in the order written; writes go on meanwhile. npy writes the ids and payloads beside it, to
    NAME.ids.txt and NAME.payloads.ndjson. A file appears only when it is complete. Payloads are written as they are
    stored, so that insert-batch brings back the same digest; ndjson and npy write line breaks in them as spaces. The
    output's format is given before the subcommand: holdfast --format table vector export …
    """
    chosen = file_format or ("ndjson" if path == "-" else _BY_SUFFIX.get(Path(path).suffix.lower()))
    if chosen is None:
        raise click.UsageError(f"{path!r} does not say its format: give --format {'|'.join(_FORMATS)}")
    source = state.client.collection(collection)
    payloads = PayloadLines()
    if path == "-":
        _to_stdout(source, chosen, expression, payloads)
        _warn_of_changes(state, payloads)
        return None
    started = time.perf_counter()
    try:
        written, files = _write(source, chosen, Path(path).absolute(), expression, payloads)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from None
    _warn_of_changes(state, payloads)
    duration_ms = round((time.perf_counter() - started) * 1000)
    document = Document(exported=written, path=str(files[0]), duration_ms=duration_ms)
    return Document(document, files=[str(file) for file in files]) if len(files) > 1 else document


def _warn_of_changes(state: State, payloads: PayloadLines) -> None:
    if payloads.changed:
        state.warn(
            f"line breaks in {payloads.changed:,} payloads were written as spaces: a collection made of this file has "
            "another digest (parquet keeps them)"
        )


def _write(
    source: Collection, chosen: str, path: Path, expression: str | None, payloads: PayloadLines
) -> tuple[int, list[Path]]:
    batches = source.export_batches(expression)
    if chosen == "npy":
        from holdfast.cli.writers.npy import write_npy

        return write_npy(batches, source.info().dimensions, path, payloads)
    with atomic_file(path) as file:
        if chosen == "ndjson":
            from holdfast.cli.writers.ndjson import write_ndjson

            return write_ndjson(batches, file, payloads), [path]
        from holdfast.cli.writers.parquet import write_parquet

        return write_parquet(batches, source.info().dimensions, file), [path]


def _to_stdout(source: Collection, chosen: str, expression: str | None, payloads: PayloadLines) -> None:
    if chosen != "ndjson":
        raise click.UsageError(f"{chosen} needs a file with a name; only ndjson goes to standard output")
    from holdfast.cli.writers.ndjson import write_ndjson

    with standard_output():
        write_ndjson(source.export_batches(expression), sys.stdout.buffer, payloads)
        sys.stdout.buffer.flush()
