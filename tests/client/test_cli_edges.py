"""What an operator meets at the edges: certificates, deadlines, addresses, a Ctrl-C in the midst of an import."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import holdfast
from tests.client.conftest import Outcome
from tests.rpc.process import environment
from tests.support.fake_server import FakeDaemon
from tests.support.waiting import until

BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The client as a process of its own: gRPC writes its own log to the descriptor."""
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        capture_output=True, text=True, check=False, timeout=60, cwd=directory, env=environment({}),
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"words\n", BROKEN.encode(), b"\xff\x00"])
def test_a_file_without_certificates_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    done = run(tmp_path, "--address", "localhost:1", "--tls-ca", "ca.pem", "collection", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "error: ca.pem holds no certificate that can be read",
        "hint: name a file of certificates in PEM: -----BEGIN CERTIFICATE-----",
    ]


@pytest.mark.parametrize("seconds", ["-1", "0", "nan", "inf", "soon", "1e30"])
def test_a_deadline_that_is_none_is_refused(cli: Callable[..., Outcome], seconds: str) -> None:
    outcome = cli("--timeout", seconds, "collection", "list")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"'{seconds}' is not a number of seconds above 0" in outcome.err


def test_a_deadline_is_a_number_of_seconds(cli: Callable[..., Outcome]) -> None:
    assert cli("--timeout", "2.5", "collection", "list").code == 0


def test_where_no_address_was_given_every_place_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "collection", "list")
    assert done.returncode == 11
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: no daemon answers at unix:///run/holdfast/holdfast.sock: no such file")
    assert "no address was given" in error
    assert error.endswith("it was looked for at /run/holdfast/holdfast.sock and ./holdfast-data/holdfast.sock")
    assert hint.startswith("hint: start it")
    given = run(tmp_path, "--address", "unix:/nonexistent/s", "collection", "list")
    assert "looked for" not in given.stderr


def test_an_interrupted_import_shows_what_it_has_inserted(
    daemon: FakeDaemon, products: holdfast.Collection, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "holdfast", "--address", daemon.address, "vector", "insert-batch", "products"]
    with subprocess.Popen(
        [*command, "--file", "-", "--format", "ndjson", "--batch-size", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("".join(f'{{"id":"x{n}","vector":[1,2]}}\n' for n in range(20)))
        process.stdin.flush()
        until(lambda: products.count() == 23)
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130
    answer = json.loads(out)
    assert list(answer) == ["inserted", "failed", "errors", "duration_ms"]
    assert 16 <= answer["inserted"] <= 20
    assert err.splitlines()[0].startswith("error: interrupted; batches that were not answered yet may be inserted too")


def test_a_token_file_that_is_no_text_is_named(cli: Callable[..., Outcome], tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    outcome = cli("--token-file", str(tmp_path / "token"), "collection", "list")
    assert (outcome.code, outcome.out) == (2, "")
    assert "token holds no token: it is not text" in outcome.err


def test_a_payload_of_a_file_is_sent_as_it_is_written(
    cli: Callable[..., Outcome], daemon: FakeDaemon, products: holdfast.Collection, tmp_path: Path
) -> None:
    written = b'{"a": 1,\r\n "b": "\xc3\xa9"}\r\n'
    (tmp_path / "payload.json").write_bytes(written)
    line = ["vector", "insert", "products", "--id", "x", "--vector", "[1,2]", "--payload"]
    assert cli(*line, f"@{tmp_path}/payload.json").code == 0
    assert daemon.requests["Upsert"][-1].payloads == b"[" + written + b"]"
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    outcome = cli(*line, f"@{tmp_path}/latin.json")
    assert (outcome.code, "latin.json is not UTF-8" in outcome.err) == (2, True)
