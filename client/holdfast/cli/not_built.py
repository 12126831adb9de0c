"""What has its place in the command tree and is refused by the daemon, for now. The help and README.md say so."""

from __future__ import annotations

from collections.abc import Mapping

NOT_BUILT: Mapping[str, tuple[str, ...]] = {
    "collection create": ("--quantization",),
}
"""By command: its options that the daemon does not do."""

NOTE = "(not built yet)"


def options_not_built(command: str) -> tuple[str, ...]:
    """The options of a command that are refused."""
    return NOT_BUILT.get(command, ())
