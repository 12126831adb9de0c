"""The open files of something sealed, each as a column, and how they are read: which may change while they are.

A change opens new columns and puts all of them in the place of the old ones by one assignment. Nobody waits: whoever
reads goes on with the columns that it holds, and the last one to let go of a column unmaps or closes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..model import MmapSettings
from .column import Advance, Column, Residence
from .columns import open_column
from .files import FileSystem


class ColumnFile(NamedTuple):
    """A file that holds a column: its path, its size, and what is in it, of any length where ``shape`` is None."""

    path: str
    size_bytes: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...] | None


class OpenFiles:
    """See the module. ``files``: by a name for each. Any thread reads; one thread at a time changes how.

    Raises ``Corruption`` where one is not as it says, and ``OSError``.
    """

    def __init__(self, fs: FileSystem, files: Mapping[str, ColumnFile], settings: MmapSettings) -> None:
        self._fs = fs
        self._files = files
        # Both are replaced as a whole.
        self.settings = settings
        self.columns: Mapping[str, Column] = self._opened(settings)

    def prepare(self, settings: MmapSettings) -> Mapping[str, Column]:
        """The columns as these settings have them, for ``adopt``: open already, so that nothing is left to fail.

        Raises ``OSError`` and ``Corruption`` with nothing changed.
        """
        return self.columns if settings.enabled == self.settings.enabled else self._opened(settings)

    def adopt(self, settings: MmapSettings, columns: Mapping[str, Column]) -> None:
        """Read through these from now on."""
        if settings.advise != self.settings.advise:
            for column in columns.values():
                column.advise(settings.advise)
        self.settings, self.columns = settings, columns

    def read_as(self, settings: MmapSettings) -> None:
        """Both. May block."""
        self.adopt(settings, self.prepare(settings))

    def populate(self, advance: Advance = lambda count: None) -> None:
        """Read the maps in. Blocks; raises ``Corruption`` where a block cannot be read, and what ``advance`` raises."""
        for column in self.columns.values():
            column.populate(advance)

    def residence(self) -> Residence:
        """Where its bytes are now."""
        return total(column.residence() for column in self.columns.values())

    def _opened(self, settings: MmapSettings) -> Mapping[str, Column]:
        return {name: open_column(self._fs, *file, settings) for name, file in self._files.items()}


def total(residences: Iterable[Residence]) -> Residence:
    """All of them together."""
    together = Residence()
    for each in residences:
        together = together.plus(each)
    return together
