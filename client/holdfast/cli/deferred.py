"""Modules that gRPC and protobuf import and a short command never uses: loaded when somebody asks them for something.

``grpc`` imports its asyncio side, and with it asyncio, sockets and TLS of the standard library; protobuf imports its
messages in pure Python beside those in C. Together they are 40 % of what a command costs from its start to its exit.
Only the console script defers them; the library leaves the process as it is.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

_UNUSED_BY_COMMANDS = ("asyncio", "grpc.aio", "google.protobuf.internal.python_message")


class DeferredModule(ModuleType):
    """Stands in ``sys.modules`` for a module until its first attribute is asked for, then passes on the real one's."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def defer_unused() -> None:
    """Call before the first import of ``grpc``. What is loaded already stays as it is."""
    for name in _UNUSED_BY_COMMANDS:
        sys.modules.setdefault(name, DeferredModule(name))
