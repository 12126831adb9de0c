"""``storage snapshot …``: create, restore, list, show, verify, delete."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import click

from holdfast.cli import exit_codes
from holdfast.cli.base import Command, pass_state
from holdfast.cli.complete import complete_collections, complete_snapshots
from holdfast.cli.follow import conclude
from holdfast.cli.options import before_option, dry_run, no_wait, refuse_two_ends
from holdfast.cli.state import State
from holdfast.cli.types import MOMENT
from holdfast.documents import Document

if TYPE_CHECKING:
    from holdfast.times import Target

_CREATE_KEYS = (
    "snapshot_id", "type", "collections", "vectors", "size_bytes", "compressed", "path", "duration_ms", "status",
)  # fmt: skip
_INCREMENT_KEYS = (*_CREATE_KEYS, "base_id", "base_sequence", "deleted")
_RESTORE_KEYS = ("snapshot_id", "collections_restored", "vectors_restored", "duration_ms", "status")
_MOMENT_KEYS = (*_RESTORE_KEYS, "restored_through_sequence", "restored_through_time", "operations_replayed", "chain")
_LIST_KEYS = (
    "id", "type", "collections", "vectors", "size_bytes", "compressed", "created_at", "path", "state", "verified",
)  # fmt: skip
_TABLE_KEYS = ("id", "type", "base_id", *_LIST_KEYS[2:])
_VERIFY_KEYS = (
    "valid", "level", "reached", "snapshot_id", "chain", "vectors", "rows_checked", "path", "files", "size_bytes",
    "bytes_read", "bytes_per_second", "receipt_kept", "problem_count", "problems", "duration_ms",
    "status",
)  # fmt: skip

_RESTORE = 4
"""The level at which digests are compared."""
_CONSOLIDATE_KEYS = (
    "snapshot_id", "path", "rewritten", "written_bytes", "working_bytes", "freed_bytes", "duration_ms", "status",
)  # fmt: skip


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot create products --path /backups/snapshots",
        "holdfast storage snapshot create --compress",
        "holdfast storage snapshot create embeddings --incremental --compress",
        "holdfast storage snapshot create --incremental --base snap-2024-01-20-020000 --path /backups/hourly",
        'holdfast storage snapshot create --description "before the migration" --pin',
    ],
)
@click.argument("collection", required=False, shell_complete=complete_collections)
@click.option(
    "--path",
    metavar="DIR|URL",
    help="Directory to write to, on the daemon's machine, or s3://, gs://, az://.  [default: DATA/snapshots]",
)
@click.option("--compress", is_flag=True, help="Compress with gzip.")
@click.option("--incremental", is_flag=True, help="Only what changed since the last snapshot.")
@click.option(
    "--base", metavar="SNAPSHOT", shell_complete=complete_snapshots,
    help="The snapshot that an incremental one builds on.  [default: the newest that covers it]",
)  # fmt: skip
@click.option("--description", metavar="TEXT", help="What it is for, in one line.")
@click.option("--pin", is_flag=True, help="It is to stay: neither pruned nor deleted.")
@dry_run
@no_wait
@pass_state
def create(
    state: State,
    collection: str | None,
    path: str | None,
    compress: bool,
    incremental: bool,
    base: str | None,
    description: str | None,
    pin: bool,
    dry_run: bool,
    no_wait: bool,
) -> Document | None:
    """Create a snapshot of a collection or of everything.

    It holds one exact moment; reads and writes go on meanwhile. Done means that the file is complete, on the disk and
    under its final name. An incremental one is worth as much as what it builds on: keep both.
    """
    if base is not None and not incremental:
        raise click.UsageError("--base needs --incremental")
    started = state.client.snapshots.create(
        collection,
        path=path,
        compress=compress,
        incremental=incremental,
        base=base,
        description=description,
        pinned=pin,
        validate_only=dry_run,
        wait=False,
    )
    return conclude(state, started, _INCREMENT_KEYS if incremental else _CREATE_KEYS, wait=not no_wait)


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot restore /backups/snapshots/snap-2024-01-20-103045.gz",
        "holdfast storage snapshot restore snap-2024-01-20-103045 --collection products-restored",
        "holdfast storage snapshot restore latest --overwrite --verify",
        "holdfast storage snapshot restore /mnt/usb/snap-2024-01-20-110000.gz --base-path /mnt/usb/daily",
        'holdfast storage snapshot restore latest --to "yesterday 10:32" --from-collection products --collection old',
        "holdfast storage snapshot restore latest --before 48211 --from-collection products --collection old",
        "holdfast storage snapshot restore latest --wal-path s3://backups/log --verify",
    ],
)
@click.argument("snapshot", shell_complete=complete_snapshots)
@click.option("--collection", metavar="NAME", help="Name to restore to.  [default: the original one]")
@click.option("--from-collection", metavar="NAME", help="Which collection of a snapshot that holds several.")
@click.option("--overwrite", is_flag=True, help="Replace a collection that exists.")
@click.option("--verify", is_flag=True, help="Check the whole chain before anything is touched.")
@click.option(
    "--to", type=MOMENT, metavar="WHEN",
    help="The moment to restore: the log is followed through this time, sequence or mark (inclusive).",
)  # fmt: skip
@before_option
@click.option("--base-path", metavar="DIR|URL", help="Where else to look for the snapshots that it builds on.")
@click.option(
    "--wal-path", metavar="DIR|URL",
    help="The log to follow, such as an archived one, to its end or to WHEN.  [default: the store's own]",
)  # fmt: skip
@dry_run
@no_wait
@pass_state
def restore(
    state: State,
    snapshot: str,
    collection: str | None,
    from_collection: str | None,
    overwrite: bool,
    verify: bool,
    to: Target | None,
    before: Target | None,
    base_path: str | None,
    wal_path: str | None,
    dry_run: bool,
    no_wait: bool,
) -> Document | None:
    """Restore a snapshot.

    SNAPSHOT is an id, "latest", or a file on the daemon's machine. "latest" is the newest: where that one is missing or
    damaged the command is refused, and no older one taken instead. Everything is staged and proven beside the live
    data, then published at once; a restore that fails leaves the store as it was. With --overwrite, --dry-run tells how
    each collection that would be replaced would change: what would come back, be lost, and be another.

    With --to or --before it is that very moment that comes back: "latest" then stands for the newest whole snapshot
    from before it, and the log is followed from there. Every snapshot that leads there gives the same; where none does,
    the window in which that is possible is said. --dry-run then tells with which snapshot it begins and how much of the
    log follows, and with --overwrite what would change, where that is told quickly. WHEN is a time
    (2024-01-20T10:00:00Z, -2h, 'yesterday 10:32'), a sequence, or a mark.

    With --wal-path it is another log that is followed: one that was archived, or saved from a machine that is gone. On
    an empty machine this brings back everything up to the last moment that was archived; "latest" is then the newest
    snapshot of the store that wrote the log, from what `storage snapshot list --path DIR|URL` has shown the daemon.
    """
    refuse_two_ends(to, before)
    started = state.client.snapshots.restore(
        snapshot,
        collection=collection,
        from_collection=from_collection,
        overwrite=overwrite,
        verify=verify,
        to=to,
        before=before,
        base_path=base_path,
        wal_path=wal_path,
        validate_only=dry_run,
        wait=False,
    )
    of_a_moment = not (to is None and before is None and wal_path is None)
    keys = _MOMENT_KEYS if of_a_moment else _RESTORE_KEYS
    return conclude(state, started, (*keys, "changes"), wait=not no_wait)


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot list",
        "holdfast storage snapshot list --path /backups/snapshots",
        "holdfast storage snapshot list --collection products --format table",
    ],
)
@click.option(
    "--path",
    metavar="DIR|URL",
    help="Only the snapshots in this directory of the daemon's machine, or below this s3://, gs://, az://.  "
    "[default: all known]",
)
@click.option("--collection", metavar="NAME", shell_complete=complete_collections, help="Only those that contain it.")
@pass_state
def list_snapshots(state: State, path: str | None, collection: str | None) -> Document:
    """List snapshots, newest first.

    Those found in DIR are known from then on: by their ids, and as what incremental ones build on.

    The state is "ready"; "missing" where the file is not where it was; "damaged" where its size has changed or a
    verification or restore has found damage; "base_missing" where one that it builds on is damaged, or not where it
    was. Nothing else is read here: "verify" reads everything. Where one is pinned or has a description, that is shown
    as well.

    "verified" is the level of the newest reading in which it, and all that it builds on, was found right: "L0" to "L4",
    as in "verify --help", of which "L2" and above come before those below; "never"; or "damaged".
    """
    found, warnings = state.client.snapshots.list_with_warnings(path=path, collection=collection)
    keys = _TABLE_KEYS if state.output_format == "table" else _LIST_KEYS
    if state.output_format == "table":
        found = [Document(row, verified=_with_age(state, row)) for row in found]
    keys = (*keys, *(mark for mark in ("pinned", "description") if any(row[mark] for row in found)))
    rows = [state.shown(row, keys) for row in found]
    return Document(snapshots=rows, total=len(rows), warnings=list(warnings))


@click.command(cls=Command, examples=["holdfast storage snapshot show latest"])
@click.argument("snapshot", shell_complete=complete_snapshots)
@pass_state
def show(state: State, snapshot: str) -> Document:
    """Show everything known of a snapshot.

    Its chain, base first, with what each file holds; whether it was ever verified, what builds on it, and what
    deleting it would free.
    """
    return state.client.snapshots.get(snapshot)


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot verify latest",
        "holdfast storage snapshot verify latest --level 4 -v",
        "holdfast storage snapshot verify /backups/weekly/x.gz --subset 1/7",
        "holdfast storage snapshot verify /backups/hourly/x.gz --level 3 --subset 10% --skip-chain",
    ],
)
@click.argument("snapshot", shell_complete=complete_snapshots)
@click.option("--level", type=click.IntRange(0, 4), metavar="0-4", help="How far to look.  [default: 2]")
@click.option("--subset", metavar="N/T|P%", help="A part: the N-th of T slices, or P percent at random; level 2 or 3.")
@click.option("--seed", type=click.IntRange(1, 2**64 - 1), metavar="N", help="Choose the same P percent again.")
@click.option("--chain/--skip-chain", default=True, help="With what it builds on, or only this file.  [default: chain]")
@click.option("--base-path", metavar="DIR|URL", help="Where else to look for the snapshots that it builds on.")
@no_wait
@pass_state
def verify(
    state: State,
    snapshot: str,
    level: int | None,
    subset: str | None,
    seed: int | None,
    chain: bool,
    base_path: str | None,
    no_wait: bool,
) -> Document | None:
    """Check a snapshot and its chain.

    \b
    --level 0  the manifest is whole, what it builds on is there and is what is meant
            1  every file in it stands in its place with its size: nothing missing, left over or cut off
            2  every byte is the one that was written (SHA-256), at the speed of the disk
            3  every row decodes, is valid, and has the hash that it says
            4  a restore that nobody sees, in the data directory: every collection has its digest

    Exits with 13 if anything is damaged, or missing from its chain: all of it is listed, each with what to do. What
    came of it is kept as a receipt, which "list" and "show" tell; 1/7 to 7/7, one each night, are a whole verification.
    """
    if seed is not None and not (subset or "").endswith("%"):
        raise click.UsageError("--seed needs --subset P%: a slice N/T is always the same")
    started = state.client.snapshots.verify(
        snapshot, level=level, subset=subset, seed=seed or 0, skip_chain=not chain, base_path=base_path, wait=False
    )
    keys = (*_VERIFY_KEYS[:3], *(("subset", "seed") if subset else ()), *_VERIFY_KEYS[3:])
    shown = (*keys[:-3], "digests", *keys[-3:]) if level == _RESTORE else keys
    return verdict(state, conclude(state, started, shown, wait=not no_wait))


@click.command(
    cls=Command,
    examples=[
        "holdfast storage snapshot delete snap-2024-01-19-080000",
        "holdfast storage snapshot delete snap-2024-01-14-020000 --consolidate --dry-run",
    ],
)
@click.argument("snapshot", shell_complete=complete_snapshots)
@click.option("--consolidate", is_flag=True, help="Make full ones of those that build on it, then delete it.")
@dry_run
@no_wait
@pass_state
def delete(state: State, snapshot: str, consolidate: bool, dry_run: bool, no_wait: bool) -> Document | None:
    """Delete a snapshot.

    Refused while it is pinned, and while incremental snapshots build on it, since none of these could be restored any
    more. With --consolidate those that build on it directly are made full ones first, out of the files alone: they keep
    their ids, their places and what they hold, and so does all that builds on them. Every byte is checked before the
    first file is replaced; if anything is damaged or missing, or there is too little room, nothing is changed.
    --dry-run tells the room it takes.
    """
    if not consolidate:
        if no_wait:
            raise click.UsageError("--no-wait needs --consolidate: a snapshot that nobody needs is deleted at once")
        return state.client.snapshots.delete(snapshot, validate_only=dry_run)
    started = state.client.snapshots.consolidate(snapshot, validate_only=dry_run, wait=False)
    return conclude(state, started, _CONSOLIDATE_KEYS, wait=not no_wait)


def verdict(state: State, document: Document | None) -> Document | None:
    """The result of a verification; what is wrong sets the exit code, and is said on stderr."""
    if document is not None and document.get("valid") is False:
        state.exit_code = exit_codes.OF_STATUS["DATA_LOSS"]
        for problem, following in pairwise((*document.problems, None)):
            state.say(f"error: {problem.message}")
            # What is to be done about one file is said once, behind all that is wrong with it.
            if problem.hint and (following is None or following.hint != problem.hint):
                state.say(f"hint: {problem.hint}")
        more = document.get("problem_count", 0) - len(document.problems)
        if more > 0:
            state.say(f"error: and {more} more")
    return document


def _with_age(state: State, row: Document) -> str:
    """The level, and how long ago: ``L3 2d ago``."""
    if row.verified_at is None:
        return str(row.verified)
    from holdfast.times import parse_time
    from holdfast.units import age

    now = state.now()
    return f"{row.verified} {age(now.astimezone() - parse_time(row.verified_at, now=now))} ago"
