"""An operation as it stands in the log: its record, and what that says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import Corruption
from ..storage.wal_files import DAMAGE_HINT
from ..storage.wal_reader import LoggedRecord
from .change_codec import Logged, decode_change

T = TypeVar("T")

NO_OPERATION = "the record's checksums hold, but it is no operation"


@dataclass(frozen=True, slots=True)
class LoggedOperation:
    """One record; what it says is decoded when it is asked for."""

    record: LoggedRecord

    @property
    def logged(self) -> Logged:
        """Who asked for which change. Raises Corruption where that is none."""
        return decode_record(self.record)


def decode_record(record: LoggedRecord, *, hint: str = DAMAGE_HINT) -> Logged:
    """What a record says. Raises Corruption where its checksums hold and it is no operation, UnsupportedFormat."""
    return decoded_by(decode_change, record, hint=hint)


def decoded_by(decode: Callable[[memoryview], T], record: LoggedRecord, *, hint: str = DAMAGE_HINT) -> T:
    """The same, as far as ``decode`` looks at it."""
    try:
        return decode(record.payload)
    except ValueError as error:
        raise Corruption(f"{NO_OPERATION}: {error}", path=record.path, offset=record.offset, hint=hint) from error
