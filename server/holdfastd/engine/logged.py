"""An operation as it stands in the log."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.wal_reader import LoggedRecord
from .change_codec import Logged, decode_change


@dataclass(frozen=True, slots=True)
class LoggedOperation:
    """One record; what it says is decoded when it is asked for."""

    record: LoggedRecord

    @property
    def logged(self) -> Logged:
        """Who asked for which change. Raises ValueError where that is none."""
        return decode_change(self.record.payload)
