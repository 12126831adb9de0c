"""``storage …``: status, alarms, mmap, compact."""

from __future__ import annotations

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections
from holdfast.cli.follow import conclude
from holdfast.cli.options import dry_run, no_wait
from holdfast.cli.state import State
from holdfast.cli.types import PERCENT
from holdfast.documents import Document
from holdfast.units import format_size

_MMAP_KEYS = ("mmap_enabled", "advise_mode", "populate", "total_mapped_bytes", "resident_bytes")
_COMPACT_KEYS = (
    "collections_compacted", "before_size_bytes", "after_size_bytes", "freed_bytes", "reduction_percent",
    "duration_ms", "status",
)  # fmt: skip


@click.command(cls=Command, examples=["holdfast storage status", "holdfast storage status --format table"])
@pass_state
def status(state: State) -> Document:
    """Show the store at a glance.

    Exits with 0 as soon as the daemon serves.
    """
    return state.client.storage.status()


@click.command(cls=Command, examples=["holdfast storage alarms --format table"])
@pass_state
def alarms(state: State) -> Document:
    """Show what an operator should know of."""
    found = state.client.storage.alarms()
    return Document(alarms=found, total=len(found))


@click.command(
    cls=Command,
    examples=[
        "holdfast storage mmap --enable --advise sequential",
        "holdfast storage mmap --populate --collection products",
        "holdfast storage mmap --disable",
        "holdfast storage mmap -v --format yaml",
    ],
)
@click.option("--enable", is_flag=True, help="Read segments through memory mappings.")
@click.option("--disable", is_flag=True, help="Read segments into RAM instead, piece by piece.")
@click.option(
    "--advise", type=click.Choice(["normal", "random", "sequential"]),
    help="How the kernel reads ahead: random for searching, sequential for scans.  [default: random]",
)  # fmt: skip
@click.option("--populate/--no-populate", default=None, help="Read mappings in, now and whenever segments are mapped.")
@click.option(
    "--collection", metavar="NAME", shell_complete=complete_collections,
    help="Change or show how the segments of this collection alone are read.",
)  # fmt: skip
@dry_run
@pass_state
def mmap(
    state: State,
    enable: bool,
    disable: bool,
    advise: str | None,
    populate: bool | None,
    collection: str | None,
    dry_run: bool,
) -> Document:
    """Configure memory-mapped storage.

    What is left out keeps its value; without options it only shows, and with -v each collection. A change holds for
    every segment from then on, those that are being read included, and survives a restart. Without --collection it is
    one of all collections: what it names ends as a setting of a collection's own. resident_bytes are those in the page
    cache now.
    """
    if enable and disable:
        raise click.UsageError("--enable contradicts --disable")
    if disable and populate:
        raise click.UsageError("--populate contradicts --disable: it reads mappings in")
    wanted = True if enable else False if disable else None
    answer = state.client.storage.mmap(
        enable=wanted, advise=advise, populate=populate, collection=collection, validate_only=dry_run
    )
    if answer.populated_bytes:
        state.say(f"read in {format_size(answer.populated_bytes)}")
    return state.shown(answer, _MMAP_KEYS)


@click.command(
    cls=Command,
    examples=[
        "holdfast storage compact products",
        "holdfast storage compact --threshold 30",
        "holdfast storage compact --aggressive --dry-run",
    ],
)
@click.argument("collection", required=False, shell_complete=complete_collections)
@click.option(
    "--aggressive",
    is_flag=True,
    help="Drop every dead row, make few large segments of the others, and the id index anew: slower, frees most.",
)
@click.option(
    "--threshold",
    type=PERCENT,
    metavar="PERCENT",
    help="Rewrite segments of whose rows at least so many are dead; means nothing with --aggressive.  [default: 20%]",
)
@dry_run
@no_wait
@pass_state
def compact(
    state: State, collection: str | None, aggressive: bool, threshold: float | None, dry_run: bool, no_wait: bool
) -> Document | None:
    """Compact storage to reclaim space.

    Segments are written anew without the rows that were deleted or replaced, and eight neighbours of like size
    become one; without a collection in all of them. The daemon does it by itself, too (holdfastd --auto-compact).
    Neither reads nor writes wait, and a second run finds nothing left to do. A dry run knows of what is in segments by
    now, and estimates sizes.
    """
    started = state.client.storage.compact(
        collection, aggressive=aggressive, threshold=threshold, validate_only=dry_run, wait=False
    )
    return conclude(state, started, _COMPACT_KEYS, wait=not no_wait)
