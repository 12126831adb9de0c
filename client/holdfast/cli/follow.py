"""Waiting for long work: progress with ``-v``, and Ctrl-C that detaches first and cancels second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from holdfast.cli import exit_codes
from holdfast.cli.state import State
from holdfast.documents import Document
from holdfast.errors import HoldfastError

if TYPE_CHECKING:
    from holdfast.operations import Operation

GRACE_SECONDS = 2.0


def finish(state: State, started: Any, *, wait: bool = True) -> Document | None:
    """What a command that starts an operation returns: its result when it is done, or where to find it.

    ``started`` is what the library gave back: an `Operation`, or the document of a dry run.
    """
    if isinstance(started, dict):
        return Document(started)
    if not wait:
        state.say(f"operation {started.id} runs; follow it with: holdfast operation watch {started.id}")
        return Document(operation_id=started.id, kind=started.kind, state=started.state)
    return follow(state, started)


def conclude(state: State, started: Any, keys: tuple[str, ...], *, wait: bool) -> Document | None:
    """As `finish`, with these keys of the result; all of it with ``-v``."""
    result = finish(state, started, wait=wait)
    return result if result is None or "operation_id" in result else state.shown(result, keys)


def follow(state: State, operation: Operation) -> Document | None:
    """Watch an operation to its end and return its result; None after Ctrl-C, with the exit code set."""
    from holdfast.cli.progress import display

    try:
        with display(state.verbose) as show:
            for progress in operation.watch():
                show(progress)
    except KeyboardInterrupt:
        detach(state, operation)
        return None
    return operation.result()


def detach(state: State, operation: Operation) -> None:
    """After the first Ctrl-C: say how to come back, and let a second one within two seconds cancel."""
    state.exit_code = exit_codes.INTERRUPTED
    try:
        state.say(
            f"\noperation {operation.id} continues; follow it with: holdfast operation watch {operation.id}\n"
            "press Ctrl-C again within 2 seconds to cancel it"
        )
        time.sleep(GRACE_SECONDS)
    except KeyboardInterrupt:
        cancel(state, operation)


def cancel(state: State, operation: Operation) -> None:
    """Ask for the cancellation and say what came of it."""
    try:
        operation.cancel()
    except HoldfastError as error:
        state.say(f"error: operation {operation.id} is not cancelled: {error.message}")
    else:
        state.say(f"operation {operation.id} is being cancelled")
