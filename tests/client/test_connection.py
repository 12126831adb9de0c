"""Retries, deadlines, and giving up."""

from __future__ import annotations

import os
from pathlib import Path

import grpc
import pytest

import holdfast
from holdfast.address import Address
from holdfast.connection import PATIENCE_SECONDS, Connection
from holdfast.v1 import storage_pb2, wal_pb2
from holdfast.wal import Wal
from tests.support.fake_server import FakeDaemon


class SteppingClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float, /) -> None:
        self.time += seconds


def _connect(daemon: FakeDaemon) -> tuple[Connection, SteppingClock]:
    clock = SteppingClock()
    return Connection(Address(path=daemon.address.removeprefix("unix://")), clock=clock), clock


def test_unavailable_is_retried_until_it_works(daemon: FakeDaemon) -> None:
    connection, clock = _connect(daemon)
    for _ in range(3):
        daemon.fail_next("GetStatus", grpc.StatusCode.UNAVAILABLE)
    assert connection.call(connection.storage.GetStatus, storage_pb2.GetStatusRequest()).status.version == "0.1.0"
    assert len(daemon.requests["GetStatus"]) == 4
    assert 0 < clock.time < PATIENCE_SECONDS
    connection.close()


def test_it_gives_up_within_five_seconds(daemon: FakeDaemon) -> None:
    connection, clock = _connect(daemon)
    for _ in range(1000):
        daemon.fail_next("GetStatus", grpc.StatusCode.UNAVAILABLE, "starting")
    with pytest.raises(holdfast.Unavailable, match="starting"):
        connection.call(connection.storage.GetStatus, storage_pb2.GetStatusRequest())
    assert clock.time <= PATIENCE_SECONDS
    assert len(daemon.requests["GetStatus"]) > 5
    connection.close()


@pytest.mark.parametrize(("failures", "comes_back"), [(50, True), (1000, False)])
def test_a_tail_waits_longer_once_it_has_begun(daemon: FakeDaemon, failures: int, comes_back: bool) -> None:
    connection, clock = _connect(daemon)
    daemon.records[:] = [wal_pb2.WalRecord(sequence=sequence, kind="KIND_MARK") for sequence in (1, 2, 3)]
    daemon.pass_next("TailWal")
    daemon.fail_next("TailWalMidway", grpc.StatusCode.UNAVAILABLE, "stopping")
    for _ in range(failures):
        daemon.fail_next("TailWal", grpc.StatusCode.UNAVAILABLE, "starting")
    tail = Wal(connection).tail(start=1)
    assert [next(tail).sequence for _ in range(2)] == [1, 2]
    clock.sleep(3600)
    if comes_back:
        assert [record.sequence for record in tail] == [3]
        assert PATIENCE_SECONDS < clock.time - 3600 < 60
    else:
        with pytest.raises(holdfast.Unavailable, match="starting"):
            next(tail)
        assert 60 <= clock.time - 3600 < 60 + 2 * PATIENCE_SECONDS
    connection.close()


def test_a_stream_is_retried_until_it_begins(daemon: FakeDaemon, products: holdfast.Collection) -> None:
    connection, clock = _connect(daemon)
    for _ in range(3):
        daemon.fail_next("Export", grpc.StatusCode.UNAVAILABLE)
    assert len(list(holdfast.Collection(connection, "products").export())) == 3
    assert 0 < clock.time < PATIENCE_SECONDS
    for _ in range(1000):
        daemon.fail_next("Export", grpc.StatusCode.UNAVAILABLE, "starting")
    with pytest.raises(holdfast.Unavailable, match="starting"):
        list(holdfast.Collection(connection, "products").export())
    assert PATIENCE_SECONDS < clock.time <= 2 * PATIENCE_SECONDS
    connection.close()


def test_where_there_is_no_socket_it_gives_up_at_once(tmp_path: Path) -> None:
    clock = SteppingClock()
    connection = Connection(Address(path=str(tmp_path / "none")), clock=clock)
    with pytest.raises(holdfast.Unavailable, match="no daemon answers at"):
        connection.call(connection.storage.GetStatus, storage_pb2.GetStatusRequest())
    assert clock.time < 1
    connection.close()


@pytest.mark.parametrize(("holder", "patient"), [("alive", True), ("4194305", False), ("", False)])
def test_a_daemon_that_holds_its_directory_is_waited_for(tmp_path: Path, holder: str, patient: bool) -> None:
    (tmp_path / "LOCK").write_text(holder.replace("alive", str(os.getpid())))
    clock = SteppingClock()
    connection = Connection(Address(path=str(tmp_path / "none")), clock=clock)
    with pytest.raises(holdfast.Unavailable):
        connection.call(connection.storage.GetStatus, storage_pb2.GetStatusRequest())
    assert (clock.time > 4) is patient
    connection.close()


@pytest.mark.parametrize(
    "code", [c for c in grpc.StatusCode if c.name not in ("OK", "UNAVAILABLE")], ids=lambda c: c.name
)
def test_nothing_else_is_retried(daemon: FakeDaemon, code: grpc.StatusCode) -> None:
    connection, clock = _connect(daemon)
    daemon.fail_next("GetStatus", code)
    with pytest.raises(holdfast.HoldfastError):
        connection.call(connection.storage.GetStatus, storage_pb2.GetStatusRequest())
    assert clock.time == 0
    connection.close()


def test_what_is_not_idempotent_is_not_retried(daemon: FakeDaemon) -> None:
    connection, _ = _connect(daemon)
    daemon.fail_next("CreateMark", grpc.StatusCode.UNAVAILABLE)
    with pytest.raises(holdfast.Unavailable):
        connection.call(connection.wal.CreateMark, wal_pb2.CreateMarkRequest(name="m"), idempotent=False)
    assert len(daemon.requests["CreateMark"]) == 1
    connection.close()


def test_a_retry_carries_the_same_request_id(daemon: FakeDaemon, db: holdfast.Client) -> None:
    collection = db.collections.create("c", 1)
    daemon.fail_next("Upsert", grpc.StatusCode.UNAVAILABLE)
    collection.upsert(["a"], [[1.0]])
    collection.upsert(["a"], [[1.0]])
    first, again, other = (request.request_id for request in daemon.requests["Upsert"])
    assert first == again
    assert first
    assert first != other


def test_the_token_goes_with_unary_calls_and_streams(daemon: FakeDaemon) -> None:
    with holdfast.connect(daemon.address, token="secret") as db:
        collection = db.collections.create("c", 1)
        list(collection.upsert_stream([(["a"], [[1.0]], None)]))
        list(collection.export())
    for method in ("CreateCollection", "UpsertStream", "Export"):
        assert daemon.metadata[method]["authorization"] == "Bearer secret"


def test_a_closed_client_says_so(daemon: FakeDaemon) -> None:
    db = holdfast.connect(daemon.address)
    collection = db.collections.create("c", 1)
    db.close()
    db.close()
    for call in (db.storage.status, collection.count, collection.writer, lambda: list(collection.export())):
        with pytest.raises(holdfast.FailedPrecondition, match="closed"):
            call()
