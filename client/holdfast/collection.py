"""A handle on one collection: writing, reading and searching its points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from holdfast.checks import INT32_MAX, UINT32_MAX, text, text_or_none, texts, whole_number
from holdfast.connection import Connection, request_id_of
from holdfast.encoded import EncodedUpsert
from holdfast.enums import from_word
from holdfast.errors import InvalidArgument
from holdfast.payloads import Payload, encode_payloads
from holdfast.records import Hit, Record, UpdateResult, WriteResult, hits_of, records_of
from holdfast.vectors import Vector, Vectors, encode_matrix, encode_vector

if TYPE_CHECKING:
    from holdfast.documents import Document
    from holdfast.v1 import common_pb2, vector_pb2
    from holdfast.writer import Writer

Batch = tuple[Sequence[str], Vectors, Sequence[Payload] | None]
"""What `Collection.upsert` takes: ids, vectors, payloads."""


class Collection:
    """One collection, by name or alias. Cheap to make; whether it exists shows at the first call."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    @property
    def connection(self) -> Connection:
        """The connection that calls go over."""
        return self._connection

    def __repr__(self) -> str:
        return f"Collection({self.name!r} at {self._connection.address})"

    def upsert(
        self,
        ids: Sequence[str],
        vectors: Vectors,
        payloads: Sequence[Payload] | None = None,
        *,
        sync: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> WriteResult:
        """Insert points or replace those whose id exists: one atomic operation, visible when this returns.

        vectors: an (n, d) float32 buffer or n lists; payloads: dicts or JSON bytes, None for none. Of an id given twice
        the last row wins. ``sync`` asks for the disk whatever the store's mode. The result says whether it is durable.
        ``validate_only`` checks everything and writes nothing.
        """
        batch = upsert_request(self.name, ids, vectors, payloads, sync=sync, request_id=request_id)
        batch.head.validate_only = validate_only
        return self.send(batch)

    def send(self, batch: EncodedUpsert) -> WriteResult:
        """`upsert` of a batch that is encoded already."""
        response = self._connection.call(self._connection.upsert, batch.unary())
        return WriteResult(response.sequence, response.count, response.durable)

    def upsert_stream(self, batches: Iterable[Batch], *, max_in_flight: int = 4) -> Iterator[WriteResult]:
        """Upsert batch after batch with a few in flight; yields one `WriteResult` per batch, in order.

        batches: any iterable of (ids, vectors, payloads), consumed as results are taken. Each batch is an operation of
        its own. A batch that fails raises its error, with ``metadata["batch"]`` (from 0); later ones in flight may be
        written.
        """
        from holdfast.pipeline import stream_batches

        requests = (upsert_request(self.name, *batch) for batch in batches)
        return stream_batches(self._connection, requests, max_in_flight)

    def writer(self, batch_size: int = 1000, *, max_in_flight: int = 8, sync: bool = False) -> Writer:
        """A context manager whose ``upsert(id, vector, payload)`` gathers points and streams them in batches."""
        from holdfast.writer import Writer

        return Writer(self._connection, self.name, batch_size, max_in_flight=max_in_flight, sync=sync)

    def update(
        self,
        ids: Sequence[str],
        vectors: Vectors | None = None,
        payloads: Sequence[Payload] | None = None,
        *,
        merge: bool = False,
        sync: bool = False,
        validate_only: bool = False,
        request_id: str | None = None,
    ) -> UpdateResult:
        """Change the vectors or the payloads of existing points; what is None stays. NotFound writes nothing.

        ``merge`` lays each payload over the stored one as a JSON merge patch: objects merge, None removes a key.
        ``validate_only`` checks everything and writes nothing: the result has no versions then.
        """
        from holdfast.v1 import vector_pb2

        ids = texts(_ids(ids), "ids")
        modes = vector_pb2.UpdateRequest.PayloadMode
        request = vector_pb2.UpdateRequest(
            collection=self.name,
            ids=ids,
            vectors=b"" if vectors is None else bytes(encode_matrix(vectors, count=len(ids)).data),
            payloads=encode_payloads(payloads, len(ids)),
            payload_mode=modes.PAYLOAD_MODE_MERGE if merge else modes.PAYLOAD_MODE_REPLACE,
            durability=_durability(sync),
            request_id=request_id_of(request_id),
            validate_only=validate_only,
        )
        done = self._connection.call(self._connection.vectors.Update, request)
        return UpdateResult(done.sequence, done.count, done.durable, tuple(done.versions))

    def delete(
        self,
        ids: Sequence[str] | None = None,
        *,
        filter: str | None = None,
        all: bool = False,
        expected_count: int | None = None,
        validate_only: bool = False,
        sync: bool = False,
        request_id: str | None = None,
    ) -> WriteResult:
        """Delete points by ids, by filter expression, or all of them; ``count`` says how many went.

        Unknown ids are no error. expected_count: Aborted unless exactly so many would go.
        """
        from holdfast.v1 import vector_pb2

        if [ids is not None, filter is not None, all].count(True) != 1:
            raise InvalidArgument("delete needs exactly one of: ids, filter, all=True", reason="AMBIGUOUS_DELETE")
        if ids is not None and not len(_ids(ids)):
            return WriteResult(0, 0, True)
        request = vector_pb2.DeleteRequest(
            collection=self.name,
            ids=texts(_ids(ids), "ids") if ids is not None else (),
            filter=text_or_none(filter, "filter"),
            all=all,
            confirm=all,
            expected_count=None if expected_count is None else whole_number(expected_count, "expected_count"),
            validate_only=validate_only,
            durability=_durability(sync),
            request_id=request_id_of(request_id),
        )
        done = self._connection.call(self._connection.vectors.Delete, request)
        return WriteResult(done.sequence, done.count, done.durable)

    def get(
        self, ids: Sequence[str] | str, *, include_vector: bool = True, include_payload: bool = True
    ) -> list[Record]:
        """Points by id, in the order asked, without those that do not exist; all of one moment."""
        from holdfast.v1 import vector_pb2

        wanted = texts([ids] if isinstance(ids, str) else _ids(ids), "ids")
        if not wanted:
            return []
        request = vector_pb2.GetRequest(
            collection=self.name, ids=wanted, omit_vector=not include_vector, omit_payload=not include_payload
        )
        return records_of(self._connection.call(self._connection.vectors.Get, request).points)

    def count(self, filter: str | None = None) -> int:
        """How many points there are, or how many match a filter expression."""
        from holdfast.v1 import vector_pb2

        request = vector_pb2.CountRequest(collection=self.name, filter=text_or_none(filter, "filter"))
        return self._connection.call(self._connection.vectors.Count, request).count

    def scroll(
        self,
        filter: str | None = None,
        *,
        order: str = "id",
        offset: int = 0,
        limit: int | None = None,
        include_vector: bool = False,
        include_payload: bool = True,
        page_size: int = 1000,
    ) -> Iterator[Record]:
        """Every point, page by page as it is consumed, by ``"id"`` or by ``"timestamp"`` of the last write.

        Each page is one moment; a point that is not touched meanwhile is seen exactly once.
        """
        left, token, skip = limit, "", offset
        while left is None or left > 0:
            size = page_size if left is None else min(page_size, left)
            page = self.scroll_page(
                filter, order=order, offset=skip, page_size=size, page_token=token,
                include_vector=include_vector, include_payload=include_payload,
            )  # fmt: skip
            yield from records_of(page.points)
            left = None if left is None else left - len(page.points.ids)
            token, skip = page.next_page_token, 0
            if not token:
                return

    def scroll_page(
        self,
        filter: str | None = None,
        *,
        order: str = "id",
        offset: int = 0,
        page_size: int = 100,
        page_token: str = "",
        include_vector: bool = False,
        include_payload: bool = True,
        include_total: bool = False,
    ) -> vector_pb2.ScrollResponse:
        """One page as the daemon sends it, with the token of the next."""
        from holdfast.v1 import vector_pb2

        request = vector_pb2.ScrollRequest(
            collection=self.name,
            page_size=whole_number(page_size, "page_size", 1, INT32_MAX),
            page_token=page_token,
            offset=whole_number(offset, "offset"),
            filter=text_or_none(filter, "filter"),
            order=from_word(vector_pb2.ScrollOrder, order, "SCROLL_ORDER_", "scroll order"),
            include_vector=include_vector,
            omit_payload=not include_payload,
            include_total=include_total,
        )
        return self._connection.call(self._connection.vectors.Scroll, request)

    def export(
        self, filter: str | None = None, *, include_vector: bool = True, include_payload: bool = True
    ) -> Iterator[Record]:
        """Every point as of one moment, in the order written, streamed; writes go on meanwhile."""
        for batch in self.export_batches(filter, include_vector=include_vector, include_payload=include_payload):
            yield from records_of(batch)

    def export_batches(
        self,
        filter: str | None = None,
        *,
        include_vector: bool = True,
        include_payload: bool = True,
        batch_size: int = 1000,
    ) -> Iterator[vector_pb2.PointColumns]:
        """As `export`, in batches of columns as the daemon sends them."""
        from holdfast.v1 import vector_pb2

        request = vector_pb2.ExportRequest(
            collection=self.name,
            filter=text_or_none(filter, "filter"),
            omit_vector=not include_vector,
            omit_payload=not include_payload,
            batch_size=whole_number(batch_size, "batch_size", 1, INT32_MAX),
        )
        for response in self._connection.stream(self._connection.vectors.Export, request):
            yield response.points

    def search(
        self,
        query: Vector | None = None,
        k: int = 10,
        filter: str | None = None,
        *,
        query_id: str | None = None,
        threshold: float | None = None,
        exact: bool = False,
        ef: int | None = None,
        include_vector: bool = False,
        include_payload: bool = True,
    ) -> list[Hit]:
        """The k nearest points, nearest first, to a vector or to the point ``query_id`` (which is left out).

        threshold: only points at least this near; exact: compare with every point; ef: candidates an index looks at.
        """
        from holdfast.v1 import vector_pb2

        if (query is None) == (query_id is None):
            raise InvalidArgument("search needs exactly one of: query, query_id", reason="AMBIGUOUS_QUERY")
        request = vector_pb2.SearchRequest(
            collection=self.name,
            k=whole_number(k, "k", 1, UINT32_MAX),
            filter=text_or_none(filter, "filter"),
            threshold=threshold,
            exact=exact,
            ef=0 if ef is None else whole_number(ef, "ef", 1, UINT32_MAX),
            include_vector=include_vector,
            omit_payload=not include_payload,
        )
        if query_id is not None:
            request.query_id = text(query_id, "query_id")
        else:
            request.vector = encode_vector(query, "query")
        return hits_of(self._connection.call(self._connection.vectors.Search, request))

    def search_batch(
        self,
        queries: Vectors,
        k: int = 10,
        filter: str | None = None,
        *,
        threshold: float | None = None,
        exact: bool = False,
        ef: int | None = None,
        include_vector: bool = False,
        include_payload: bool = True,
    ) -> list[list[Hit]]:
        """As `search` for each row of ``queries``, at one moment: one list of hits per query, in their order."""
        from holdfast.v1 import vector_pb2

        matrix = encode_matrix(queries)
        if not matrix.count:
            return []
        request = vector_pb2.SearchBatchRequest(
            collection=self.name,
            queries=bytes(matrix.data),
            k=whole_number(k, "k", 1, UINT32_MAX),
            filter=text_or_none(filter, "filter"),
            threshold=threshold,
            exact=exact,
            ef=0 if ef is None else whole_number(ef, "ef", 1, UINT32_MAX),
            include_vector=include_vector,
            omit_payload=not include_payload,
        )
        response = self._connection.call(self._connection.vectors.SearchBatch, request)
        return [hits_of(result) for result in response.results]

    def info(self) -> Document:
        """The collection's description, as ``collection info``."""
        from holdfast.collections import Collections

        return Collections(self._connection).get(self.name)

    def stats(self) -> Document:
        """The collection's figures, as ``collection stats``."""
        from holdfast.collections import Collections

        return Collections(self._connection).stats(self.name)


def upsert_request(
    collection: str,
    ids: Sequence[str],
    vectors: Vectors,
    payloads: Sequence[Payload] | None = None,
    *,
    sync: bool = False,
    request_id: str | None = None,
) -> EncodedUpsert:
    """Encode one batch. InvalidArgument for what cannot be sent."""
    from holdfast.v1 import vector_pb2

    ids = _ids(ids)
    matrix = encode_matrix(vectors, count=len(ids))
    payload_block, request_id = encode_payloads(payloads, len(ids)), request_id_of(request_id)
    try:
        head = vector_pb2.UpsertRequest(
            collection=collection,
            ids=ids,
            payloads=payload_block,
            durability=_durability(sync),
            request_id=request_id,
        )
    except (TypeError, UnicodeEncodeError) as error:
        raise _bad_ids(ids, error) from None
    return EncodedUpsert(head, [matrix.data])


def _ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str | bytes):
        raise InvalidArgument("ids came as one string", reason="BAD_ID", hint=f"pass a list: [{ids!r}]")
    return ids if isinstance(ids, list) else list(ids)


def _bad_ids(ids: Sequence[object], error: Exception) -> InvalidArgument:
    row, problem, hint = None, f"an id cannot be sent: {error}", None
    for number, value in enumerate(ids):
        if not isinstance(value, str):
            row, problem = number, f"ids[{number}] is {type(value).__name__}, not a string"
            hint = "ids are text of 1 to 512 bytes: convert numbers with str()"
            break
        if any("\ud800" <= character <= "\udfff" for character in value):
            row, problem = number, f"ids[{number}] cannot be sent as UTF-8: it has half a surrogate pair"
            break
    return InvalidArgument(problem, reason="BAD_ID", hint=hint, metadata={} if row is None else {"row": str(row)})


def _durability(sync: bool) -> common_pb2.Durability.ValueType:
    from holdfast.v1 import common_pb2

    return common_pb2.DURABILITY_SYNC if sync else common_pb2.DURABILITY_UNSPECIFIED
