"""Times in which something was done without the log: what stands behind one does not go on from what stands before it.

A log that was only disabled and enabled again has none: the next WAL segment takes up the very operation before it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from itertools import pairwise

from ..errors import HoldfastError
from ..model import Sequence64
from ..storage.files import FileSystem
from ..storage.wal_files import WalFileInfo
from ..storage.wal_reader import LogReader


@dataclass(frozen=True, slots=True)
class Unlogged:
    """What was done between ``last``, the operation before, and ``first``, with which the log goes on.

    ``file``: the place of the WAL segment that begins there.
    """

    last: Sequence64
    first: Sequence64
    file: int

    def __str__(self) -> str:
        return (
            f"the log was disabled between sequence {self.last} and {self.first}: what was done meanwhile is not in it"
        )


class Ends:
    """The last operation in each of those WAL segments behind which the log was disabled; each is read once.

    Any thread; blocks.
    """

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._known: dict[str, Sequence64] = {}

    def last_in(self, file: WalFileInfo, store_id: uuid.UUID) -> Sequence64 | None:
        """Its sequence, or that of the one before it where the file has none; None where that cannot be told."""
        if file.path not in self._known:
            reader = LogReader(self._fs, (file.directory,), store_id=store_id, first_path=file.path, one_file=True)
            last = file.header.previous_sequence
            try:
                for record in reader.read():
                    last = record.sequence
            except HoldfastError:
                return None
            self._known[file.path] = last
        return self._known[file.path]


def unlogged(files: tuple[WalFileInfo, ...], store_id: uuid.UUID, ends: Ends) -> list[Unlogged]:
    """These times between the WAL segments of a log, oldest first. Blocks."""
    found = []
    for number, (before, file) in enumerate(pairwise(files), 1):
        if file.header.gap_before:
            last = ends.last_in(before, store_id)
            if last != file.header.previous_sequence:
                found.append(Unlogged(last or before.header.previous_sequence, file.first_sequence, number))
    return found
