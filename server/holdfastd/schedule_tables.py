"""The ``[[schedule]]`` tables of the settings: which snapshots are made when, and which of them are kept.

    [[schedule]]
    name = "nightly"
    cron = "0 2 * * *"
    time_zone = "Europe/Berlin"     # UTC, if left out
    path = "/backups/daily"
    compress = true
    verify = 2                      # the level to which each is read back; not at all, if left out
    keep_daily = 14

A wrong table is refused with its number and name, and so is a key that nobody knows.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

from .engine.cron import CronLine
from .engine.description import check_description
from .engine.keeping import RetentionPolicy
from .engine.schedule import Schedule
from .engine.snapshot_request import SnapshotRequest
from .errors import InvalidArgument
from .format.urls import is_object_url, place_of, repeatable
from .format.verify_receipt import CHECKSUMS, LEVELS, RESTORE
from .storage.names import NAME_RULE, check_collection_name

SCHEDULE = "schedule"
MAX_SCHEDULES = 64
_COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
_WITHIN = re.compile(r"(?:\d{1,9}[smhd])+", re.ASCII)
_SPAN = re.compile(r"(\d+)([smhd])", re.ASCII)
_LONGEST_SECONDS = 10_000 * 366 * 86_400
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def schedules_of(tables: object) -> tuple[Schedule, ...]:
    """The schedules that the tables describe. Raises ValueError, which says where and what is allowed."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ValueError(f"{SCHEDULE} is no list of tables: begin each with a line [[{SCHEDULE}]]")
    if len(tables) > MAX_SCHEDULES:
        raise ValueError(f"there are {len(tables)} schedules, the limit is {MAX_SCHEDULES}")
    found: dict[str, Schedule] = {}
    for number, table in enumerate(tables, 1):
        where = f"{SCHEDULE} {number}" + (f" ({table['name']!r})" if "name" in table else "")
        try:
            schedule = _schedule(table)
            if schedule.name in found:
                raise ValueError("name is that of another schedule, and must be its own")
        except (ValueError, InvalidArgument) as error:
            raise ValueError(f"{where}: {error}") from None
        found[schedule.name] = schedule
    return tuple(found.values())


def _schedule(table: Mapping[str, object]) -> Schedule:
    unknown = table.keys() - _KEYS.keys()
    if unknown:
        raise ValueError(f"the key {min(unknown)!r} is not known; known are {', '.join(_KEYS)}")
    for key in ("name", "cron"):
        if key not in table:
            raise ValueError(f"{key} is missing")
    values: dict[str, Any] = {}
    for key, value in table.items():
        try:
            values[key] = _KEYS[key](value)
        except InvalidArgument as error:
            raise ValueError(f"{key} is {repeatable(value)}: {error.hint or error.message}") from None
        except ValueError as error:
            raise ValueError(f"{key} is {repeatable(value)}, it must be {error}") from None
    cron = CronLine(values["cron"], values.get("time_zone", "UTC"))
    cron.check()
    counts = {rule: values.get(f"keep_{rule}", 0) for rule in _COUNTS}
    policy = RetentionPolicy(**counts, within_us=values.get("keep_within", 0))
    request = SnapshotRequest(
        collection=values.get("collection"),
        path=values.get("path"),
        compress=values.get("compress", False),
        incremental=values.get("incremental", False),
        description=values.get("description", ""),
    )
    kept = None if policy.is_empty else policy
    return Schedule(values["name"], cron, request, kept, values.get("verify", 0))


def _name(value: object) -> str:
    text = _text(value)
    try:
        return check_collection_name(text, field="name")
    except InvalidArgument:
        raise ValueError(NAME_RULE) from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a text that is not empty")
    return value


def _path(value: object) -> str:
    text = _text(value)
    place = place_of(text)
    if is_object_url(place):
        return place
    if not posixpath.isabs(place) or "\0" in place:
        raise ValueError("an absolute path, or the URL of an object store")
    return posixpath.normpath(place)


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 31:
        raise ValueError("a number of 1 or more")
    return value


def _level(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not CHECKSUMS <= value <= RESTORE:
        levels = ", ".join(f"{level} ({LEVELS[level]})" for level in range(CHECKSUMS, RESTORE + 1))
        raise ValueError(f"the level of a verification that reads every byte: {levels}")
    return value


def _within(value: object) -> int:
    spans = _SPAN.findall(value) if isinstance(value, str) and _WITHIN.fullmatch(value) else []
    seconds = sum(int(count) * _SECONDS[unit] for count, unit in spans)
    if not 0 < seconds <= _LONGEST_SECONDS:
        raise ValueError('a duration of at most 10,000 years, such as "48h", "7d" or "1d12h"')
    return seconds * 1_000_000


_KEYS: Mapping[str, Callable[[object], Any]] = {
    "name": _name,
    "cron": _text,
    "time_zone": _text,
    "collection": _name,
    "path": _path,
    "compress": _switch,
    "incremental": _switch,
    "verify": _level,
    "description": lambda value: check_description(_text(value)),
    **{f"keep_{rule}": _count for rule in _COUNTS},
    "keep_within": _within,
}
