"""Something between a daemon and an object store that meddles with single requests: refuses them, loses an answer."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.support.object_server import SIGNED

_OF_THE_CONNECTION = ("transfer-encoding", "connection", "content-length", "date", "server")


class Answer(NamedTuple):
    """What the store is made to say."""

    status: int
    body: str = ""


LOST = "the answer is lost"
HELD = "the answer is held back until the meddler is closed"
Meddling = Callable[[str, str], Answer | str | None]
"""What to do with a request, by its method and path: answer it, ``LOST`` or ``HELD``; None to let it through."""


class Meddler:
    """A server in front of the one at ``port``; ``meddle`` may be replaced at any time.

    ``google``: take the words of Google's stores, which speak like S3 but for conditions and signatures.
    ``asked``: method and path of every request. ``holds`` is set once an answer is held back.
    """

    def __init__(self, port: int, meddle: Meddling = lambda method, path: None, *, google: bool = False) -> None:
        self.meddle = meddle
        self._google = google
        self.asked: list[tuple[str, str]] = []
        self.holds = threading.Event()
        self._port = port
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def let_go(self) -> None:
        """Lose what is held back, and meddle no more."""
        self.meddle = lambda method, path: None
        self._closing.set()

    def close(self) -> None:
        """End it."""
        self.let_go()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        meddler = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5.0

            def log_message(self, *_: object) -> None:
                """Nothing is told."""

            def handle_one(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                meddler.asked.append((self.command, self.path))
                what = meddler.meddle(self.command, self.path)
                if isinstance(what, Answer):
                    self._say(what.status, {}, what.body.encode())
                    return
                if what == HELD:
                    meddler.holds.set()
                    meddler._closing.wait()
                    self.close_connection = True
                    return
                status, headers, body = self._passed_on(data)
                if what == LOST:
                    self.close_connection = True
                    return
                self._say(status, headers, body)

            def _passed_on(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
                line = http.client.HTTPConnection("127.0.0.1", meddler._port)
                line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self._in_words_of_s3().items():
                    line.putheader(name, value)
                line.endheaders(data)
                answer = line.getresponse()
                body, headers = answer.read(), dict(answer.getheaders())
                line.close()
                length = headers.get("Content-Length") or headers.get("content-length") or "0"
                kept = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_CONNECTION}
                return (
                    answer.status,
                    kept | {"Content-Length": length if self.command == "HEAD" else str(len(body))},
                    body,
                )

            def _in_words_of_s3(self) -> dict[str, str]:
                headers = dict(self.headers.items())
                if not meddler._google:
                    return headers
                if headers.pop("x-goog-if-generation-match", None) == "0":
                    headers["If-None-Match"] = "*"
                return {name: value for name, value in headers.items() if name.lower() != "authorization"} | {
                    "Authorization": SIGNED
                }

            def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        return Handler


def first_of(match: Callable[[str, str], bool], what: Answer | str, times: int = 1) -> Meddling:
    """Meddling with the first ``times`` requests that match, and with no other."""
    left = [what] * times

    def meddle(method: str, path: str) -> Answer | str | None:
        return left.pop() if left and match(method, path) else None

    return meddle


def refusal(code: str) -> str:
    """The body with which S3 gives an error code."""
    return f"<Error><Code>{code}</Code><Message>no</Message></Error>"
