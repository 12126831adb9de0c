"""From failed calls to errors: every status has its class and its exit code, and nothing of gRPC's comes through."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

import holdfast
from holdfast import errors
from holdfast.cli.exit_codes import FAILURE, MEANINGS, OF_STATUS, SUCCESS
from holdfast.errors import CLASS_OF_STATUS, HoldfastError
from holdfast.status import error_of, error_of_status
from tests.support.fake_server import FakeDaemon

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_every_status_has_a_class_and_an_exit_code(code: grpc.StatusCode) -> None:
    cls = CLASS_OF_STATUS[code.name]
    assert cls.status == code.name
    assert OF_STATUS[code.name] != SUCCESS
    assert OF_STATUS[code.name] in MEANINGS


def test_every_class_is_exported_and_drawn_in_the_tree() -> None:
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, HoldfastError)]
    assert len(classes) == len(FAILURES) + 1
    for cls in classes:
        assert getattr(holdfast, cls.__name__) is cls
        assert cls.__name__ in holdfast.__all__
        assert cls is HoldfastError or f"── {cls.__name__} " in (errors.__doc__ or "")


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
def test_a_refusal_carries_reason_hint_and_metadata(
    daemon: FakeDaemon, db: holdfast.Client, code: grpc.StatusCode
) -> None:
    for _ in range(200 if code is grpc.StatusCode.UNAVAILABLE else 1):
        daemon.fail_next("CreateMark", code, "it says no", "SOME_REASON", hint="do this", name="x")
    connection = db.connection
    from holdfast.v1 import wal_pb2

    with pytest.raises(CLASS_OF_STATUS[code.name]) as caught:
        connection.call(connection.wal.CreateMark, wal_pb2.CreateMarkRequest(name="x"), idempotent=False)
    error = caught.value
    assert (error.message, error.reason, error.hint) == ("it says no", "SOME_REASON", "do this")
    assert error.metadata == {"name": "x"}
    assert error.grpc_status == code.name
    assert str(error) == "it says no"


def _status(*details: object) -> status_pb2.Status:
    status = status_pb2.Status(code=3, message="bad")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def test_every_kind_of_detail_is_understood() -> None:
    error = error_of_status(
        _status(
            error_details_pb2.ErrorInfo(reason="R", metadata={"a": "b"}),
            error_details_pb2.Help(links=[error_details_pb2.Help.Link(description="look there")]),
            error_details_pb2.BadRequest(
                field_violations=[error_details_pb2.BadRequest.FieldViolation(field="ids[3]", description="too long")]
            ),
            error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
            error_details_pb2.ResourceInfo(resource_name="products"),
        )
    )
    assert isinstance(error, errors.InvalidArgument)
    assert (error.reason, error.hint) == ("R", "look there")
    assert error.metadata == {"a": "b", "field": "ids[3]", "retry_after_seconds": "1.5"}


class Failed(grpc.RpcError):
    """A failed call as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode | None, text: str, trailing: tuple[tuple[str, bytes], ...] = ()) -> None:
        self._code, self._text, self._trailing = code, text, trailing

    def code(self) -> grpc.StatusCode | None:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._trailing


def test_a_daemon_that_is_not_there_is_named_with_what_to_do() -> None:
    text = "failed to connect to all addresses; last error: UNKNOWN: unix:/x: connect: No such file or directory (2)"
    error = error_of(Failed(grpc.StatusCode.UNAVAILABLE, text), "unix:///x")
    assert isinstance(error, errors.Unavailable)
    assert error.message == "no daemon answers at unix:///x: no such file or directory"
    assert error.hint is not None
    assert "systemctl start" in error.hint


def test_a_socket_that_may_not_be_opened_is_no_missing_daemon() -> None:
    text = "failed to connect to all addresses; last error: UNKNOWN: unix:/x: connect: Permission denied (13)"
    error = error_of(Failed(grpc.StatusCode.UNAVAILABLE, text), "unix:///x")
    assert isinstance(error, errors.PermissionDenied)
    assert error.message == "this user may not open unix:///x: permission denied"
    assert error.hint is not None
    assert "group" in error.hint


def test_a_path_that_is_no_socket_is_said_to_be_none(tmp_path: Path) -> None:
    failed = Failed(grpc.StatusCode.UNAVAILABLE, "connect: Connection refused (111)")
    error = error_of(failed, f"unix://{tmp_path}")
    assert error.message == f"no daemon answers at unix://{tmp_path}: that is no socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert error_of(failed, f"unix://{tmp_path}/s").message.endswith("connection refused")


def test_details_that_cannot_be_read_leave_code_and_text() -> None:
    error = error_of(Failed(grpc.StatusCode.NOT_FOUND, "gone", (("grpc-status-details-bin", b"\xff"),)), "x")
    assert isinstance(error, errors.NotFound)
    assert (error.message, error.reason) == ("gone", "NOT_FOUND")


def test_a_failure_without_anything_is_unknown() -> None:
    error = error_of(grpc.RpcError(), "x")
    assert isinstance(error, errors.Unknown)
    assert OF_STATUS[error.status] == FAILURE


@pytest.mark.parametrize(
    ("code", "text", "reason", "words"),
    [
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "DEADLINE_EXCEEDED", "may have been made"),
        ("UNIMPLEMENTED", "Method not found!", "UNKNOWN_METHOD", "older than this client"),
        (
            "RESOURCE_EXHAUSTED",
            "SERVER: Sent message larger than max (9 vs. 8)",
            "MESSAGE_TOO_LARGE",
            "smaller batches",
        ),
    ],
)
def test_what_grpc_itself_says_is_said_in_words_of_ours(code: str, text: str, reason: str, words: str) -> None:
    error = error_of(Failed(grpc.StatusCode[code], text), "x")
    assert (type(error), error.reason) == (CLASS_OF_STATUS[code], reason)
    assert words in (error.hint or "")
