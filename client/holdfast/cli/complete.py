"""Completion from the daemon: names of collections, aliases, snapshots and operations. It never waits on a dead one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from holdfast.cli.state import State

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from holdfast.client import Client

_TIMEOUT_SECONDS = 0.5
_KEEP_SECONDS = 5.0
_MOST = 1000


class Names:
    """Names as the daemon gave them, kept for five seconds; a failure is kept as long, as no names."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[float, list[str]]] = {}

    def get(self, kind: str, ask: Callable[[], list[str]]) -> list[str]:
        """The names of a kind, asked for again once they are old."""
        now = self._clock()
        kept = self._kept.get(kind)
        if kept is not None and now - kept[0] < _KEEP_SECONDS:
            return kept[1]
        try:
            names = ask()
        except Exception:  # completion offers nothing rather than disturb the line that is being typed
            names = []
        self._kept[kind] = (self._clock(), names)
        return names


def _collections(client: Client) -> list[str]:
    from holdfast.v1 import collection_pb2

    request = collection_pb2.ListCollectionsRequest(page_size=_MOST)
    stub = client.connection.collections
    page = stub.ListCollections(request, timeout=_TIMEOUT_SECONDS, metadata=client.connection.metadata)
    return [name for entry in page.collections for name in (entry.name, *entry.aliases)]


def _aliases(client: Client) -> list[str]:
    from holdfast.v1 import collection_pb2

    request = collection_pb2.ListAliasesRequest(page_size=_MOST)
    stub = client.connection.collections
    page = stub.ListAliases(request, timeout=_TIMEOUT_SECONDS, metadata=client.connection.metadata)
    return [entry.alias for entry in page.aliases]


def _snapshots(client: Client) -> list[str]:
    from holdfast.v1 import snapshot_pb2

    request = snapshot_pb2.ListSnapshotsRequest(page_size=_MOST)
    stub = client.connection.snapshots
    page = stub.ListSnapshots(request, timeout=_TIMEOUT_SECONDS, metadata=client.connection.metadata)
    return ["latest", *(entry.id for entry in page.snapshots)]


def _operations(client: Client) -> list[str]:
    from holdfast.v1 import operation_pb2

    request = operation_pb2.ListOperationsRequest(page_size=50)
    stub = client.connection.operations
    page = stub.ListOperations(request, timeout=_TIMEOUT_SECONDS, metadata=client.connection.metadata)
    return [entry.id for entry in page.operations]


def _completer(
    kind: str, ask: Callable[[Client], list[str]]
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        state = ctx.ensure_object(State)
        names = state.names.get(kind, lambda: ask(state.client))
        return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]

    return complete


complete_collections = _completer("collections", _collections)
complete_aliases = _completer("aliases", _aliases)
complete_snapshots = _completer("snapshots", _snapshots)
complete_operations = _completer("operations", _operations)
