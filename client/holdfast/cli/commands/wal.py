"""``storage wal …``: enable, disable, status, replay, verify, mark."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from holdfast.cli.base import Command, pass_state
from holdfast.cli.commands.snapshot import verdict
from holdfast.cli.complete import complete_collections
from holdfast.cli.confirm import confirm
from holdfast.cli.follow import conclude
from holdfast.cli.options import before_option, dry_run, log_path, no_wait, refuse_two_ends
from holdfast.cli.state import State
from holdfast.cli.types import DURATION, MOMENT, SEQUENCES, WAL_SIZE
from holdfast.documents import Document

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.times import Target

_SETTINGS_KEYS = ("wal_enabled", "path", "sync_mode", "segment_size_bytes", "retention", "status")
_REPLAY_KEYS = (
    "segments_replayed", "operations_replayed", "operations_skipped", "collections_affected", "duration_ms", "status",
)  # fmt: skip
_INTO_KEYS = (*_REPLAY_KEYS, "snapshot_id", "through_sequence", "through_time")
_VERIFY_KEYS = (
    "valid", "path", "segments", "operations", "size_bytes", "first_sequence", "last_sequence", "problems",
    "duration_ms", "status",
)  # fmt: skip


@click.command(
    cls=Command,
    examples=[
        "holdfast storage wal enable",
        "holdfast storage wal enable --path /data/wal --sync-mode fsync",
        "holdfast storage wal enable --sync-mode periodic --flush-interval 5s",
        "holdfast storage wal enable --segment-size 134217728 --retention 48h",
        "holdfast storage wal enable --retention 168h --max-size 20GB",
    ],
)
@click.option("--path", metavar="DIR", help="Directory of the log, on the daemon's machine.  [default: DATA/wal]")
@click.option(
    "--sync-mode", type=click.Choice(["fsync", "periodic", "async"]),
    help="What acknowledged means: on the disk; synced every --flush-interval; or when the kernel likes."
    "  [default: fsync]",
)  # fmt: skip
@click.option(
    "--segment-size", type=WAL_SIZE, metavar="SIZE", help="Size of one WAL segment, 1 MiB to 4 GiB.  [default: 64MB]"
)
@click.option(
    "--retention", type=DURATION, metavar="DURATION", help="How long to keep records, 0 to 2,400,000 h.  [default: 24h]"
)
@click.option(
    "--flush-interval",
    type=DURATION,
    metavar="DURATION",
    help="Time between syncs in periodic mode, 1 ms to 1 h.  [default: 5s]",
)
@click.option(
    "--max-size", type=WAL_SIZE, metavar="SIZE",
    help="What the log may grow to, from two WAL segments to 8 PiB; beyond it the oldest history goes, whatever the"
    " retention.  [default: 64GB]",
)  # fmt: skip
@dry_run
@pass_state
def enable(
    state: State,
    path: str | None,
    sync_mode: str | None,
    segment_size: int | None,
    retention: timedelta | None,
    flush_interval: timedelta | None,
    max_size: int | None,
    dry_run: bool,
) -> Document:
    """Enable the log or change its settings.

    What is left out keeps its value; a fresh store has the log on, in fsync mode. Here MB means MiB.
    """
    changed = state.client.wal.enable(
        path=path,
        sync_mode=sync_mode,
        segment_size=segment_size,
        retention=retention,
        flush_interval=flush_interval,
        max_size=max_size,
        validate_only=dry_run,
    )
    return state.shown(changed, _SETTINGS_KEYS)


@click.command(cls=Command, examples=["holdfast storage wal disable --confirm"])
@click.option("--confirm", "confirmed", is_flag=True, help="Do not ask.")
@dry_run
@pass_state
def disable(state: State, confirmed: bool, dry_run: bool) -> Document:
    """Disable the log.

    From then on writes are durable only with the next checkpoint, and point-in-time recovery does not reach across the
    gap. On a terminal it asks first; elsewhere --confirm is required.
    """
    if not confirmed and not dry_run:
        confirm(state, "Disable the log? A crash loses what is written after the last checkpoint.", "--confirm")
    return state.shown(state.client.wal.disable(validate_only=dry_run), _SETTINGS_KEYS)


@click.command(cls=Command, examples=["holdfast storage wal status", "holdfast storage wal status --format table"])
@pass_state
def status(state: State) -> Document:
    """Show the log's settings, position and recovery window."""
    return state.client.wal.status()


@click.command(
    cls=Command,
    examples=[
        "holdfast storage wal replay",
        "holdfast storage wal replay --path /data/wal --verify",
        'holdfast storage wal replay --from "2024-01-20T10:00:00Z" --to "2024-01-20T11:00:00Z"',
        "holdfast storage wal replay --collection products --to -2h",
        "holdfast storage wal replay --collection products --into products-at-ten --to 2024-01-20T10:00:00Z",
        "holdfast storage wal replay --collection products --into products-mended --skip 4711-4720",
    ],
)
@log_path
@click.option(
    "--from", "start", type=MOMENT, metavar="WHEN", help="First time, sequence or mark to look at (inclusive)."
)
@click.option("--to", type=MOMENT, metavar="WHEN", help="Last time, sequence or mark to apply (inclusive).")
@before_option
@click.option("--collection", metavar="NAME", shell_complete=complete_collections, help="Only this collection.")
@click.option("--into", metavar="NAME", help="Make a new collection that holds that moment of --collection.")
@click.option(
    "--skip", type=SEQUENCES, multiple=True, metavar="SEQ[-SEQ]",
    help="With --into: leave out what was changed by this sequence, or by this range; may be repeated.",
)  # fmt: skip
@click.option(
    "--skip-request-id", "skip_request_ids", multiple=True, metavar="ID",
    help="With --into: leave out what came with this request id, or with one that begins so where it ends with a *;"
    " may be repeated.",
)  # fmt: skip
@click.option("--verify", is_flag=True, help="Check the log before anything is touched.")
@dry_run
@no_wait
@pass_state
def replay(
    state: State,
    path: str | None,
    start: Target | None,
    to: Target | None,
    before: Target | None,
    collection: str | None,
    into: str | None,
    skip: tuple[tuple[int, int], ...],
    skip_request_ids: tuple[str, ...],
    verify: bool,
    dry_run: bool,
    no_wait: bool,
) -> Document | None:
    """Roll restored collections forward from the log.

    Running it twice is the same as once: what a collection contains already is skipped, and a live collection has
    nothing to replay.

    With --into it makes a new collection instead, which holds the moment asked for: from the newest snapshot before it,
    or from the log alone where that reaches back far enough. The collection itself, and whatever became of it since,
    stay as they are. WHEN is a time (2024-01-20T10:00:00Z, -2h, 'yesterday 10:32'), a sequence, or a mark.

    With --skip or --skip-request-id the new collection is what the old one would be had those operations never
    happened. It is refused, with the points, where something that is not left out has written them since.
    """
    refuse_two_ends(to, before)
    if (skip or skip_request_ids) and into is None:
        raise click.UsageError("--skip and --skip-request-id need --into: what was applied stays as it is")
    started = state.client.wal.replay(
        path=path,
        start=start,
        to=to,
        before=before,
        collection=collection,
        into=into,
        skip=skip,
        skip_request_ids=skip_request_ids,
        verify=verify,
        validate_only=dry_run,
        wait=False,
    )
    return conclude(state, started, _REPLAY_KEYS if into is None else _INTO_KEYS, wait=not no_wait)


@click.command(cls=Command, examples=["holdfast storage wal verify", "holdfast storage wal verify --path /mnt/wal -v"])
@log_path
@no_wait
@pass_state
def verify(state: State, path: str | None, no_wait: bool) -> Document | None:
    """Check the log.

    Reads every record against every checksum and link. Exits with 13 and lists the problems if anything is damaged.
    """
    started = state.client.wal.verify(path=path, wait=False)
    return verdict(state, conclude(state, started, _VERIFY_KEYS, wait=not no_wait))


@click.command(
    cls=Command,
    examples=[
        "holdfast storage wal mark before-import",
        "holdfast storage wal replay --to before-import",
    ],
)
@click.argument("name")
@pass_state
def mark(state: State, name: str) -> Document:
    """Name the present moment as a restore point."""
    return state.client.wal.mark(name)
