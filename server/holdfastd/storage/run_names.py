"""Names of the id index's runs: the level, the last segment that is listed, and how often that was written anew.

A run follows the one before it without a gap, so its name says which segments it lists.
"""

from __future__ import annotations

import re

from ..errors import Corruption
from ..format.manifest import RunEntry

_NAME = re.compile(r"(run-\d{2}-(\d{10}))(?:-(\d+))?")


def run_name(level: int, ordinal: int) -> str:
    """The name of a run of this level that ends with this segment."""
    return f"run-{level:02d}-{ordinal:010d}"


def last_ordinal(entry: RunEntry) -> int:
    """The number of the last segment in a run. Raises ``Corruption`` for a name that no holdfastd gives."""
    return int(_parsed(entry.name)[2])


def name_anew(name: str) -> str:
    """The name of what takes the place of a run with this name."""
    match = _parsed(name)
    return f"{match[1]}-{int(match[3] or 0) + 1}"


def _parsed(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise Corruption("the manifest names a run of an id index in a form that no holdfastd writes", path=name)
    return match
