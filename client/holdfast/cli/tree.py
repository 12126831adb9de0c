"""The whole command tree at a glance. The lines here are the first lines of the commands' own help; a test compares."""

from __future__ import annotations

import click

from holdfast.cli.base import Branch, Leaf, Root
from holdfast.cli.exit_codes import MEANINGS
from holdfast.cli.state import State

_ALIAS = Branch(
    "Second names of collections, switched atomically",
    {
        "create": Leaf("alias:create", "Make an alias"),
        "switch": Leaf("alias:switch", "Point an alias at another collection"),
        "delete": Leaf("alias:delete", "Remove an alias"),
        "list": Leaf("alias:list_aliases", "List aliases"),
    },
)

_COLLECTION = Branch(
    "Create, describe, list and delete collections",
    {
        "create": Leaf("collection:create", "Create a collection"),
        "delete": Leaf("collection:delete", "Delete a collection with its vectors"),
        "list": Leaf("collection:list_collections", "List collections"),
        "info": Leaf("collection:info", "Describe a collection"),
        "stats": Leaf("collection:stats", "Show a collection's figures"),
        "alias": _ALIAS,
    },
)

_VECTOR = Branch(
    "Write, read and search vectors",
    {
        "insert": Leaf("vector_write:insert", "Insert or replace one vector"),
        "insert-batch": Leaf("insert_batch:insert_batch", "Insert vectors from a file"),
        "get": Leaf("vector_read:get", "Show vectors by id"),
        "update": Leaf("vector_write:update", "Change a vector or its payload"),
        "delete": Leaf("vector_write:delete", "Delete vectors by id, by filter, or all"),
        "search": Leaf("vector_read:search", "Find the nearest vectors"),
        "scroll": Leaf("vector_read:scroll", "Page through a collection"),
        "count": Leaf("vector_read:count", "Count vectors"),
        "export": Leaf("export:export", "Write a collection to a file"),
    },
)

_SNAPSHOT = Branch(
    "Create, restore and check backups",
    {
        "create": Leaf("snapshot:create", "Create a snapshot of a collection or of everything"),
        "restore": Leaf("snapshot:restore", "Restore a snapshot"),
        "list": Leaf("snapshot:list_snapshots", "List snapshots, newest first"),
        "show": Leaf("snapshot:show", "Show everything known of a snapshot"),
        "verify": Leaf("snapshot:verify", "Check a snapshot and its chain"),
        "delete": Leaf("snapshot:delete", "Delete a snapshot"),
        "prune": Leaf("snapshot_upkeep:prune", "Delete the snapshots that a policy does not keep"),
        "diff": Leaf("snapshot_upkeep:diff", "Compare two snapshots, or one with the live store"),
        "download": Leaf("transfer:download", "Copy a snapshot from the daemon to this machine"),
        "upload": Leaf("transfer:upload", "Copy a snapshot from this machine to the daemon"),
        "pin": Leaf("snapshot_marks:pin", "Keep a snapshot from being deleted"),
        "unpin": Leaf("snapshot_marks:unpin", "Let a pinned snapshot be deleted again"),
        "describe": Leaf("snapshot_marks:describe", "Say what a snapshot is for"),
        "schedules": Leaf("snapshot_schedules:schedules", "Show the schedules of the daemon's settings"),
    },
)

_WAL = Branch(
    "The write-ahead log: settings, replay, reading it",
    {
        "enable": Leaf("wal:enable", "Enable the log or change its settings"),
        "disable": Leaf("wal:disable", "Disable the log"),
        "status": Leaf("wal:status", "Show the log's settings, position and recovery window"),
        "replay": Leaf("wal:replay", "Roll restored collections forward from the log"),
        "verify": Leaf("wal:verify", "Check the log"),
        "mark": Leaf("wal:mark", "Name the present moment as a restore point"),
        "dump": Leaf("wal_read:dump", "Show the log's records"),
        "grep": Leaf("wal_search:grep", "Find operations in the log"),
        "tail": Leaf("wal_read:tail", "Follow the log"),
    },
)

_ARCHIVE = Branch(
    "The archive of the log, elsewhere",
    {
        "status": Leaf("archive:status", "Show how far the log is archived"),
        "flush": Leaf("archive:flush", "Bring all of the log into its archive now"),
        "prune": Leaf("archive:prune", "Remove from the archive what no snapshot needs"),
    },
)

_STORAGE = Branch(
    "Snapshots, the log, mapping, compaction, status",
    {
        "status": Leaf("storage:status", "Show the store at a glance"),
        "alarms": Leaf("storage:alarms", "Show what an operator should know of"),
        "snapshot": _SNAPSHOT,
        "wal": _WAL,
        "archive": _ARCHIVE,
        "mmap": Leaf("storage:mmap", "Configure memory-mapped storage"),
        "compact": Leaf("storage:compact", "Compact storage to reclaim space"),
    },
)

_OPERATION = Branch(
    "Follow and cancel long work",
    {
        "list": Leaf("operation:list_operations", "List operations, newest first"),
        "show": Leaf("operation:show", "Show one operation"),
        "watch": Leaf("operation:watch", "Follow an operation to its end"),
        "cancel": Leaf("operation:cancel", "Ask an operation to stop"),
    },
)

ROOT = Branch(
    "Administer and use a Holdfast daemon",
    {"collection": _COLLECTION, "vector": _VECTOR, "storage": _STORAGE, "operation": _OPERATION},
)

_HELP = """Administer and use a Holdfast daemon: a durable vector store.

Without a command: the prompt on a terminal, else one command per line from standard input. A leading slash is
optional: "holdfast /storage snapshot list" and "holdfast storage snapshot list" are the same.

Results go to standard output as JSON (see --format), everything else to standard error. The daemon is found by
--address, $HOLDFAST_ADDRESS, /run/holdfast/holdfast.sock, ./holdfast-data/holdfast.sock. Over TCP also: --token-file
FILE (or $HOLDFAST_TOKEN), --tls-ca FILE, --tls-cert FILE, --tls-key FILE, --timeout SECONDS.
"""


_EXAMPLES = (
    "holdfast collection create words --dimensions 384",
    "holdfast vector insert-batch words --file words.ndjson",
    "holdfast vector search words --query-id word-1 --k 3 --format table",
    "holdfast storage snapshot create --compress",
    "holdfast storage snapshot restore latest --collection words-copy --verify",
    "holdfast storage snapshot restore --help",
)


def build() -> Root:
    """The root command."""
    root = Root(
        "holdfast", ROOT, help=_HELP, examples=_EXAMPLES, invoke_without_command=True, epilog=_exit_codes(),
        callback=_without_command,
    )  # fmt: skip
    root.params.append(
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version,
                     help="Show the version and exit.")
    )  # fmt: skip
    return root


@click.pass_context
def _without_command(context: click.Context) -> None:
    if context.invoked_subcommand is None:
        from holdfast.cli.prompt import read_commands

        context.exit(read_commands(context.ensure_object(State)))


def _exit_codes() -> str:
    return "\b\nExit codes:\n" + "\n".join(f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items())


def _version(ctx: object, param: object, value: bool) -> None:
    if not value:
        return
    import sys
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"holdfast {version('holdfast')}")
    except PackageNotFoundError:
        print("holdfast (not installed: run from a source tree)")
    sys.stdout.flush()
    raise SystemExit(0)
