"""What files take of a disk."""

from __future__ import annotations

from .files import FileSystem
from .write_buffer import whole_blocks


def disk_usage(fs: FileSystem, path: str) -> int:
    """Bytes of a file, or of all files below a directory, in whole blocks of 4 KiB, as ``du`` has it; 0 without one.

    What directories take themselves is left out. Blocks; looks at every file.
    """
    try:
        if not fs.is_dir(path):
            return whole_blocks(fs.size(path))
        return sum(disk_usage(fs, f"{path}/{name}") for name in fs.listdir(path))
    except FileNotFoundError:
        return 0
