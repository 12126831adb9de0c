"""When a chain is long enough: the next snapshot is a full one then, though an incremental one was asked for.

A chain is as slow to restore as it is long, is lost with any of its links, and one day takes more room than a new full
snapshot would. A new chain rewrites nothing and leaves every moment of the old one restorable.
"""

from __future__ import annotations

from collections.abc import Sequence

from .snapshot_chain import MAX_LINKS
from .snapshot_info import SnapshotInfo

WORTH_BYTES = 64 << 20
"""Below that, what increments add up to is no reason: there is nothing to be saved."""


def too_long(links: Sequence[SnapshotInfo], *, max_links: int, max_percent: int) -> str | None:
    """Why one more increment on a chain, base first, would be one too many; None where it is not.

    ``max_links``: links that a chain may have, its full snapshot included. ``max_percent``: what its increments may add
    up to, of the size of its full one. 0: no limit.
    """
    last = links[-1].id
    if cannot_grow(links):
        return f"the chain of {last} has {len(links)} links, and a longer one could not be restored"
    if max_links and len(links) >= max_links:
        return f"the chain of {last} has {len(links)} links, and --snapshot-max-links is {max_links}"
    full, increments = links[0].exclusive_bytes, sum(link.exclusive_bytes for link in links[1:])
    if max_percent and increments >= WORTH_BYTES and increments * 100 > full * max_percent:
        return (
            f"the increments in the chain of {last} take {increments} bytes, its full snapshot {full}, and "
            f"--snapshot-max-increment-percent is {max_percent}"
        )
    return None


def cannot_grow(links: Sequence[SnapshotInfo]) -> bool:
    """Whether nobody would read a chain with one more link, whatever limits are set."""
    return len(links) >= MAX_LINKS
