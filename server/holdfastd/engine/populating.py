"""Reading maps in before somebody reads through them (``storage mmap --populate``).

A command reads in what there is, in its own thread; what a start or a restore has mapped is read in by the populate
thread, beside whoever serves; what a checkpoint or a compaction has written is read in before readers get it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import SimpleQueue

from ..errors import Corruption
from ..model import CollectionSpec, MmapSettings
from ..storage.id_index import IdIndex
from ..storage.sealed import OpenFiles
from ..storage.segment import Segment
from .alarms import Alarms
from .changes import RestoredCollection
from .collection import Collection
from .recovery_open import OpenRestored

FAILED = "POPULATE_FAILED"


class _Enough(Exception):
    """Nobody wants the rest."""


def files_of(segments: Iterable[Segment], index: IdIndex) -> list[OpenFiles]:
    """The open files of a collection: of its segments, and of its id index."""
    return [*(segment.files for segment in segments), *(run.opened for run in index.runs)]


def settle(segment: Segment | None, index: IdIndex, settings: MmapSettings) -> None:
    """Have a new segment, if any, and an index read as the settings say, and in memory where they want that. Blocks.

    With checkpoints held off, so that the settings do not change meanwhile. Raises ``Corruption`` and ``OSError``.
    """
    for each in files_of(() if segment is None else (segment,), index):
        if each.settings != settings:
            each.read_as(settings)
            if settings.populate:
                each.populate()


def populate(files: Iterable[OpenFiles], go_on: Callable[[], bool]) -> int:
    """Read maps in until all are, or ``go_on`` says no; returns the bytes done. Blocks. Raises ``Corruption``."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if not go_on():
            raise _Enough

    with suppress(_Enough):
        for each in files:
            each.populate(advance)
    return done


class Populator:
    """``run`` is the populate thread; ``ask`` and ``stop`` are for any other, and do not block."""

    def __init__(self, alarms: Alarms) -> None:
        self._alarms = alarms
        self._stopped = threading.Event()
        self._asked: SimpleQueue[list[OpenFiles] | None] = SimpleQueue()

    def ask(self, files: list[OpenFiles]) -> None:
        """Have maps read in, after those that were asked for before."""
        self._asked.put(files)

    def ask_for(self, collections: Iterable[Collection]) -> None:
        """The same of collections whose settings want it."""
        for collection in collections:
            files = files_of(collection.segments, collection.index)
            if files and files[0].settings.populate:
                self.ask(files)

    def after(self, open_restored: OpenRestored) -> OpenRestored:
        """What opens restored collections, and has them read in where their settings want it."""

        def opened(spec: CollectionSpec, restored: RestoredCollection) -> Collection:
            collection = open_restored(spec, restored)
            self.ask_for([collection])
            return collection

        return opened

    def stop(self) -> None:
        """Let the thread end, within the reading of one piece."""
        self._stopped.set()
        self._asked.put(None)

    def run(self) -> None:
        """The populate thread."""
        while not self._stopped.is_set():
            files = self._asked.get()
            if files is not None:
                self._populate(files)

    def _populate(self, files: list[OpenFiles]) -> None:
        try:
            populate(files, lambda: not self._stopped.is_set())
        except Corruption as error:
            self._alarms.raise_(
                FAILED,
                f"not all maps could be read in: {error.message}",
                hint=error.hint or "look at the disk (dmesg, smartctl)",
            )
