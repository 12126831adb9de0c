"""The documents that the specification of the command line shows, and how an answer is held to one of them.

``spec.json`` has them by command. Keys, their order and the types of values are always compared; values too, but for
those that a test calls free because they depend on the machine, the moment or the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

_DOCUMENTS = Path(__file__).with_name("spec.json")
_NAMES = (
    (re.compile(r"\bsnap-\d{4}-\d\d-\d\d-\d{6}(-\d+)?"), "snap-ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"), "TIME"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "DIGEST"),
)

CRON = {
    "daily": "0 2 * * * /storage snapshot create --compress --path /backups/daily",
    "hourly": "0 * * * * /storage snapshot create --incremental --compress --path /backups/hourly",
    "weekly": "0 2 * * 0 /storage snapshot create --compress --path /backups/weekly",
}
"""The specification's example of a backup strategy."""


def documents() -> dict[str, Any]:
    """Every document, by command."""
    loaded: dict[str, Any] = json.loads(_DOCUMENTS.read_text(encoding="utf-8"))
    return loaded


def shape(value: Any) -> Any:
    """Keys and types; the elements of a list by its first."""
    if isinstance(value, dict):
        return [(key, shape(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def differences(found: Any, expected: Any, free: Collection[str] = (), path: str = "") -> Iterator[str]:
    """Where ``found`` is not as ``expected``. ``free``: paths such as ``snapshots.0.size_bytes``, or last keys."""
    if type(found) is not type(expected):
        yield f"{path}: {found!r} is {type(found).__name__}, {expected!r} is {type(expected).__name__}"
    elif path in free or path.rpartition(".")[2] in free:
        return
    elif isinstance(expected, dict):
        if list(found) != list(expected):
            yield f"{path}: the keys are {list(found)}, not {list(expected)}"
        for key in expected.keys() & found.keys():
            yield from differences(found[key], expected[key], free, f"{path}.{key}".lstrip("."))
    elif isinstance(expected, list):
        if len(found) != len(expected):
            yield f"{path}: {len(found)} elements, not {len(expected)}"
        for number, (one, other) in enumerate(zip(found, expected, strict=False)):
            yield from differences(one, other, free, f"{path}.{number}".lstrip("."))
    elif _general(found) != _general(expected):
        yield f"{path}: {found!r} is not {expected!r}"


def _general(value: Any) -> Any:
    """A value without what can never be the same: the id of a snapshot, a time, a digest."""
    if isinstance(value, str):
        for pattern, name in _NAMES:
            value = pattern.sub(name, value)
    return value
