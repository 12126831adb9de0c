"""The marks in a log that is not the store's own: nobody but its records knows them."""

from __future__ import annotations

from ..errors import NotFound
from ..model import Mark
from ..storage.wal_reader import read_log
from .changes import SetMark
from .log_source import LogSource
from .logged import decode_record

MOST_PAYLOAD_BYTES = 1024
"""Of a mark: two names, a request id and numbers. What is longer is not decoded."""


def find_mark_in(source: LogSource, name: str) -> Mark:
    """The newest mark of this name. Reads the whole log. Raises NotFound, Corruption."""
    found = None
    records = read_log(
        source.fs,
        source.directories,
        store_id=source.store_id,
        upto_synced=source.upto_synced,
        allow_gaps=True,
    )
    for record in records:
        if len(record.payload) <= MOST_PAYLOAD_BYTES and decode_record(record).change == SetMark(name):
            found = Mark(name, record.sequence, record.timestamp_us)
    if found is None:
        raise NotFound(
            f"the log in {', '.join(source.directories)} has no mark {name!r}",
            reason="MARK_NOT_FOUND",
            hint="name a time or a sequence, as `holdfast storage wal dump --path` shows them",
            mark=name,
        )
    return found
