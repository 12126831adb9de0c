"""Opening a sealed array as the settings say: mapped, or read."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import Corruption
from ..model import MmapSettings
from .checks import DamageOf, map_file
from .column import Column
from .files import FileSystem
from .mapped_column import MappedColumn
from .read_column import ReadColumn


def open_column(
    fs: FileSystem,
    path: str,
    size_bytes: int,
    dtype: np.dtype[Any],
    shape: tuple[int, ...] | None,
    settings: MmapSettings,
) -> Column:
    """The array in an npy file; a ``shape`` of None is any number of elements in one dimension. No work per element.

    Raises ``Corruption`` where the file is missing, of another size, or holds another array.
    """
    column: Column
    if settings.enabled:
        mapping = map_file(fs, path)
        _check_size(path, mapping.size, size_bytes)
        column = MappedColumn(mapping, path, dtype, shape)
    else:
        with DamageOf(path):
            file = fs.hold(path)
        _check_size(path, file.size, size_bytes)
        column = ReadColumn(file, path, dtype, shape)
    column.advise(settings.advise)
    return column


def _check_size(path: str, found: int, expected: int) -> None:
    """A map of a shorter file would be deadly to touch."""
    if found != expected:
        raise Corruption(f"has {found} bytes instead of {expected}", path=path, offset=min(found, expected))
