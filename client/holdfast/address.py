"""Where the daemon is: ``unix:///path`` or ``host:port``, and which one is taken when none is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from holdfast.errors import InvalidArgument

ENVIRONMENT_VARIABLE = "HOLDFAST_ADDRESS"
SYSTEM_SOCKET = "/run/holdfast/holdfast.sock"
LOCAL_DATA = "holdfast-data"
LOCAL_SOCKET = f"{LOCAL_DATA}/holdfast.sock"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Address(NamedTuple):
    """A resolved address: either ``path`` (a Unix socket, absolute) or ``host`` and ``port``."""

    path: str | None = None
    host: str = ""
    port: int = 0
    searched: tuple[str, ...] = ()
    """The sockets that were looked for, where no address was given."""

    @property
    def is_local(self) -> bool:
        """Whether this is a Unix socket, so that client and daemon share a file system."""
        return self.path is not None

    @property
    def is_loopback(self) -> bool:
        """Whether plain text on this TCP address stays on this machine."""
        return self.host in _LOOPBACK or self.host.startswith("127.")

    @property
    def target(self) -> str:
        """The name that gRPC wants."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.path}" if self.path is not None else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path is not None else self.target


def find_address(
    given: str | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    exists: Callable[[str], bool] | None = None,
) -> Address:
    """The given address, else ``HOLDFAST_ADDRESS``, else the socket under /run, else the one in ./holdfast-data.

    Where there is no socket, ./holdfast-data tells whose daemon is meant: it may be about to serve, or have stopped.
    """
    chosen = given or (os.environ if environment is None else environment).get(ENVIRONMENT_VARIABLE)
    if chosen:
        return parse_address(chosen)
    exists = exists or _exists
    if not exists(SYSTEM_SOCKET) and exists(LOCAL_DATA):
        return Address(path=_absolute(LOCAL_SOCKET), searched=(SYSTEM_SOCKET, f"./{LOCAL_SOCKET}"))
    return Address(path=SYSTEM_SOCKET, searched=(SYSTEM_SOCKET, f"./{LOCAL_SOCKET}"))


def parse_address(text: str) -> Address:
    """``unix:///path``, ``unix:path``, ``/path``, ``host:port`` or ``[v6]:port``; InvalidArgument for anything else."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
        if not path:
            raise _bad(text)
        return Address(path=_absolute(path))
    if text.startswith(("/", "./")):
        return Address(path=_absolute(text))
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise _bad(text)
    if not host or not port.isascii() or not port.isdigit() or len(port) > 5 or not 0 < int(port) < 65536:
        raise _bad(text)
    return Address(host=host, port=int(port))


def _exists(path: str) -> bool:
    return os.access(path, os.F_OK)  # not Path.exists: importing pathlib costs every command 3 ms


def _absolute(path: str) -> str:
    if path.startswith("/"):
        return path
    from pathlib import Path

    return str(Path(path).absolute())


def _bad(text: str) -> InvalidArgument:
    return InvalidArgument(
        f"{text!r} is not an address",
        reason="BAD_ADDRESS",
        hint=f"write unix:///path/to/holdfast.sock or host:port, in --address or {ENVIRONMENT_VARIABLE}",
    )
