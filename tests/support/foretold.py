"""What a start will find, foretold from another one that looked at the same: no need to let it happen again.

Starts are deterministic. Given the same names of the same files and, in each file whose content or size it asks for,
the same content, a start does what the other did, whatever differs in files that it never looks into: most crash states
differ in what nobody will read, such as the halves of segments that no manifest names.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from tests.support.memdisk import Disk
from tests.support.memfs import MemFileSystem

Outcome = TypeVar("Outcome")


class Foretold(Generic[Outcome]):
    """Outcomes of starts with the same clock and the same randomness.

    By the names, then by the nodes of the files that were looked into, then by their contents.
    """

    def __init__(self) -> None:
        self._outcomes: dict[int, dict[tuple[int, ...], dict[tuple[int, ...], Outcome]]] = {}

    def find(self, disk: Disk) -> Outcome | None:
        """What a start on ``disk`` comes to, if one that was noted looked at just the same."""
        for nodes, outcomes in self._outcomes.get(disk.names_digest(), {}).items():
            outcome = outcomes.get(disk.contents(nodes))
            if outcome is not None:
                return outcome
        return None

    def note(self, disk: Disk, fs: MemFileSystem, outcome: Outcome) -> None:
        """Remember what a start came to on ``fs``, which was ``disk`` before it; nothing else has looked into it."""
        nodes = tuple(sorted(fs.looked_into & disk.files.keys()))
        self._outcomes.setdefault(disk.names_digest(), {}).setdefault(nodes, {})[disk.contents(nodes)] = outcome
