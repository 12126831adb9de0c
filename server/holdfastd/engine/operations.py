"""Long work as a resource: started by one call, watched by any number, cancellable, and still there after the client
has gone and after a restart.

Each operation is one JSON file, replaced atomically when it starts and when it ends, and its end is told only after
that; what a killed daemon left running is marked INTERRUPTED at the next start. Progress lives in memory only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import msgspec

from ..errors import Cancelled, FailedPrecondition, HoldfastError, NotFound
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem, make_dirs, replace_file
from ..storage.names import Layout
from .disk_errors import disk_errors_of
from .requests import MAX_AGE_US, MAX_REMEMBERED, differ, reused
from .room import Room

MAX_KEPT = 1000
"""Ended ones beyond this many are forgotten, but for those whose request may still be sent again (RULES 17)."""
MAX_KEPT_BYTES = 64 << 20
"""The same beyond so much of what they said: a comparison may name thousands of ids."""
MAX_RUNNING = 4
"""Long operations at the same time; further ones wait as PENDING."""


class OperationState(StrEnum):
    """Where an operation is in its life; the last four are final."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """Whether it will never change again."""
        return self not in (OperationState.PENDING, OperationState.RUNNING)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. Totals are 0 while they are unknown; the rate counts bytes a second over the whole run."""

    phase: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    done_vectors: int = 0
    total_vectors: int = 0
    bytes_per_second: float = 0.0
    eta_seconds: float | None = None
    cancellable: bool = True


@dataclass(frozen=True, slots=True)
class OperationError:
    """Why it failed, as the client is told."""

    kind: str
    reason: str
    message: str
    hint: str | None = None
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One long piece of work. ``result`` is the result document once it has succeeded.

    ``actor``: who asked for it. ``planned``: it only says what would be done; it is neither listed nor kept.
    ``request_digest``: of what was asked for under the request id, 0 where that is not known.
    """

    id: str
    kind: str
    state: OperationState
    created_us: int
    request: dict[str, Any] = field(default_factory=dict)
    request_id: str = ""
    actor: str = ""
    planned: bool = False
    ended_us: int = 0
    progress: Progress = field(default_factory=Progress)
    result: dict[str, Any] | None = None
    error: OperationError | None = None
    request_digest: int = 0


class Work:
    """What the function that does the work reports to; belongs to the thread that runs it."""

    def __init__(self, registry: OperationRegistry, operation_id: str, clock: Clock) -> None:
        self._registry = registry
        self._id = operation_id
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._cancel = threading.Event()
        self._final = False

    def report(self, **changes: Any) -> None:
        """Update fields of Progress, wake watchers, and raise Cancelled if the owner has asked for it."""
        self.check_cancelled()
        self._registry.update_progress(self._id, changes, self.seconds())

    def seconds(self) -> float:
        """For how long it has been running."""
        return (self._clock.monotonic_ns() - self._started_ns) / 1e9

    def check_cancelled(self) -> None:
        """Raise Cancelled if the owner has asked for it and the final phase has not begun."""
        if self._cancel.is_set() and not self._final:
            raise Cancelled(f"operation {self._id} was cancelled", hint="nothing was changed; start it again if needed")

    def wait(self, seconds: float) -> None:
        """Block for so long, or raise Cancelled as soon as the owner has asked for it."""
        self._cancel.wait(seconds)
        self.check_cancelled()

    def begin_final_phase(self, phase: str) -> None:
        """From here on the work cannot be cancelled, because its effect is being published."""
        self.check_cancelled()
        self._final = True
        self.report(phase=phase, cancellable=False)

    def request_cancel(self) -> bool:
        """Ask the work to stop; False when it is too late. Any thread."""
        if self._final:
            return False
        self._cancel.set()
        return True


class OperationRegistry:
    """All operations of the store. Thread-safe; ``start`` blocks for the disk, ``watch``, ``wait`` and ``take`` for the
    work, the others do not.
    """

    def __init__(self, fs: FileSystem, clock: Clock, randomness: Randomness, layout: Layout) -> None:
        self._fs = fs
        self._clock = clock
        self._randomness = randomness
        self._layout = layout
        self.warnings: tuple[str, ...] = ()
        """What ``load`` had to set aside."""
        # Set once by the engine.
        self.room: Room | None = None
        self._pool = ThreadPoolExecutor(MAX_RUNNING, thread_name_prefix="operation")
        # Held while one is begun and those before it are forgotten; always taken before _changed.
        self._starting = threading.Lock()
        # Guarded by _changed.
        self._changed = threading.Condition()
        self._operations: dict[str, Operation] = {}
        self._work: dict[str, Work] = {}
        self._bytes: dict[str, int] = {}

    def load(self) -> list[Operation]:
        """Read what is on the disk; what was running is marked INTERRUPTED and returned. Call once, at start."""
        make_dirs(self._fs, self._layout.operations)
        interrupted = []
        names = self._fs.listdir(self._layout.operations)
        for name in names:
            # What a crash left beside a file goes first: saving that file again would take its place.
            if name.endswith(".json.tmp"):
                self._fs.unlink(f"{self._layout.operations}/{name}")
        for name in filter(lambda name: name.endswith(".json"), names):
            path = f"{self._layout.operations}/{name}"
            try:
                data = self._fs.read(path)
                operation = msgspec.json.decode(data, type=Operation)
            except msgspec.MsgspecError as error:
                self._fs.rename(path, f"{path}.broken")
                self.warnings += (f"{path} is damaged ({error}) and was set aside: that operation is no longer listed",)
                continue
            if not operation.state.final:
                now = self._clock.now_us()
                operation = replace(operation, state=OperationState.INTERRUPTED, ended_us=now)
                interrupted.append(operation)
                self._save(operation)
            self._operations[operation.id] = operation
            self._bytes[operation.id] = len(data)
        return interrupted

    def start(
        self,
        kind: str,
        run: Callable[[Work], dict[str, Any]],
        *,
        request: dict[str, Any],
        request_id: str = "",
        request_digest: int = 0,
        actor: str = "",
        planned: bool = False,
    ) -> Operation:
        """Begin ``run`` on a thread of its own and return at once. The same request_id returns the first operation.

        A plan is not written down; whoever asked for it fetches it with ``take``. Raises InvalidArgument where the
        request id was another request's, by the digest of what was asked for.
        """
        # A twin waits until this one is on the disk: it must not be told an id that is refused in the end.
        with self._starting:
            known = None if planned else self.begun(request_id, request_digest)
            if known is not None:
                return known
            operation = Operation(
                id=f"op-{self._randomness.u64():016x}",
                kind=kind,
                state=OperationState.PENDING,
                created_us=self._clock.now_us(),
                request=request,
                request_id=request_id,
                actor=actor,
                planned=planned,
                request_digest=request_digest,
            )
            with disk_errors_of(f"beginning a {kind}"):
                self._save_at_first(operation)
            work = Work(self, operation.id, self._clock)
            with self._changed:
                self._operations[operation.id] = operation
                self._work[operation.id] = work
            self._forget_oldest()
        self._pool.submit(self._run, operation.id, run, work)
        return operation

    def begun(self, request_id: str, request_digest: int = 0) -> Operation | None:
        """The operation that a request with this id has begun already, if it is remembered.

        Raises InvalidArgument where that one asked for something else.
        """
        with self._changed:
            known = self._operations.values() if request_id else ()
            begun = next((each for each in known if each.request_id == request_id and not each.planned), None)
        if begun is not None and differ(begun.request_digest, request_digest):
            raise reused(request_id, f"which began the operation {begun.id}")
        return begun

    def get(self, operation_id: str) -> Operation:
        """One operation. Raises NotFound."""
        with self._changed:
            return self._get_locked(operation_id)

    def list(self) -> list[Operation]:
        """All that are remembered, newest first."""
        with self._changed:
            listed = [operation for operation in self._operations.values() if not operation.planned]
            return sorted(listed, key=lambda o: (o.created_us, o.id), reverse=True)

    def watch(self, operation_id: str, *, interval_seconds: float = 0.2) -> Iterator[Operation]:
        """Every change of an operation until it ends, at most one in ``interval_seconds``; the last is final."""
        seen: Operation | None = None
        while True:
            with self._changed:
                if seen is not None and self._get_locked(operation_id) is seen:
                    self._changed.wait(interval_seconds)
                seen = self._get_locked(operation_id)
            yield seen
            if seen.state.final:
                return

    def wait(self, operation_id: str) -> Operation:
        """Block until an operation has ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._get_locked(operation_id).state.final)
            return self._get_locked(operation_id)

    def take(self, operation_id: str) -> Operation:
        """Block until a plan has ended, and forget it."""
        with self._changed:
            self._changed.wait_for(lambda: self._get_locked(operation_id).state.final)
            return self._operations.pop(operation_id)

    def cancel(self, operation_id: str, *, request_id: str = "") -> Operation:
        """Ask an operation to stop. Raises FailedPrecondition when it has ended or is publishing its effect.

        With a request id one that was cancelled already is returned: the request may have been sent again.
        """
        operation = self.get(operation_id)
        work = self._work.get(operation_id)
        if request_id and operation.state is OperationState.CANCELLED:
            return operation
        if operation.state.final or work is None:
            raise FailedPrecondition(
                f"operation {operation_id} has already {operation.state}", reason="OPERATION_ENDED"
            )
        if not work.request_cancel():
            raise FailedPrecondition(
                f"operation {operation_id} is in its final phase and cannot be cancelled any more",
                reason="OPERATION_NOT_CANCELLABLE",
                hint=f"wait for it with `holdfast operation watch {operation_id}`",
            )
        return operation

    def stop(self) -> None:
        """Cancel what can be cancelled and wait for the rest to end."""
        for work in list(self._work.values()):
            work.request_cancel()
        self._pool.shutdown(wait=True)

    def update_progress(self, operation_id: str, changes: dict[str, Any], elapsed_seconds: float) -> None:
        """Merge ``changes`` into the progress (for Work)."""
        with self._changed:
            operation = self._get_locked(operation_id)
            progress = replace(operation.progress, **changes)
            rate = progress.done_bytes / elapsed_seconds if elapsed_seconds > 0 else 0.0
            left = progress.total_bytes - progress.done_bytes
            eta = left / rate if rate > 0 and left >= 0 and progress.total_bytes else None
            progress = replace(progress, bytes_per_second=rate, eta_seconds=eta)
            self._operations[operation_id] = replace(operation, progress=progress)
            self._changed.notify_all()

    def _run(self, operation_id: str, run: Callable[[Work], dict[str, Any]], work: Work) -> None:
        self._change(operation_id, state=OperationState.RUNNING)
        try:
            result = run(work)
        except Cancelled as error:
            self._end(operation_id, OperationState.CANCELLED, error=describe(error))
        except Exception as error:
            self._end(operation_id, OperationState.FAILED, error=describe(error))
        else:
            progress = _completed(self.get(operation_id).progress)
            self._end(operation_id, OperationState.SUCCEEDED, result=result, progress=progress)

    def _end(self, operation_id: str, state: OperationState, **changes: Any) -> None:
        ended = replace(self.get(operation_id), state=state, ended_us=self._clock.now_us(), **changes)
        try:
            self._save_at_last(ended)
        except OSError as error:
            ended = _untold(ended, error)
        finally:
            with self._changed:
                self._operations[operation_id] = ended
                self._work.pop(operation_id, None)
                self._changed.notify_all()

    def _change(self, operation_id: str, **changes: Any) -> None:
        with self._changed:
            self._operations[operation_id] = replace(self._get_locked(operation_id), **changes)
            self._changed.notify_all()

    def _get_locked(self, operation_id: str) -> Operation:
        operation = self._operations.get(operation_id)
        if operation is None:
            raise NotFound(
                f"there is no operation {operation_id!r}",
                reason="OPERATION_NOT_FOUND",
                hint="list them with `holdfast operation list`",
            )
        return operation

    def _forget_oldest(self) -> None:
        """A file that cannot be removed stays listed, and is tried again with the next start."""
        with self._changed:
            ended = sorted((o for o in self._operations.values() if o.state.final), key=lambda o: o.created_us)
            excess = len(self._operations) - MAX_KEPT
            excess_bytes = sum(self._bytes.values()) - MAX_KEPT_BYTES
        promised_us = self._clock.now_us() - MAX_AGE_US
        for operation in ended:
            if excess <= 0 and excess_bytes <= 0:
                return
            if operation.request_id and operation.created_us >= promised_us and excess <= MAX_REMEMBERED:
                continue
            if operation.planned or self._remove(operation):
                with self._changed:
                    self._operations.pop(operation.id, None)
                    excess_bytes -= self._bytes.pop(operation.id, 0)
                    excess -= 1

    def _remove(self, operation: Operation) -> bool:
        try:
            self._fs.unlink(self._path(operation.id))
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _save(self, operation: Operation) -> None:
        if operation.planned:
            return
        data = msgspec.json.encode(operation)
        replace_file(self._fs, self._path(operation.id), data)
        with self._changed:
            self._bytes[operation.id] = len(data)

    def _save_at_first(self, operation: Operation) -> None:
        """Save one that is about to begin, or leave nothing of it: a start must not list what was never begun."""
        try:
            self._save(operation)
        except OSError:
            self._remove(operation)
            raise

    def _save_at_last(self, operation: Operation) -> None:
        """Save the end of an operation, which may have the reserve for it: the effect is there already (RULES 26)."""
        if self.room is None:
            self._save(operation)
        else:
            self.room.insist(lambda: self._save(operation))

    def _path(self, operation_id: str) -> str:
        return f"{self._layout.operations}/{operation_id}.json"


def _completed(progress: Progress) -> Progress:
    """What is left at the end of a success: nothing. One that never reported has nothing to say."""
    if progress == Progress():
        return progress
    done_bytes = progress.total_bytes or progress.done_bytes
    done_vectors = progress.total_vectors or progress.done_vectors
    return replace(
        progress,
        done_bytes=done_bytes,
        total_bytes=done_bytes,
        done_vectors=done_vectors,
        total_vectors=done_vectors,
        eta_seconds=0.0,
        cancellable=False,
    )


def _untold(ended: Operation, error: OSError) -> Operation:
    """An operation whose end is in memory alone: whoever hears of it hears that, too."""
    warning = (
        f"how operation {ended.id} ended could not be written to the disk ({error.strerror or error}): after a restart "
        f"it may be listed as {OperationState.INTERRUPTED}"
    )
    if ended.error is not None:
        return replace(ended, error=replace(ended.error, message=f"{ended.error.message}; {warning}"))
    result = ended.result or {}
    return replace(ended, result={**result, "warnings": [*result.get("warnings", ()), warning]})


def describe(error: Exception) -> OperationError:
    """An exception as it is stored and shown."""
    if isinstance(error, HoldfastError):
        return OperationError(type(error).__name__, error.reason, error.message, error.hint, error.metadata)
    return OperationError("Internal", "INTERNAL", f"{type(error).__name__}: {error}")
