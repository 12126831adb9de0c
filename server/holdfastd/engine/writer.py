"""From a change to its outcome: encode it, submit it, and do both again where the collection was replaced meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from ..format.checksum import crc32c
from .change_codec import encode_change
from .changes import Change, UpsertRows
from .committer import Committer
from .tickets import Caller, Expectation, Outcome, Submission


def make_submission(
    change: Change,
    caller: Caller,
    *,
    logged: bool = True,
    barrier: bool = False,
    check: Callable[[], None] | None = None,
    expects: Expectation | None = None,
    origin_sequence: int = 0,
    after_sequence: int = 0,
    payload_block: bytes | None = None,
    body: bytes | None = None,
    rows_sent: int = 0,
    while_waiting: Callable[[], None] | None = None,
) -> Submission:
    """A change ready for the committer: encoded, its payload's CRC computed. Pure; runs in the caller's thread.

    ``payload_block`` and ``body`` as ``encode_change`` has them.
    """
    submission = Submission(
        change=change,
        request_id=caller.request_id,
        request_digest=caller.request_digest,
        sync=caller.sync,
        barrier=barrier or expects is not None,
        check=check,
        expects=expects,
        origin_sequence=origin_sequence,
        after_sequence=after_sequence,
        rows_sent=rows_sent,
        while_waiting=while_waiting,
    )
    encode_into(submission, change, caller, logged=logged, payload_block=payload_block, body=body)
    return submission


def encode_into(
    submission: Submission,
    change: Change,
    caller: Caller,
    *,
    logged: bool,
    payload_block: bytes | None,
    body: bytes | None = None,
) -> None:
    """Make ``submission`` say ``change``: its record's payload and CRC, or none where it is not logged. Pure."""
    parts: list[bytes | memoryview] = []
    if logged:
        parts += encode_change(
            change,
            actor=caller.actor,
            request_id=caller.request_id,
            request_digest=caller.request_digest,
            origin_sequence=submission.origin_sequence,
            payload_block=payload_block,
            body=body,
            rows_left_out=max(0, submission.rows_sent - len(change.rows)) if isinstance(change, UpsertRows) else 0,
        )
    submission.change, submission.parts = change, parts
    submission.size = sum(map(len, parts))
    submission.payload_crc = crc32c(*parts) if parts else 0


def commit(committer: Committer, submission: Submission, *, validate_only: bool = False) -> Outcome:
    """Commit and wait, or with ``validate_only`` ask what that would do. Blocks; raises what the committer answers."""
    if validate_only:
        return committer.foresee(submission)
    outcome: Outcome = committer.submit(submission)
    return outcome
