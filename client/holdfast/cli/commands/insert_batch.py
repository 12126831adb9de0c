"""``vector insert-batch``: a file of vectors into a collection."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

import click

from holdfast.cli import exit_codes
from holdfast.cli.base import Command, pass_state
from holdfast.cli.batches import Importer, Stopped, Ticker
from holdfast.cli.complete import complete_collections
from holdfast.cli.readers.rows import BadFile, Rows
from holdfast.cli.state import State
from holdfast.documents import Document
from holdfast.errors import HoldfastError, InvalidArgument

_BY_SUFFIX = {".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".npy": "npy",
              ".parquet": "parquet"}  # fmt: skip
_FORMATS = ["json", "ndjson", "csv", "npy", "parquet"]


@click.command(
    cls=Command,
    examples=[
        "holdfast vector insert-batch products --file products.ndjson",
        "holdfast vector insert-batch products --file vectors.npy --ids ids.txt --payloads payloads.ndjson",
        "zcat products.csv.gz | holdfast vector insert-batch products --file - --format csv --on-error skip",
        "holdfast --format table vector insert-batch products --file products.json",
    ],
)
@click.argument("collection", shell_complete=complete_collections)
@click.option("--file", "-f", "path", required=True, metavar="FILE", help="The file; - is standard input.")
@click.option("--format", "file_format", type=click.Choice(_FORMATS), help="Its format.  [default: by its name]")
@click.option("--ids", metavar="FILE", help="For npy: the ids, one a line.  [default: generated]")
@click.option("--payloads", metavar="FILE", help="For npy: the payloads, one JSON object a line.")
@click.option(
    "--batch-size", type=click.IntRange(1, 100_000), metavar="N", default=1000, show_default=True,
    help="Vectors per batch, fewer where they are large; each batch is one atomic operation.",
)  # fmt: skip
@click.option(
    "--on-error", type=click.Choice(["stop", "skip"]), default="stop", show_default=True,
    help="Stop at the first bad row, or leave bad rows out (exit code 3 then). Of one that only the daemon finds bad,"
    " a few batches behind it may be inserted too.",
)  # fmt: skip
@pass_state
def insert_batch(
    state: State,
    collection: str,
    path: str,
    file_format: str | None,
    ids: str | None,
    payloads: str | None,
    batch_size: int,
    on_error: str,
) -> Document:
    """Insert vectors from a file.

    json is an array of {"id","vector","payload"}, ndjson one such object a line, csv has a header id,vector,payload or
    id,v0,v1,… and npy is an (n, d) array of float32 or float16. Existing ids are replaced, missing ones generated. The
    file is streamed. The output's format is given before the subcommand: holdfast --format table vector insert-batch …
    """
    chosen = file_format or _format_of(path)
    if chosen != "npy" and (ids or payloads):
        raise click.UsageError(f"--ids and --payloads go with npy; in {chosen} they are part of each row")
    if [path, ids, payloads].count("-") > 1:
        raise click.UsageError("standard input can be only one of --file, --ids and --payloads")
    with ExitStack() as files:
        opened = [_open(files, name) for name in (path, ids, payloads)]
        target = state.client.collection(collection)
        importer = Importer(
            target, target.info().dimensions, batch_size=batch_size, skip=on_error == "skip", on_batch=_ticker(state)
        )
        started = time.perf_counter()
        rows = files.enter_context(closing(_readable(_rows(chosen, *opened))))
        _run(state, importer, rows, path)
    return Document(
        inserted=importer.tally.inserted,
        failed=importer.tally.failed,
        errors=importer.tally.errors,
        duration_ms=round((time.perf_counter() - started) * 1000),
    )


def _run(state: State, importer: Importer, rows: Rows, path: str) -> None:
    """Run the import; what ends it early is said on stderr, and the counts are still shown."""
    tally = importer.tally
    try:
        importer.run(rows)
    except Stopped:
        _fail(state, InvalidArgument(
            f"{_place(path, tally.errors[-1]['line'])}: {tally.errors[-1]['error']}",
            hint="mend the row and send the file again, or leave bad rows out with --on-error skip",
        ))  # fmt: skip
    except BadFile as error:
        _fail(state, InvalidArgument(f"{_place(path, error.line)}: {error}"))
    except HoldfastError as error:
        _fail(state, error)
    except KeyboardInterrupt:
        state.say("error: interrupted; batches that were not answered yet may be inserted too")
        state.exit_code = exit_codes.INTERRUPTED
    else:
        state.exit_code = exit_codes.PARTIAL if tally.failed else exit_codes.SUCCESS


def _fail(state: State, error: HoldfastError) -> None:
    state.say(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
    state.exit_code = exit_codes.OF_STATUS.get(error.status, exit_codes.FAILURE)


def _place(path: str, line: object) -> str:
    name = "standard input" if path == "-" else path
    return f"{name}, line {line}" if line else name


def _ticker(state: State) -> Ticker:
    return Ticker(state.say if state.verbose else _nothing)


def _nothing(text: str) -> None:
    """Say nothing."""


def _format_of(path: str) -> str:
    found = _BY_SUFFIX.get(Path(path).suffix.lower())
    if found is None:
        name = "standard input has no name" if path == "-" else f"{path!r} does not say its format"
        raise click.UsageError(f"{name}: give --format {'|'.join(_FORMATS)}")
    return found


def _open(files: ExitStack, path: str | None) -> BinaryIO | None:
    if path is None:
        return None
    if path == "-":
        if sys.stdin is None:
            raise click.UsageError("cannot read standard input: it is closed")
        return sys.stdin.buffer
    try:
        return files.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise click.UsageError(f"cannot read {path}: {error.strerror}") from None


def _readable(rows: Rows) -> Rows:
    """The rows; BadFile where the system, or a library, cannot read on."""
    try:
        yield from rows
    except OSError as error:
        raise BadFile(f"it cannot be read any further: {error.strerror or error}") from None


def _rows(chosen: str, file: BinaryIO | None, ids: BinaryIO | None, payloads: BinaryIO | None) -> Rows:
    assert file is not None
    if chosen == "npy":
        from holdfast.cli.readers.npy_rows import read_npy

        return read_npy(file, ids, payloads)
    if chosen == "csv":
        from holdfast.cli.readers.csv_rows import read_csv

        return read_csv(file)
    if chosen == "parquet":
        from holdfast.cli.readers.parquet_rows import read_parquet

        return read_parquet(file)
    from holdfast.cli.readers.json_rows import read_json, read_ndjson

    return read_json(file) if chosen == "json" else read_ndjson(file)
