"""The state of the fake daemon: collections, snapshots, operations, records, and failures that are due."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from holdfast.v1 import (
    collection_pb2,
    common_pb2,
    operation_pb2,
    storage_pb2,
    wal_pb2,
)

CHUNK_BYTES = 1 << 16
START_SECONDS = 1705746645  # 2024-01-20T10:30:45Z


@dataclass
class Point:
    """One stored point."""

    vector: bytes
    payload: Any
    version: int
    sequence: int


@dataclass
class FakeCollection:
    """One stored collection."""

    message: collection_pb2.Collection
    points: dict[str, Point] = field(default_factory=dict)


class Refusal(Exception):
    """What a handler raises to fail its call."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str, **metadata: str) -> None:
        super().__init__(message)
        self.code = code
        info = error_details_pb2.ErrorInfo(reason=reason, domain="holdfast", metadata=metadata)
        packed = any_pb2.Any()
        packed.Pack(info)
        self.status = status_pb2.Status(code=code.value[0], message=message, details=[packed])


class FakeState:
    """What the services keep, and what a test may look at or prepare."""

    def __init__(self, socket: str) -> None:
        self.address = f"unix://{socket}"
        self.collections: dict[str, FakeCollection] = {}
        self.aliases: dict[str, str] = {}
        self.snapshots: dict[str, common_pb2.Snapshot] = {}
        self.operations: dict[str, list[operation_pb2.Operation]] = {}
        self.marks: list[common_pb2.Mark] = []
        self.archive = wal_pb2.ArchiveStatus(state=wal_pb2.ArchiveStatus.STATE_OFF)
        self.records: list[wal_pb2.WalRecord] = []
        self.log_warnings: list[str] = []
        self.wal = wal_pb2.WalStatus(
            enabled=True, path="/data/wal", sync_mode=common_pb2.SYNC_MODE_FSYNC, segment_size_bytes=64 << 20,
            state=wal_pb2.WalStatus.STATE_ACTIVE, max_size_bytes=64 << 30, directories=["/data/wal"],
        )  # fmt: skip
        self.wal.retention.seconds = 86400
        self.wal.flush_interval.seconds = 5
        self.mmap = storage_pb2.MmapStatus(
            mmap_enabled=True, advise_mode=storage_pb2.MMAP_ADVICE_RANDOM,
            total_mapped_bytes=1 << 30, resident_bytes=1 << 29,
        )  # fmt: skip
        self.alarms: list[storage_pb2.Alarm] = []
        self.sequence = 0
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, dict[str, str | bytes]] = {}
        self.files: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.chunk_sums: list[int | None] = []
        self.claimed_sha256 = ""
        self.step_seconds = 0.0
        self.cancelled = threading.Event()
        self._failures: dict[str, deque[Refusal | None]] = defaultdict(deque)
        self._lock = threading.RLock()

    def fail_next(
        self, method: str, code: grpc.StatusCode, message: str = "no", reason: str = "TEST", **metadata: str
    ) -> None:
        """Let the next call of ``method`` fail; several are failed in turn, behind those let through."""
        self._failures[method].append(Refusal(code, message, reason, **metadata))

    def pass_next(self, method: str) -> None:
        """Let the next call of ``method`` through, in front of those to fail later."""
        self._failures[method].append(None)

    def due_failure(self, method: str) -> Refusal | None:
        """The failure that ``fail_next`` asked for, once."""
        return self._failures[method].popleft() if self._failures[method] else None

    def next_sequence(self) -> int:
        with self._lock:
            self.sequence += 1
            return self.sequence

    def find(self, name: str) -> FakeCollection:
        real = self.aliases.get(name, name)
        if real not in self.collections:
            raise Refusal(
                grpc.StatusCode.NOT_FOUND, f"there is no collection {name!r}", "COLLECTION_NOT_FOUND",
                collection=name, hint="holdfast collection list",
            )  # fmt: skip
        return self.collections[real]

    def operate(self, kind: operation_pb2.Operation.Kind.ValueType, **result: Any) -> operation_pb2.Operation:
        """An operation that takes four steps when it is watched."""
        operation_id = f"op-{len(self.operations) + 1}"
        states = operation_pb2.Operation.State
        steps = []
        for step, phase in enumerate(("preparing", "writing", "writing", "finishing")):
            progress = operation_pb2.Progress(
                phase=phase, done_bytes=step * 100, total_bytes=400, done_vectors=step, total_vectors=4,
                bytes_per_second=1000, cancellable=step < 3,
            )  # fmt: skip
            steps.append(
                operation_pb2.Operation(
                    id=operation_id, kind=kind, state=states.STATE_RUNNING, progress=progress, actor="unix"
                )
            )
        final = operation_pb2.Operation(
            id=operation_id,
            kind=kind,
            state=states.STATE_SUCCEEDED,
            progress=steps[-1].progress,
            actor="unix",
            **result,
        )
        final.create_time.seconds = START_SECONDS
        final.end_time.seconds = START_SECONDS + 5
        self.operations[operation_id] = [*steps, final]
        return steps[0]

    def log(self, kind: wal_pb2.WalRecord.Kind.ValueType, sequence: int, collection: str, ids: list[str]) -> None:
        record = wal_pb2.WalRecord(
            sequence=sequence, kind=kind, collection=collection, actor="unix", count=len(ids), first_ids=ids[:5],
            size_bytes=128, segment_path="/data/wal/00000001-00000000000000000001.wal", offset=80 + 128 * sequence,
        )  # fmt: skip
        record.time.seconds = START_SECONDS + sequence
        self.records.append(record)
