"""S3 on this machine: moto's server in a process of its own, a line to it that breaks, and a server that says no."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

LIMIT_SECONDS = 60.0
KEY_ID = "AKIAPLANTEDKEYID0001"
SECRET = "planted/secret+key+that+nobody+may+see"
BUCKET = "backups"
SIGNED = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


class S3Server:
    """The server, with one empty bucket."""

    def __init__(self) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.process, self.port)
        self.ask("PUT", BUCKET)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, data: bytes | None = b"") -> bytes:
        """One request, past the library that is tested."""
        headers = {"Authorization": SIGNED, "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.endpoint}/{path}", method=method, data=data, headers=headers)
        with urllib.request.urlopen(request) as answer:
            found: bytes = answer.read()
        return found

    def uploads(self) -> bytes:
        """What the bucket says of uploads that are not complete."""
        return self.ask("GET", f"{BUCKET}?uploads", None)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """The server, for as long as the block runs."""
    server = S3Server()
    try:
        yield server
    finally:
        server.stop()


def environment(endpoint: str, secret: str = SECRET) -> dict[str, str]:
    """What leads a daemon to a server."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }


def lead_to(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> Mapping[str, str]:
    """Let this process find a server."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return environment(endpoint)


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether anybody listens on a port of the loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    """Until a server that was started listens on a port of the loopback."""
    end = time.monotonic() + LIMIT_SECONDS
    while not accepts(port):
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < end, "the server does not start"
        time.sleep(0.02)


class BreakingLine:
    """A line to a server: the next connections break after so many bytes of answers or of requests, those after hold.

    ``answers``, ``requests``: limits in bytes, one per connection; each is used up by one that reaches it.
    ``answered``: bytes of answers so far. ``hold_after``: let no more bytes of requests through on one connection, and
    set ``holds``.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.answers: list[int] = []
        self.requests: list[int] = []
        self.broken = 0
        self.answered = 0
        self.hold_after: int | None = None
        self.holds = threading.Event()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End every connection."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for each in self._sockets:
            _end(each)
        for thread in self._threads:
            thread.join()
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [near, far]
            for source, sink, limits in ((near, far, self.requests), (far, near, self.answers)):
                thread = threading.Thread(target=self._carry, args=(source, sink, limits), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, sink: socket.socket, limits: list[int]) -> None:
        carried = 0
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if limits and carried + len(data) > limits[0]:
                    sink.sendall(data[: max(0, limits.pop(0) - carried)])
                    self.broken += 1
                    break
                carried += len(data)
                if limits is self.requests and self.hold_after is not None and carried > self.hold_after:
                    self.holds.set()
                    self._closing.wait()
                    break
                self.answered += len(data) if limits is self.answers else 0
                sink.sendall(data)
        _end(source)
        _end(sink)


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


class Refusing:
    """A server that gives one answer to everything, or, once ``times`` are used up, hands on to another server."""

    def __init__(self, status: int, body: str, *, times: int | None = None, then: str = "") -> None:
        refusing = self
        self.asked = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Nothing is told."""

            def handle_one(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                refusing.asked += 1
                code, said, headers = status, body.encode(), {}
                if times is not None and refusing.asked > times:
                    code, said, headers = 307, b"", {"Location": f"{then}{self.path}"}
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(said)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
