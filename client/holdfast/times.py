"""Points in time as people write them, and the targets of replay and restore. Pure: ``now`` is an argument.

A time is RFC 3339 (``2026-01-20T10:00:00Z``), a date, ``now``, ``-2h``, ``10:32``, ``today 10:32``, ``yesterday 10:32``
or ``@1768903200`` (seconds of the epoch). What has no offset is in ``now``'s time zone; a ``now`` without one stands
for the system's zone, summer time included. A target is a sequence (digits only), a time, or else the name of a mark.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple

from holdfast.units import parse_duration

_ACCEPTED = "write 2026-01-20T10:00:00Z, -2h, 'yesterday 10:32' or @1768903200"
# Compiled at their first use (`re` keeps them): compiling all of them would slow every start.
_RELATIVE_DAY = r"(today|yesterday)(?:[ t]+([0-9:.]+))?"
_CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
_ABSOLUTE = (
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?"
    r"\s*(Z|z|UTC|[+-][0-9]{2}:?[0-9]{2})?"
)
_MARK = r"[A-Za-z][A-Za-z0-9._-]{0,127}"


class Target(NamedTuple):
    """Where replay or restore starts or stops: exactly one of the three is set. ``time`` is UTC."""

    sequence: int | None = None
    time: datetime | None = None
    mark: str | None = None

    def __str__(self) -> str:
        if self.time is not None:
            return format_time(self.time)
        return self.mark if self.mark is not None else str(self.sequence)


def parse_time(text: str, *, now: datetime) -> datetime:
    """The moment that ``text`` names, in UTC. ValueError says what is accepted."""
    stripped = text.strip()
    moment = _relative(stripped, now) or _absolute(stripped, now)
    if moment is None:
        raise ValueError(f"{text!r} is not a time: {_ACCEPTED}")
    return moment.astimezone(UTC)


def parse_target(text: str, *, now: datetime) -> Target:
    """A sequence, a time or a mark; the names of marks can never read as one of the other two."""
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit():
        return Target(sequence=_bounded(int(stripped)))
    try:
        return Target(time=parse_time(stripped, now=now))
    except ValueError:
        if re.fullmatch(_MARK, stripped) and stripped.lower() not in ("latest", "today", "yesterday", "now"):
            return Target(mark=stripped)
        raise ValueError(f"{text!r} is neither a sequence nor a mark's name nor a time: {_ACCEPTED}") from None


def format_time(moment: datetime) -> str:
    """RFC 3339 in UTC: whole seconds plain, otherwise with microseconds."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S") + (f".{utc.microsecond:06d}" if utc.microsecond else "") + "Z"


def _bounded(sequence: int) -> int:
    if sequence >= 2**64:
        raise ValueError(f"{sequence} is too large for a sequence")
    return sequence


def _relative(text: str, now: datetime) -> datetime | None:
    lowered = text.lower()
    if lowered == "now":
        return now
    if text.startswith("-"):
        return now.astimezone(UTC) - parse_duration(text[1:])
    if text.startswith("@"):
        return _epoch(text)
    if day := re.fullmatch(_RELATIVE_DAY, lowered):
        date = now.date() - timedelta(days=1 if day[1] == "yesterday" else 0)
        return _localize(datetime.combine(date, _clock(day[2] or "00:00")), now)
    if re.fullmatch(_CLOCK, text):
        return _localize(datetime.combine(now.date(), _clock(text)), now)
    return None


def _localize(naive: datetime, now: datetime) -> datetime:
    return naive.replace(tzinfo=now.tzinfo) if now.tzinfo is not None else naive.astimezone()


def _epoch(text: str) -> datetime:
    match = re.fullmatch(r"@([0-9]{1,11})(?:\.([0-9]{1,6}))?", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time: after @ come seconds of the epoch")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=int(match[1]), microseconds=_microseconds(match[2]))


def _clock(text: str) -> time:
    match = re.fullmatch(_CLOCK, text)
    if match is None:
        raise ValueError(f"{text!r} is not a time of day: write 10:32 or 10:32:05")
    try:
        return time(int(match[1]), int(match[2]), int(match[3] or 0), _microseconds(match[4]))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time of day: {error}") from None


def _absolute(text: str, now: datetime) -> datetime | None:
    match = re.fullmatch(_ABSOLUTE, text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    try:
        naive = datetime(year, month, day, hour, minute, second, _microseconds(match[7]))
        if match[8] is None:
            return _localize(naive, now)
        offset = "+0000" if match[8] in ("Z", "z", "UTC") else match[8]
        return datetime.strptime(f"{naive.isoformat()} {offset}", _iso_format(naive))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time: {error}") from None


def _iso_format(naive: datetime) -> str:
    return "%Y-%m-%dT%H:%M:%S.%f %z" if naive.microsecond else "%Y-%m-%dT%H:%M:%S %z"


def _microseconds(digits: str | None) -> int:
    return int((digits or "0")[:6].ljust(6, "0"))
