"""Whether there is room for what is about to be written, looked at before it is begun."""

from __future__ import annotations

from ..errors import ResourceExhausted
from ..storage.files import FileSystem, parent_of


def check_space(fs: FileSystem, directory: str, needed: int, reserve: int, hint: str) -> None:
    """Raise ResourceExhausted unless ``needed`` bytes fit and ``reserve`` stays free. ``directory`` may be new."""
    while not fs.exists(directory):
        directory = parent_of(directory)
    free, wanted = fs.free_bytes(directory), needed + reserve
    if free < wanted:
        raise ResourceExhausted(
            f"{directory} has {free} bytes free; {needed} are needed and {reserve} stay reserved",
            reason="DISK_FULL",
            hint=hint,
            path=directory,
            needed=wanted,
            free=free,
        )
