"""The exit code of every outcome, in one table, which README.md and ``holdfast --help`` show.

A code that a caller does not know is a failure.
"""

from __future__ import annotations

from collections.abc import Mapping

SUCCESS = 0
FAILURE = 1
USAGE = 2
PARTIAL = 3
INTERRUPTED = 130
BROKEN_PIPE = 141

OF_STATUS: Mapping[str, int] = {
    "INVALID_ARGUMENT": USAGE,
    "NOT_FOUND": 4,
    "ALREADY_EXISTS": 5,
    "FAILED_PRECONDITION": 6,
    "OUT_OF_RANGE": 7,
    "ABORTED": 8,
    "RESOURCE_EXHAUSTED": 9,
    "PERMISSION_DENIED": 10,
    "UNAUTHENTICATED": 10,
    "UNAVAILABLE": 11,
    "DEADLINE_EXCEEDED": 12,
    "DATA_LOSS": 13,
    "CANCELLED": 14,
    "UNIMPLEMENTED": 15,
    "INTERNAL": FAILURE,
    "UNKNOWN": FAILURE,
}

MEANINGS: Mapping[int, str] = {
    SUCCESS: "done",
    FAILURE: "a fault of the daemon or of this program, an unhealthy result, or output that cannot be written",
    USAGE: "wrong arguments, or an invalid request",
    PARTIAL: "partly done: rows were skipped (insert-batch --on-error skip)",
    4: "not found",
    5: "already exists",
    6: "the store is not in the state that this needs",
    7: "a time, sequence or position outside what exists",
    8: "lost a race: try again",
    9: "a limit, or no space",
    10: "permission denied, or not authenticated",
    11: "the daemon cannot be reached",
    12: "no answer in time",
    13: "damaged data",
    14: "cancelled",
    15: "not supported by this daemon, or by this installation",
    INTERRUPTED: "interrupted (Ctrl-C)",
    BROKEN_PIPE: "nobody reads the output any more",
}
