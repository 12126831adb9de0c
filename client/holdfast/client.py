"""``holdfast.connect`` and the `Client` that it returns."""

from __future__ import annotations

from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING

from holdfast.address import find_address
from holdfast.checks import seconds, text
from holdfast.connection import DEFAULT_TIMEOUT, Connection

if TYPE_CHECKING:
    from holdfast.archive import Archive
    from holdfast.channel import TlsOption
    from holdfast.collection import Collection
    from holdfast.collections import Collections
    from holdfast.operations import Operations
    from holdfast.snapshots import Snapshots
    from holdfast.storage import Storage
    from holdfast.wal import Wal


def connect(
    address: str | None = None,
    token: str | None = None,
    tls: TlsOption = None,
    timeout: float | None = DEFAULT_TIMEOUT,
) -> Client:
    """Connect to a daemon; use it as a context manager, or call `Client.close`.

    address: ``unix:///path`` or ``host:port``; None: ``HOLDFAST_ADDRESS``, else /run/holdfast/holdfast.sock, else
    ./holdfast-data/holdfast.sock. token: a bearer token, over TCP. tls: see `holdfast.channel.TlsOption`. timeout:
    seconds for one call (not for long operations or streams); None for no limit. The first call connects; one that
    finds no daemon gives up with `Unavailable` within five seconds.
    """
    given = None if address is None else text(address, "address")
    token = None if token is None else text(token, "token")
    timeout = None if timeout is None else seconds(timeout, "timeout")
    return Client(Connection(find_address(given), token=token, tls=tls, timeout=timeout))


class Client:
    """A connection to one daemon, by nouns. Safe to use from several threads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def collection(self, name: str) -> Collection:
        """A handle on a collection, by name or alias. Nothing is sent: whether it exists shows at the first call."""
        from holdfast.collection import Collection

        return Collection(self.connection, text(name, "name"))

    @cached_property
    def collections(self) -> Collections:
        """Create, describe, list and drop collections; ``collections.aliases`` has their aliases."""
        from holdfast.collections import Collections

        return Collections(self.connection)

    @cached_property
    def snapshots(self) -> Snapshots:
        """Create, restore, verify and keep house with snapshots."""
        from holdfast.snapshots import Snapshots

        return Snapshots(self.connection)

    @cached_property
    def wal(self) -> Wal:
        """Settings of the log, replay, marks, and reading it."""
        from holdfast.wal import Wal

        return Wal(self.connection)

    @cached_property
    def archive(self) -> Archive:
        """How far the log is archived, and bringing all of it there."""
        from holdfast.archive import Archive

        return Archive(self.connection)

    @cached_property
    def storage(self) -> Storage:
        """Status, alarms, memory mapping, compaction."""
        from holdfast.storage import Storage

        return Storage(self.connection)

    @cached_property
    def operations(self) -> Operations:
        """Long work: list, watch, cancel."""
        from holdfast.operations import Operations

        return Operations(self.connection)

    def close(self) -> None:
        """Close the connection; calls that still run fail with `Cancelled`. Harmless twice."""
        self.connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
