"""When a cron line comes due: a moment and the next one after it, both in microseconds since 1970 UTC.

The line is read in a time zone, UTC unless one is named. Where clocks go forward, what would come due in the hour that
is not there comes due once, right behind it; where they go back, what comes due in the hour that is there twice comes
due once, the first time, as with Debian's cron. Lines that come due every hour or minute are not concerned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class CronLine:
    """``minute hour day-of-month month day-of-week``, in a time zone such as ``Europe/Berlin``."""

    line: str
    time_zone: str = "UTC"

    def check(self) -> None:
        """Raise ValueError, saying what is allowed, for a line or a zone that does not exist."""
        if len(self.line.split()) != _FIELDS:
            raise ValueError(
                f"{self.line!r} is no cron line: write five fields, minute, hour, day of month, month and day of "
                "week, such as 0 2 * * *"
            )
        zone = self._zone()
        try:
            CronSim(self.line, datetime(2000, 1, 1, tzinfo=zone))
        except CronSimError as error:
            problem = str(error)
            raise ValueError(f"{self.line!r} is no cron line: {problem[:1].lower()}{problem[1:]}") from None
        if self.next_after(0) is None:
            raise ValueError(f"{self.line!r} never comes due")

    def next_after(self, time_us: int) -> int | None:
        """The first moment after ``time_us`` at which it comes due; None for none within 50 years."""
        seconds, below = divmod(time_us, 1_000_000)
        moment = (_EPOCH + timedelta(seconds=seconds)).astimezone(self._zone())
        for due in CronSim(self.line, moment):
            due_us = (due.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
            if due_us > seconds * 1_000_000 + below:
                return due_us
        return None

    def _zone(self) -> tzinfo:
        if self.time_zone == "UTC":
            return UTC
        try:
            return ZoneInfo(self.time_zone)
        except (OSError, ValueError, KeyError):
            raise ValueError(
                f"{self.time_zone!r} is no time zone of this machine: write UTC, or one such as Europe/Berlin (Debian "
                "has them in the package tzdata)"
            ) from None
