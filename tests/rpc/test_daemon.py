"""The daemon's life: it recovers before it serves, drains before it stops, and says why it does not start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from holdfast.v1 import collection_pb2, vector_pb2
from holdfast.v1.collection_pb2_grpc import CollectionServiceStub
from holdfast.v1.vector_pb2_grpc import VectorServiceStub
from holdfastd.daemon import EXIT_CONFIG, EXIT_DATA, EXIT_LOCKED, EXIT_UNAVAILABLE, exit_code_of
from holdfastd.daemon.notify import Notifier
from holdfastd.engine.helpers import Helpers
from holdfastd.errors import (
    Corruption,
    DataDirectoryLocked,
    EngineFailed,
    FailedPrecondition,
    HoldfastError,
    ResourceExhausted,
    UnsupportedFormat,
)
from tests.rpc.calls import batch
from tests.rpc.process import Daemon, environment

pytestmark = pytest.mark.e2e


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory whose daemons are ended afterwards."""
    started: list[Daemon] = []
    original = Daemon.__init__

    def remembered(self: Daemon, *arguments: object, **more: object) -> None:
        original(self, *arguments, **more)  # type: ignore[arg-type]
        started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Daemon, "__init__", remembered)
        yield tmp_path
    for daemon in started:
        daemon.kill()


def create(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        request = collection_pb2.CreateCollectionRequest(name="books", dimensions=2)
        CollectionServiceStub(channel).CreateCollection(request)


def test_what_was_acknowledged_survives_a_kill(place: Path) -> None:
    daemon = Daemon(place).started()
    create(daemon.address)
    with grpc.insecure_channel(daemon.address) as channel:
        for number in range(20):
            VectorServiceStub(channel).Upsert(batch([f"id-{number}"], payloads=b'[{"n":%d}]' % number))
    daemon.kill()
    again = Daemon(place).started()
    with grpc.insecure_channel(again.address) as channel:
        found = VectorServiceStub(channel).Get(vector_pb2.GetRequest(collection="books", ids=["id-19", "id-0"])).points
    assert json.loads(found.payloads) == [{"n": 19}, {"n": 0}]
    assert np.frombuffer(found.vectors.data, "<f4").tolist() == [0, 1, 0, 1]
    assert again.stop() == 0
    assert int(re.findall(r"recovered_records=(\d+)", again.log)[-1]) >= 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_order(place: Path, number: int) -> None:
    daemon = Daemon(place).started()
    assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o660
    assert daemon.stop(number) == 0
    assert not daemon.socket.exists()
    assert "message=stopped" in daemon.log


def test_a_second_daemon_is_refused_with_the_holders_pid(place: Path) -> None:
    first = Daemon(place).started()
    (place / "second").mkdir()
    second = Daemon(place / "second", "--data-dir", str(first.data))
    assert second.ended() == EXIT_LOCKED
    assert f"process {first.process.pid}" in second.log
    assert "Traceback" not in second.log


def test_a_socket_that_is_served_is_not_taken_away(place: Path) -> None:
    first = Daemon(place).started()
    (place / "second").mkdir()
    second = Daemon(place / "second", "--socket", str(first.socket))
    assert second.ended() == EXIT_UNAVAILABLE
    assert "another process serves" in second.log
    create(first.address)


def test_a_socket_that_was_left_behind_is_replaced(place: Path) -> None:
    Daemon(place).started().kill()
    assert (place / "s").exists()
    create(Daemon(place).started().address)


def test_a_file_in_the_sockets_place_is_kept(place: Path) -> None:
    (place / "s").write_text("precious")
    daemon = Daemon(place)
    assert daemon.ended() == EXIT_CONFIG
    assert (place / "s").read_text() == "precious"


def test_damage_is_refused_with_its_place(place: Path) -> None:
    daemon = Daemon(place).started()
    create(daemon.address)
    daemon.stop()
    manifest = daemon.data / "MANIFEST.json"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    for each in daemon.data.glob("MANIFEST.prev*"):
        each.unlink()
    again = Daemon(place)
    assert again.ended() == EXIT_DATA
    assert "MANIFEST.json" in again.log
    assert "Traceback" not in again.log


def test_a_page_that_can_no_longer_be_read_costs_one_restart_and_one_segment(place: Path) -> None:
    """A file cut short under its map ends the daemon as a media error does; the next start finds out which it was."""
    daemon = Daemon(place).started()
    create(daemon.address)
    with grpc.insecure_channel(daemon.address) as channel:
        VectorServiceStub(channel).Upsert(batch([f"id-{number}" for number in range(20)]))
    assert daemon.stop() == 0
    daemon = Daemon(place).started()
    (vectors,) = daemon.data.glob("collections/*/*/vectors.npy")
    content = vectors.read_bytes()
    os.truncate(vectors, 0)
    with grpc.insecure_channel(daemon.address) as channel, pytest.raises(grpc.RpcError):
        VectorServiceStub(channel).Get(vector_pb2.GetRequest(collection="books", ids=["id-1"]))
    assert daemon.ended() == -signal.SIGBUS
    assert "Bus error" in (daemon.data / "FAULT.log").read_text()
    vectors.write_bytes(content[:-4] + b"rust")
    again = Daemon(place).started()
    with grpc.insecure_channel(again.address) as channel, pytest.raises(grpc.RpcError) as caught:
        VectorServiceStub(channel).Get(vector_pb2.GetRequest(collection="books", ids=["id-1"]))
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    # It serves before it has logged what it found.
    assert again.stop() == 0
    assert "Fatal Python error: Bus error" in again.log
    vectors.write_bytes(content)
    last = Daemon(place).started()
    with grpc.insecure_channel(last.address) as channel:
        VectorServiceStub(channel).Get(vector_pb2.GetRequest(collection="books", ids=["id-1"]))
    last.stop()


def test_tcp_beyond_this_machine_is_refused(place: Path) -> None:
    daemon = Daemon(place, "--listen", "0.0.0.0:0")
    assert daemon.ended() == EXIT_CONFIG
    assert "does not encrypt TCP" in daemon.log


def test_an_open_data_directory_is_tightened_with_a_warning(place: Path) -> None:
    (place / "data").mkdir(mode=0o755)
    daemon = Daemon(place).started()
    assert stat.S_IMODE(daemon.data.stat().st_mode) == 0o700
    assert "level=warning" in daemon.log


def test_a_file_in_the_place_of_the_data_directory_is_refused_and_left_as_it_is(place: Path) -> None:
    (place / "data").write_text("mine")
    (place / "data").chmod(0o644)
    daemon = Daemon(place)
    assert daemon.ended() != 0
    assert "Not a directory" in daemon.log
    assert stat.S_IMODE(daemon.data.stat().st_mode) == 0o644


def test_the_log_can_be_json(place: Path) -> None:
    daemon = Daemon(place, "--log-format", "json").started()
    daemon.stop()
    first, *_ = map(json.loads, daemon.log.splitlines())
    assert (first["message"], first["level"]) == ("serving", "info")
    assert first["listening"] == f"unix://{daemon.socket}"


def test_systemd_is_told(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place / "notify"))
        manager.settimeout(30)
        env = {"NOTIFY_SOCKET": str(place / "notify"), "WATCHDOG_USEC": "400000"}
        daemon = Daemon(place, env=env).started()
        heard = [manager.recv(4096).decode()]
        while "WATCHDOG=1" not in heard:
            heard.append(manager.recv(4096).decode())
        assert heard[0].startswith("STATUS=recovering")
        assert heard.index("READY=1") < heard.index("WATCHDOG=1")
        assert daemon.stop() == 0
        while "STOPPING=1" not in heard:
            heard.append(manager.recv(4096).decode())


def test_without_systemd_nothing_is_sent() -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/nowhere/notify"}, 1)
    notifier.ready()
    assert Notifier({}, 1).watchdog_seconds is None
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "2"}, 1).watchdog_seconds is None
    assert Notifier({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 1).watchdog_seconds == 30.0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--nonsense"], 64, "error: unrecognized arguments: --nonsense"),
        (["--max-streams", "0"], 78, "error: --max-streams is '0', it must be a number from 1 to 10000"),
        (["--config", "missing.toml"], 78, "cannot be read"),
        (["dump"], 64, "holdfastd dump --help"),
    ],
)
def test_a_wrong_command_line_is_one_line(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    command = [sys.executable, "-m", "holdfastd", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment({}), cwd=tmp_path)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_light_installation_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "xxhash.py").write_text("raise ModuleNotFoundError(\"No module named 'xxhash'\", name='xxhash')\n")
    env = environment({})
    env["PYTHONPATH"] = f"{tmp_path}:{env['PYTHONPATH']}"
    command = [sys.executable, "-m", "holdfastd", "--data-dir", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, cwd=tmp_path)
    assert done.returncode == EXIT_UNAVAILABLE
    assert "pip install 'holdfast[server]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DataDirectoryLocked("held"), EXIT_LOCKED),
        (Corruption("bad", path="/x"), EXIT_DATA),
        (UnsupportedFormat("newer"), EXIT_DATA),
        (EngineFailed("sync"), 74),
        (ResourceExhausted("no room", reason="NO_SPACE"), 74),
        (FailedPrecondition("the disk refuses", reason="DISK_ERROR"), 74),
        (FailedPrecondition("a directory is gone", reason="WAL_DIRECTORY_MISSING"), EXIT_DATA),
        (HoldfastError("bug"), 70),
    ],
)
def test_exit_codes(error: HoldfastError, code: int) -> None:
    assert exit_code_of(error) == code


def test_helpers_that_need_help_help_themselves() -> None:
    helpers = Helpers(1)
    assert helpers(lambda: helpers(lambda: 7).result()).result() == 7


def test_what_a_helper_raises_is_raised_where_it_is_waited_for() -> None:
    helpers = Helpers(1)
    with pytest.raises(ZeroDivisionError):
        helpers(lambda: helpers(lambda: 1 // 0).result()).result()
    assert helpers(lambda: 1).result() == 1
