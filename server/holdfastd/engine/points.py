"""Points by command: upsert, update, delete, and every way of reading them.

Whoever has to decide something from what is stored (update, delete by filter) computes it from a view and names the
sequences it saw; when somebody else was faster, the committer gives it back and it is computed again (RULES 15).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import Aborted, InvalidArgument, NotFound
from ..format.norms import row_norms
from ..format.operation import hash_ids, hash_rows
from ..format.payload_limits import accept_payloads
from ..format.payloads import MAX_POINT_PAYLOAD_BYTES, merge_patch
from ..model import CollectionSpec, Float32Array, Hit, Record, Rows, StorageKind, Uint64Array
from . import prepare, read, writer
from .apply import Applier
from .changes import DeleteIds, Truncate, UpsertRows
from .collection import Collection
from .committer import Committer
from .filter import Filter, parse_filter
from .meters import MeteredTicket, Meters
from .quarantine import require_writable
from .reading import Reading
from .tickets import Caller, Expectation, Outcome, Submission
from .view import View

MAX_ATTEMPTS = 16
"""How often a change computed from a view is computed again before the caller is told to retry."""


@dataclass(frozen=True, slots=True)
class Points:
    """See the module. Thread-safe; reads never wait for writes; writes block until acknowledged."""

    applier: Applier
    committer: Committer
    meters: Meters

    # Writing --------------------------------------------------------------------------------------------------------

    def prepare_upsert(
        self, collection: str, ids: Sequence[str], vectors: Float32Array, payload_block: bytes, *, caller: Caller
    ) -> Submission:
        """Validate, hash and encode a batch, ready for ``commit``. vectors: (n, d) float32; payloads: one JSON array.

        Raises InvalidArgument naming row and field, or NotFound. Does not block; nothing is logged yet.
        """
        # What was done before is told again, whatever has become of the collection since.
        known = self.committer.remembers(caller)
        target = None if known else self.applier.catalog.resolve(collection)
        spec = _fitting(collection, vectors) if target is None else target.spec
        rows = prepare.prepare_rows(spec, ids, vectors, payload_block)
        if target is not None and target.payload_check is not None:
            target.payload_check.check(payload_block, len(ids))
        caller = _asking_upsert(caller, collection, rows, len(ids))
        block = payload_block if len(rows) == len(ids) else None
        change = UpsertRows(spec.id, rows)
        if target is None:
            submission = writer.make_submission(change, caller, logged=False, rows_sent=len(ids))
        else:
            submission = self._submission(target, change, caller, payload_block=block, rows_sent=len(ids))

        def follow() -> None:
            heir = self._heir(submission, collection, rows)
            if heir is None:
                return
            if heir.payload_check is not None:
                heir.payload_check.check(payload_block, len(ids))
            logged = heir.spec.storage is not StorageKind.MEMORY
            change = UpsertRows(heir.spec.id, rows)
            writer.encode_into(submission, change, caller, logged=logged, payload_block=block)

        submission.check = follow
        return submission

    def commit(self, submission: Submission, *, validate_only: bool = False) -> Outcome:
        """Commit a prepared batch, or say what that would do. Blocks until it is acknowledged."""
        return writer.commit(self.committer, submission, validate_only=validate_only)

    def commit_nowait(self, submission: Submission) -> None:
        """Hand a prepared batch to the committer; its outcome comes on ``submission.ticket``, set by this call."""
        assert isinstance(submission.change, UpsertRows)
        submission.ticket = MeteredTicket(self.meters.of(submission.change.collection_id).insert)
        self.committer.submit_nowait(submission)

    def upsert(
        self,
        collection: str,
        ids: Sequence[str],
        vectors: Float32Array,
        payload_block: bytes,
        *,
        caller: Caller,
        validate_only: bool = False,
    ) -> Outcome:
        """Write a batch: all of it or nothing. The store's mode says what acknowledged means."""
        submission = self.prepare_upsert(collection, ids, vectors, payload_block, caller=caller)
        assert isinstance(submission.change, UpsertRows)
        meter = self.meters.of(submission.change.collection_id).insert
        begun_ns = meter.begin()
        outcome = self.commit(submission, validate_only=validate_only)
        meter.end(begun_ns)
        return outcome

    def update(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        vectors: Float32Array | None,
        payload_block: bytes,
        merge: bool,
        caller: Caller,
        validate_only: bool = False,
    ) -> Outcome:
        """Change points that exist: new vectors (n, d), new payloads (null: stays), or payloads merged (RFC 7396).

        Raises NotFound naming the ids that do not exist; then nothing is written.
        """
        keys = prepare.check_ids(ids)
        prepare.check_distinct(keys)
        payloads = accept_payloads(payload_block, len(keys))
        if vectors is None and not payload_block:
            raise InvalidArgument(
                "neither a vector nor a payload is given", field="vectors", hint="send what to change"
            )
        floats = None if vectors is None else vectors.tobytes()
        caller = caller.asking("update", collection, b"\0".join(keys), floats, payload_block, merge)

        def once() -> Outcome:
            target = self.applier.catalog.resolve(collection)
            if vectors is not None:
                prepare.check_vectors(target.spec, vectors, len(keys))
            old = Reading(target.view, self.meters).existing(ids)
            rows = _updated_rows(keys, old, vectors, payloads, merge)
            if target.payload_check is not None:
                target.payload_check.check_changed(rows.payloads, payloads)
            expects = _expectation(keys, rows.id_hashes, [record.sequence for record in old])
            submission = self._submission(target, UpsertRows(target.spec.id, rows), caller, expects=expects)
            return self.commit(submission, validate_only=validate_only)

        return self._again_if_stale(caller, once, validate_only=validate_only)

    def delete_ids(
        self,
        collection: str,
        ids: Sequence[str],
        *,
        caller: Caller,
        expected_count: int | None = None,
        validate_only: bool = False,
    ) -> Outcome:
        """Delete points by id, or say how many would go; unknown ids are no error. ``count`` is how many existed."""
        keys = list(dict.fromkeys(prepare.check_ids(ids)))
        hashes = hash_ids(keys)
        expected = () if expected_count is None else (expected_count,)
        caller = caller.asking("delete", collection, b"\0".join(keys), *expected)

        def once() -> Outcome:
            target = self.applier.catalog.resolve(collection)

            def check() -> None:
                _check_count(int(np.count_nonzero(target.sequences_of(keys, hashes))), expected_count)

            also = None if expected_count is None else check
            submission = self._submission(target, DeleteIds(target.spec.id, keys, hashes), caller, also=also)
            return writer.commit(self.committer, submission, validate_only=validate_only)

        return self._again_if_replaced(caller, once, validate_only=validate_only)

    def delete_where(
        self,
        collection: str,
        filter_text: str,
        *,
        caller: Caller,
        expected_count: int | None = None,
        validate_only: bool = False,
    ) -> Outcome:
        """Delete the points that a filter accepts, as they are at one moment: none that appears meanwhile.

        With ``validate_only`` say how many would go.
        """
        filter = parse_filter(filter_text)
        caller = caller.asking("delete where", collection, filter_text, expected_count)

        def once() -> Outcome:
            target = self.applier.catalog.resolve(collection)
            view = target.view
            found = [record for batch in _matching(view, filter) for record in batch]
            _check_count(len(found), expected_count)
            if not found and not caller.request_id:
                nothing = Outcome(view.sequence, 0, durable=True)
                return nothing.as_plan() if validate_only else nothing
            # With a request id the answer is logged even if nothing goes: the request sent again must find it.
            keys = [record.id.encode() for record in found]
            change = DeleteIds(target.spec.id, keys, hash_ids(keys))
            expects = _expectation(keys, change.id_hashes, [record.sequence for record in found])
            submission = self._submission(target, change, caller, expects=expects)
            return writer.commit(self.committer, submission, validate_only=validate_only)

        return self._again_if_stale(caller, once, validate_only=validate_only)

    def truncate(
        self, collection: str, *, caller: Caller, expected_count: int | None = None, validate_only: bool = False
    ) -> Outcome:
        """Delete every point of a collection, or say how many would go. ``count`` is how many there were."""
        caller = caller.asking("truncate", collection, expected_count)

        def once() -> Outcome:
            target = self.applier.catalog.resolve(collection)

            def check() -> None:
                _check_count(target.count, expected_count)

            submission = self._submission(target, Truncate(target.spec.id), caller, also=check)
            return writer.commit(self.committer, submission, validate_only=validate_only)

        return self._again_if_replaced(caller, once, validate_only=validate_only)

    # Reading --------------------------------------------------------------------------------------------------------

    def reading(self, collection: str) -> Reading:
        """The collection as it is now, to be read as often as wanted. Raises NotFound."""
        return Reading(self.applier.catalog.resolve(collection).view, self.meters)

    def dimensions(self, collection: str) -> int:
        """Floats per vector of a collection. Raises NotFound."""
        return self.reading(collection).dimensions

    def answered(self, caller: Caller) -> bool:
        """Whether a request with this caller's id was carried out before: whatever has become of its collection."""
        return self.committer.remembers(caller)

    def get(self, collection: str, ids: Sequence[str], *, vectors: bool = True) -> list[Record]:
        """As ``Reading.get``, now."""
        return self.reading(collection).get(ids, vectors=vectors)

    def search(
        self,
        collection: str,
        queries: Float32Array,
        *,
        k: int,
        filter_text: str | None = None,
        threshold: float | None = None,
        vectors: bool = False,
    ) -> list[list[Hit]]:
        """As ``Reading.search``, now."""
        return self.reading(collection).search(
            queries, k=k, filter_text=filter_text, threshold=threshold, vectors=vectors
        )

    def count(self, collection: str, filter_text: str | None = None) -> int:
        """As ``Reading.count``, now."""
        return self.reading(collection).count(filter_text)

    def export(self, collection: str, filter_text: str | None = None) -> Iterator[list[Record]]:
        """As ``Reading.export``, now."""
        return self.reading(collection).export(filter_text)

    # Inside ---------------------------------------------------------------------------------------------------------

    def _submission(
        self,
        target: Collection,
        change: UpsertRows | DeleteIds | Truncate,
        caller: Caller,
        *,
        also: Callable[[], None] | None = None,
        expects: Expectation | None = None,
        payload_block: bytes | None = None,
        rows_sent: int = 0,
    ) -> Submission:
        """``also``: checked of the state that the group before has left, in a group of its own."""
        require_writable(target.spec, target.quarantined)

        def check() -> None:
            if self.applier.catalog.get(target.spec.id) is None:
                raise _Replaced(f"the collection {target.spec.name!r} was dropped or replaced meanwhile")
            if also is not None:
                also()

        return writer.make_submission(
            change,
            caller,
            logged=target.spec.storage is not StorageKind.MEMORY,
            barrier=also is not None,
            check=check,
            expects=expects,
            payload_block=payload_block,
            rows_sent=rows_sent,
        )

    def _heir(self, submission: Submission, collection: str, rows: Rows) -> Collection | None:
        """The collection that a batch goes to where its own was dropped or replaced since (RULES 18), else None.

        On the committing thread, so that the batch keeps its place among those of its stream. Raises NotFound,
        InvalidArgument where the vectors do not fit into the new one, or Corruption where that takes no writes.
        """
        assert isinstance(submission.change, UpsertRows)
        if self.applier.catalog.get(submission.change.collection_id) is not None:
            return None
        heir = self.applier.catalog.resolve(collection)
        require_writable(heir.spec, heir.quarantined)
        prepare.check_vectors(heir.spec, rows.vectors, len(rows))
        return heir

    def _again_if_replaced(
        self, caller: Caller, once: Callable[[], Outcome], *, validate_only: bool = False
    ) -> Outcome:
        """Do it again, once, when the name stands for another collection by now (RULES 18); NotFound if for none."""
        earlier = self.committer.earlier(caller, validate_only=validate_only)
        if earlier is not None:
            return earlier
        try:
            return once()
        except _Replaced:
            return once()

    def _again_if_stale(self, caller: Caller, once: Callable[[], Outcome], *, validate_only: bool = False) -> Outcome:
        earlier = self.committer.earlier(caller, validate_only=validate_only)
        if earlier is not None:
            return earlier
        for _ in range(MAX_ATTEMPTS):
            try:
                return once()
            except _Replaced:
                continue
            except Aborted as error:
                if error.reason != "STALE_READ":
                    raise
        raise Aborted(
            f"the points were written by others in each of {MAX_ATTEMPTS} attempts",
            reason="CONTENTION",
            hint="send the request again, or have one writer for these points",
        )


def _asking_upsert(caller: Caller, collection: str, rows: Rows, rows_sent: int) -> Caller:
    """The rows' hashes stand for the rows: nothing is hashed twice."""
    return caller.asking("upsert", collection, rows.hashes.tobytes(), rows_sent)


def _fitting(collection: str, vectors: Float32Array) -> CollectionSpec:
    """A collection that would take these vectors."""
    return CollectionSpec(uuid.UUID(int=0), collection, vectors.shape[-1])


class _Replaced(NotFound):
    """The collection that a change was prepared for is gone."""


def _check_count(count: int, expected: int | None) -> None:
    if expected is not None and count != expected:
        raise Aborted(
            f"{count} points would be deleted, {expected} were expected",
            reason="COUNT_MISMATCH",
            hint="count again, and repeat the command if the new number is right",
            count=count,
        )


def _matching(view: View, filter: Filter) -> Iterator[list[Record]]:
    for part, rows in read.scan(view, filter):
        yield read.records_at(part, rows, vectors=False)


def _expectation(keys: list[bytes], id_hashes: Uint64Array, sequences: list[int]) -> Expectation:
    return Expectation(keys, id_hashes, np.array(sequences, np.uint64))


def _updated_rows(
    keys: list[bytes],
    old: list[Record],
    vectors: Float32Array | None,
    payloads: list[bytes | None],
    merge: bool,
) -> Rows:
    if vectors is None:
        vectors = np.stack([record.vector for record in old if record.vector is not None])
    merged = [
        record.payload if payload is None else _merge(row, record.payload, payload) if merge else payload
        for row, (record, payload) in enumerate(zip(old, payloads, strict=True))
    ]
    hashes = hash_rows(keys, vectors, merged)
    return Rows(keys, vectors, merged, hash_ids(keys), hashes, row_norms(vectors))


def _merge(row: int, old: bytes | None, patch: bytes) -> bytes:
    """The payload after a JSON merge patch (RFC 7396)."""
    merged = merge_patch(old or b"{}", patch)
    if len(merged) > MAX_POINT_PAYLOAD_BYTES:
        raise InvalidArgument(
            f"payloads[{row}] as merged has {len(merged)} bytes, the limit is {MAX_POINT_PAYLOAD_BYTES}",
            field=f"payloads[{row}]",
            reason="INVALID_PAYLOAD",
            hint="keep large values elsewhere and a reference here",
            row=row,
        )
    return merged
