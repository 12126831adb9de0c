"""Rows of a file into a collection: batches in flight, bad rows set aside, exact counts."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from holdfast.cli.commands.vector_write import new_id
from holdfast.cli.readers.rows import BadFile, BadRow, Row, Rows
from holdfast.connection import new_request_id
from holdfast.encoded import EncodedUpsert
from holdfast.errors import HoldfastError, InvalidArgument
from holdfast.payloads import join_payloads
from holdfast.pipeline import Pipeline

if TYPE_CHECKING:
    from holdfast.collection import Collection
    from holdfast.records import WriteResult

MAX_ERRORS_SHOWN = 10
_MAX_BATCH_BYTES = 16 << 20
"""Vectors and payloads from which on a batch is sent, however few rows it has."""
_IN_FLIGHT = 4


@dataclass(slots=True)
class Tally:
    """What has become of the rows so far."""

    inserted: int = 0
    failed: int = 0
    errors: list[dict[str, object]] = field(default_factory=list)

    def refuse(self, line: int, message: str) -> None:
        """Count one bad row; the first ten are kept with their lines."""
        self.failed += 1
        if len(self.errors) < MAX_ERRORS_SHOWN:
            self.errors.append({"line": line, "error": message})


class Stopped(Exception):
    """The import ended early; what was inserted until then stays."""


class Importer:
    """Sends rows in batches. With ``skip`` False the first bad row ends the import, after the rows before it."""

    def __init__(
        self, collection: Collection, dimensions: int, *, batch_size: int, skip: bool, on_batch: Callable[[Tally], None]
    ) -> None:
        self.tally = Tally()
        self._collection = collection
        self._width = dimensions * 4
        self._batch_size = batch_size
        self._skip = skip
        self._on_batch = on_batch
        self._in_flight: deque[list[Row]] = deque()
        self._request_prefix = new_request_id()
        self._requests = 0

    def run(self, rows: Rows) -> None:
        """Insert everything; Stopped, BadFile or HoldfastError end it early, with ``tally`` exact in every case.

        Whatever else ends it leaves batches in flight, which ``tally`` does not count.
        """
        pipeline = Pipeline(self._collection.connection, _IN_FLIGHT)
        problem: Exception | None = None
        try:
            try:
                self._send(pipeline, rows)
            except (Stopped, BadFile) as error:
                problem = error
            self._settle(pipeline, down_to=0)
            pipeline.finish()
        finally:
            pipeline.abort()
        if problem is not None:
            raise problem

    def _send(self, pipeline: Pipeline, rows: Rows) -> None:
        for batch in self._batches(rows):
            pipeline.send(self._request(batch))
            self._in_flight.append(batch)
            self._settle(pipeline, down_to=_IN_FLIGHT - 1)

    def _batches(self, rows: Rows) -> Iterator[list[Row]]:
        batch: list[Row] = []
        size = 0
        bad: Stopped | BadFile | None = None
        try:
            for row in rows:
                checked = self._checked(row)
                if isinstance(checked, Row):
                    batch.append(checked)
                    size += len(checked.vector) + len(checked.payload or b"")
                else:
                    self.tally.refuse(checked.line, checked.message)
                    if not self._skip:
                        bad = Stopped()
                        break
                if len(batch) >= self._batch_size or size >= _MAX_BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
        except BadFile as error:
            bad = error
        if batch:
            yield batch
        if bad is not None:
            raise bad

    def _checked(self, row: Row | BadRow) -> Row | BadRow:
        if isinstance(row, BadRow):
            return row
        if len(row.vector) != self._width:
            return BadRow(row.line, f"the vector has {len(row.vector) // 4} values, the collection {self._width // 4}")
        return row if row.id is not None else row._replace(id=new_id())

    def _settle(self, pipeline: Pipeline, *, down_to: int) -> None:
        """Take outcomes, oldest first, until only ``down_to`` batches are unanswered."""
        while len(self._in_flight) > down_to:
            rows, refusal = self._outcome(pipeline)
            if refusal is not None:
                self._mend([(rows, refusal), *self._outcomes(pipeline)])

    def _outcomes(self, pipeline: Pipeline) -> Iterator[tuple[list[Row], InvalidArgument | None]]:
        while self._in_flight:
            yield self._outcome(pipeline)

    def _outcome(self, pipeline: Pipeline) -> tuple[list[Row], InvalidArgument | None]:
        """The oldest batch in flight, counted if it was inserted, or why one of its rows was refused."""
        refusal = None
        try:
            result = pipeline.take(wait=True)
            assert result is not None, "a stream that has ended says why"
            self._count(result)
        except InvalidArgument as error:
            refusal = error
        return self._in_flight.popleft(), refusal

    def _mend(self, batches: list[tuple[list[Row], InvalidArgument | None]]) -> None:
        """A batch was refused for one of its rows, and those behind it are answered too: what can be is inserted.

        Of an id the last row wins, as if each batch had waited for the one before it: rows that were inserted already
        are sent again where one that stood before them comes only now. They are counted once.
        """
        stopped: Stopped | None = None
        late: set[str | None] = set()
        for rows, refusal in batches:
            if refusal is None:
                again = [row for row in rows if row.id in late]
                if again:
                    self._collection.send(self._request(again))
            elif stopped is None:
                late.update(row.id for row in rows)
                try:
                    self._divide(rows, refusal)
                except Stopped as error:
                    stopped = error
        if stopped is not None:
            raise stopped

    def _count(self, result: WriteResult) -> None:
        self.tally.inserted += result.count
        self._on_batch(self.tally)

    def _divide(self, rows: list[Row], error: HoldfastError) -> None:
        """A batch was refused for one of its rows: send its halves, until the bad rows stand alone."""
        if len(rows) == 1:
            self.tally.refuse(rows[0].line, error.message)
            if not self._skip:
                raise Stopped
            return
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            try:
                self._count(self._collection.send(self._request(half)))
            except InvalidArgument as again:
                self._divide(half, again)

    def _request(self, rows: list[Row]) -> EncodedUpsert:
        from holdfast.v1 import vector_pb2

        self._requests += 1
        has_payloads = any(row.payload is not None for row in rows)
        head = vector_pb2.UpsertRequest(
            collection=self._collection.name,
            ids=[row.id or "" for row in rows],
            payloads=join_payloads([row.payload or b"null" for row in rows]) if has_payloads else b"",
            request_id=f"{self._request_prefix}-{self._requests}",
        )
        return EncodedUpsert(head, [row.vector for row in rows])


class Ticker:
    """A line on stderr now and then while an import runs."""

    def __init__(self, say: Callable[[str], None], *, every_seconds: float = 2.0) -> None:
        self._say = say
        self._every = every_seconds
        self._started = self._last = time.monotonic()

    def __call__(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        rate = tally.inserted / max(now - self._started, 1e-9)
        self._say(f"inserted {tally.inserted:,} vectors, {rate:,.0f}/s, {tally.failed:,} failed")
