"""``with collection.writer() as w: w.upsert(id, vector, payload)``: points gathered into batches, many in flight."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from holdfast.checks import text, whole_number
from holdfast.connection import Connection, new_request_id
from holdfast.encoded import EncodedUpsert
from holdfast.errors import FailedPrecondition, HoldfastError, InvalidArgument
from holdfast.payloads import Payload, encode_payload, join_payloads
from holdfast.pipeline import Pipeline
from holdfast.records import WriteResult
from holdfast.vectors import FLOAT_BYTES, Vector, encode_vector

_MAX_BATCH_BYTES = 8 << 20
_NULL = b"null"


class Writer:
    """Gathers points and streams them; one thread may use it at a time.

    Batches are sent when they have ``batch_size`` points, or 8 MiB of vectors or of payloads, and are acknowledged in
    order. A batch that is refused raises at the next call, at `flush` or at the end of the ``with``; batches already in
    flight behind it may be written. Everything is acknowledged when the ``with`` ends without an error; if it ends by
    an exception, points not yet sent are dropped.

    Where one point is at fault, ``metadata["row"]`` of the error is its number among all that were given to this
    writer, from 0, and so is the number in the error's text.
    """

    def __init__(
        self, connection: Connection, collection: str, batch_size: int, *, max_in_flight: int, sync: bool
    ) -> None:
        self._collection = collection
        self._batch_size = whole_number(batch_size, "batch_size", 1)
        self._sync = sync
        self._pipeline = Pipeline(connection, max_in_flight)
        self._request_prefix = new_request_id()
        self._batches = 0
        self._first_rows: dict[str, int] = {}
        """Of each batch that is not acknowledged yet: the number of its first point among all."""
        self._rows_sent = 0
        self._width = 0
        self._closed = False
        self.acknowledged = 0
        """Points acknowledged so far, as seen at the last batch, `flush` or exit."""
        self.last_result: WriteResult | None = None
        """The acknowledgement of the newest batch taken."""
        self._start_batch()

    def upsert(self, id: str, vector: Vector, payload: Payload = None) -> None:
        """Add one point; what it holds is copied at once. Blocks only while the window of batches is full.

        Raises the error of an earlier batch, and InvalidArgument for a vector or payload that cannot be sent.
        """
        if self._pipeline.failure is not None or self._closed:
            self._raise()
        try:
            data = _encoded(vector)
            if len(data) != self._width:
                self._check_width(data)
            if type(id) is not str:
                raise InvalidArgument(f"the id is {type(id).__name__}, not a string", reason="BAD_ID")
            if not id.isascii():
                text(id, "the id")
            if payload is not None:
                self._add_payload(payload)
            elif self._has_payloads:
                self._payloads.append(_NULL)
        except InvalidArgument as error:
            error.metadata["row"] = str(self._rows_sent + len(self._ids))
            raise
        self._ids.append(id)
        self._vectors.append(data)
        if len(self._ids) >= self._limit:
            self._send()

    def flush(self) -> WriteResult | None:
        """Send what is gathered and block until every batch is acknowledged; returns the last acknowledgement."""
        if self._pipeline.failure is not None or self._closed:
            self._raise()
        self._send()
        self._pipeline.settle()
        self._take_results()
        return self.last_result

    def close(self) -> None:
        """`flush`, then end the stream. Harmless twice."""
        if self._closed:
            return
        try:
            self.flush()
        except BaseException:
            self._pipeline.abort()
            raise
        finally:
            self._closed = True
        self._pipeline.finish()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif not self._closed:
            self._closed = True
            self._pipeline.abort()

    def _start_batch(self) -> None:
        self._ids: list[str] = []
        self._vectors: list[bytes | memoryview[Any]] = []
        self._payloads: list[bytes] = []
        self._payload_bytes = 0
        self._has_payloads = False
        self._limit = max(1, min(self._batch_size, _MAX_BATCH_BYTES // (self._width or FLOAT_BYTES)))

    def _add_payload(self, payload: Payload) -> None:
        encoded = encode_payload(payload, self._rows_sent + len(self._ids))
        if not self._has_payloads:
            self._has_payloads = True
            self._payloads = [_NULL] * len(self._ids)
        self._payloads.append(encoded)
        self._payload_bytes += len(encoded)
        if self._payload_bytes >= _MAX_BATCH_BYTES:
            self._limit = 1

    def _check_width(self, data: bytes) -> None:
        """The first vector sets the width; another one is refused here, where the caller still knows the row."""
        if self._width:
            raise InvalidArgument(
                f"this vector has {len(data) // FLOAT_BYTES} values, those before it {self._width // FLOAT_BYTES}",
                reason="RAGGED_VECTORS",
            )
        self._width = len(data)
        self._limit = max(1, min(self._batch_size, _MAX_BATCH_BYTES // max(self._width, FLOAT_BYTES)))

    def _send(self) -> None:
        if not self._ids:
            return
        self._first_rows[str(self._batches)] = self._rows_sent
        self._rows_sent += len(self._ids)
        self._pipeline.send(self._request())
        self._start_batch()
        self._take_results()

    def _request(self) -> EncodedUpsert:
        from holdfast.v1 import common_pb2, vector_pb2

        self._batches += 1
        head = vector_pb2.UpsertRequest(
            collection=self._collection,
            ids=self._ids,
            payloads=join_payloads(self._payloads) if self._has_payloads else b"",
            durability=common_pb2.DURABILITY_SYNC if self._sync else common_pb2.DURABILITY_UNSPECIFIED,
            request_id=f"{self._request_prefix}-{self._batches}",
        )
        return EncodedUpsert(head, self._vectors)

    def _take_results(self) -> None:
        try:
            while (result := self._pipeline.take(wait=False)) is not None:
                self.acknowledged += result.count
                self.last_result = result
                del self._first_rows[next(iter(self._first_rows))]
        except HoldfastError as error:
            raise self._told(error) from None

    def _raise(self) -> None:
        if self._closed:
            raise FailedPrecondition("the writer is closed", reason="CLOSED")
        self._take_results()
        failure = self._pipeline.failure
        assert failure is not None
        raise self._told(failure)

    def _told(self, failure: HoldfastError) -> HoldfastError:
        """The failure as a fresh exception, since it may be raised more than once, with rows as the caller counts."""
        metadata, message = dict(failure.metadata), failure.message
        row, first = metadata.get("row"), self._first_rows.get(metadata.get("batch", ""))
        if row is not None and first is not None:
            metadata["row"] = str(first + int(row))
            there, here = f"[{row}]", f"[{metadata['row']}]"
            message = message.replace(there, here, 1)
            if "field" in metadata:
                metadata["field"] = metadata["field"].replace(there, here, 1)
        return type(failure)(message, reason=failure.reason, hint=failure.hint, metadata=metadata)


def _encoded(vector: Vector) -> bytes:
    try:
        view = memoryview(vector)
    except (TypeError, ValueError):
        return encode_vector(vector)
    return view.tobytes() if view.format == "f" and view.ndim == 1 else encode_vector(vector)
