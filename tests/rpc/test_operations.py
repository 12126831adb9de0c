"""OperationService over a real socket: long work is listed, watched and cancelled."""

from __future__ import annotations

import threading
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from holdfast.v1 import operation_pb2
from holdfast.v1.operation_pb2 import Operation
from holdfast.v1.operation_pb2_grpc import OperationServiceStub
from holdfastd.engine.operations import Work
from holdfastd.errors import Corruption
from tests.rpc.calls import failing
from tests.support.fake_engine import FakeEngine

RESULT = {"segments_replayed": 2, "operations_replayed": 7, "collections_affected": ["books"], "warnings": ["so"]}


def replayed(_: Work) -> dict[str, Any]:
    return RESULT


def test_a_result_arrives_typed(operations: OperationServiceStub, engine: FakeEngine) -> None:
    started = engine.operations.start("replay", replayed, request={"collection": "books"}, request_id="r-1")
    engine.operations.wait(started.id)
    found = operations.GetOperation(operation_pb2.GetOperationRequest(id=started.id)).operation
    assert (found.kind, found.state) == (Operation.KIND_REPLAY_WAL, Operation.STATE_SUCCEEDED)
    assert (found.replay.operations_replayed, list(found.replay.warnings)) == (7, ["so"])
    assert (list(found.collections), found.request_id) == (["books"], "r-1")
    assert not found.HasField("error")


def test_a_failure_keeps_code_reason_and_place(operations: OperationServiceStub, engine: FakeEngine) -> None:
    def fail(_: Work) -> dict[str, Any]:
        raise Corruption("a bad byte", path="/data/x", offset=17, hint="restore it")

    started = engine.operations.start("replay", fail, request={})
    engine.operations.wait(started.id)
    found = operations.GetOperation(operation_pb2.GetOperationRequest(id=started.id)).operation
    assert found.state == Operation.STATE_FAILED
    assert found.error.code == grpc.StatusCode.DATA_LOSS.value[0]
    assert found.WhichOneof("result") is None


def test_a_watch_ends_with_the_end(operations: OperationServiceStub, engine: FakeEngine) -> None:
    go_on = threading.Event()

    def work(work: Work) -> dict[str, Any]:
        go_on.wait(10)
        work.report(phase="reading", done_bytes=5, total_bytes=10)
        return RESULT

    started = engine.operations.start("replay", work, request={})
    request = operation_pb2.WatchOperationRequest(id=started.id, interval=Duration(nanos=10_000_000))
    watch = operations.WatchOperation(request)
    assert next(iter(watch)).operation.state in (Operation.STATE_PENDING, Operation.STATE_RUNNING)
    go_on.set()
    *_, last = watch
    assert last.operation.state == Operation.STATE_SUCCEEDED
    assert last.operation.progress.done_bytes == 10, "a success has done all there was"


def test_leaving_a_watch_leaves_the_work_alone(operations: OperationServiceStub, engine: FakeEngine) -> None:
    go_on = threading.Event()
    started = engine.operations.start("replay", lambda work: RESULT if go_on.wait(10) else {}, request={})
    watch = operations.WatchOperation(operation_pb2.WatchOperationRequest(id=started.id))
    next(iter(watch))
    watch.cancel()
    go_on.set()
    assert engine.operations.wait(started.id).result == RESULT


def test_cancelling(operations: OperationServiceStub, engine: FakeEngine) -> None:
    begun = threading.Event()

    def work(work: Work) -> dict[str, Any]:
        begun.set()
        while True:
            work.check_cancelled()
            threading.Event().wait(0.001)

    started = engine.operations.start("replay", work, request={})
    assert begun.wait(10)
    request = operation_pb2.CancelOperationRequest(id=started.id)
    assert operations.CancelOperation(request).operation.id == started.id
    engine.operations.wait(started.id)
    ended = operations.GetOperation(operation_pb2.GetOperationRequest(id=started.id)).operation
    assert (ended.state, ended.error.code) == (Operation.STATE_CANCELLED, grpc.StatusCode.CANCELLED.value[0])
    failure = failing(lambda: operations.CancelOperation(request))
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "OPERATION_ENDED")


@pytest.mark.parametrize("method", ["GetOperation", "WatchOperation", "CancelOperation"])
def test_an_unknown_operation(operations: OperationServiceStub, method: str) -> None:
    request = getattr(operation_pb2, f"{method}Request")(id="op-none")

    def call() -> None:
        answer = getattr(operations, method)(request)
        if method == "WatchOperation":
            next(iter(answer))

    failure = failing(call)
    assert (failure.code, failure.info.reason) == (grpc.StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND")


def test_the_list_is_filtered_and_paged(operations: OperationServiceStub, engine: FakeEngine) -> None:
    for kind in ("replay", "verify_wal", "replay"):
        engine.operations.wait(engine.operations.start(kind, replayed, request={}).id)
    every = operations.ListOperations(operation_pb2.ListOperationsRequest())
    assert every.total_count == 3
    assert [each.create_time.ToMicroseconds() for each in every.operations] == sorted(
        (each.create_time.ToMicroseconds() for each in every.operations), reverse=True
    )
    replays = operations.ListOperations(
        operation_pb2.ListOperationsRequest(
            kinds=[Operation.KIND_REPLAY_WAL], states=[Operation.STATE_SUCCEEDED], page_size=1
        )
    )
    assert (len(replays.operations), replays.total_count) == (1, 2)
    rest = operations.ListOperations(
        operation_pb2.ListOperationsRequest(kinds=[Operation.KIND_REPLAY_WAL], page_token=replays.next_page_token)
    )
    assert [each.id for each in rest.operations] != [each.id for each in replays.operations]
    assert not operations.ListOperations(
        operation_pb2.ListOperationsRequest(states=[Operation.STATE_FAILED])
    ).operations


def test_an_unknown_state_is_refused(operations: OperationServiceStub) -> None:
    request = operation_pb2.ListOperationsRequest(states=[77])  # type: ignore[list-item]
    assert failing(lambda: operations.ListOperations(request)).field == "states"
