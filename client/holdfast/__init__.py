"""Holdfast's client: a library (`holdfast.connect`), a command line and a prompt, without NumPy or the daemon.

Importing this package imports nothing else: every name below is loaded at its first use (PEP 562), so that a short
command does not pay for gRPC before it needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.client import Client, connect
    from holdfast.collection import Collection
    from holdfast.errors import (
        Aborted,
        AlreadyExists,
        Cancelled,
        Corruption,
        DeadlineExceeded,
        FailedPrecondition,
        HoldfastError,
        Internal,
        InvalidArgument,
        NotFound,
        OutOfRange,
        PermissionDenied,
        ResourceExhausted,
        Unauthenticated,
        Unavailable,
        Unimplemented,
        Unknown,
    )
    from holdfast.operations import Operation
    from holdfast.records import Hit, Record, WriteResult
    from holdfast.writer import Writer

_HOMES = {
    "Client": "holdfast.client",
    "connect": "holdfast.client",
    "Collection": "holdfast.collection",
    "Operation": "holdfast.operations",
    "Hit": "holdfast.records",
    "Record": "holdfast.records",
    "WriteResult": "holdfast.records",
    "Writer": "holdfast.writer",
    "Aborted": "holdfast.errors",
    "AlreadyExists": "holdfast.errors",
    "Cancelled": "holdfast.errors",
    "Corruption": "holdfast.errors",
    "DeadlineExceeded": "holdfast.errors",
    "FailedPrecondition": "holdfast.errors",
    "HoldfastError": "holdfast.errors",
    "Internal": "holdfast.errors",
    "InvalidArgument": "holdfast.errors",
    "NotFound": "holdfast.errors",
    "OutOfRange": "holdfast.errors",
    "PermissionDenied": "holdfast.errors",
    "ResourceExhausted": "holdfast.errors",
    "Unauthenticated": "holdfast.errors",
    "Unavailable": "holdfast.errors",
    "Unimplemented": "holdfast.errors",
    "Unknown": "holdfast.errors",
}

__all__ = [
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "Client",
    "Collection",
    "Corruption",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Hit",
    "HoldfastError",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "Operation",
    "OutOfRange",
    "PermissionDenied",
    "Record",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Unknown",
    "WriteResult",
    "Writer",
    "connect",
]


def __getattr__(name: str) -> object:
    """Load a public name from its module; AttributeError for anything else."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
