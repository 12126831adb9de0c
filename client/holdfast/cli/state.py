"""What one invocation knows: how to reach the daemon, how to show results, and where to say things beside them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from holdfast.cli import exit_codes
from holdfast.cli.stdout import standard_output

if TYPE_CHECKING:
    from holdfast.cli.complete import Names
    from holdfast.client import Client
    from holdfast.documents import Document

Result: TypeAlias = "dict[str, Any] | Iterator[dict[str, Any]] | None"
"""What a command returns: one document, a stream of documents, or nothing."""


@dataclass(slots=True)
class Connector:
    """How to reach the daemon; connects at the first use and is shared by all lines of a prompt."""

    address: str | None = None
    token_file: str | None = None
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    timeout: float | None = None
    _client: Client | None = None

    def client(self) -> Client:
        """The client; made at the first call."""
        if self._client is None:
            self._client = self._connect()
        return self._client

    def with_option(self, name: str, value: object) -> Connector:
        """Another connector, with one option changed."""
        changed = replace(self, _client=None)
        setattr(changed, name, value)
        return changed

    def close(self) -> None:
        """Close what is open; the next `client` connects again."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connect(self) -> Client:
        from holdfast.channel import Tls
        from holdfast.client import connect
        from holdfast.connection import DEFAULT_TIMEOUT

        given = self.tls_ca or self.tls_cert or self.tls_key
        tls = Tls(self.tls_ca, self.tls_cert, self.tls_key) if given else None
        return connect(self.address, token=self._token(), tls=tls, timeout=self.timeout or DEFAULT_TIMEOUT)

    def _token(self) -> str | None:
        if self.token_file is None:
            return os.environ.get("HOLDFAST_TOKEN") or None
        from pathlib import Path

        from holdfast.errors import InvalidArgument

        try:
            return Path(self.token_file).read_text("utf-8").strip()
        except OSError as error:
            raise InvalidArgument(f"cannot read the token in {self.token_file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise InvalidArgument(f"{self.token_file} holds no token: it is not text") from None


@dataclass(slots=True)
class State:
    """One invocation. ``exit_code`` is what it ends with if it raises nothing."""

    connector: Connector = field(default_factory=Connector)
    output_format: str = "json"
    verbose: bool = False
    exit_code: int = exit_codes.SUCCESS
    _names: Names | None = None

    @property
    def names(self) -> Names:
        """Names that the daemon knows, for completion."""
        from holdfast.cli.complete import Names

        if self._names is None:
            self._names = Names()
        return self._names

    def for_line(self) -> State:
        """A state of its own for one line of the prompt: its options do not outlive it."""
        return replace(self, exit_code=exit_codes.SUCCESS)

    @property
    def client(self) -> Client:
        """The client; connects at the first use."""
        return self.connector.client()

    def now(self) -> datetime:
        """The wall clock, in the system's time zone."""
        return datetime.now()

    def shown(self, document: Document, keys: Iterable[str]) -> Document:
        """These keys of a document; all of it with ``-v``."""
        from holdfast.documents import pick

        warnings = ("warnings",) if "warnings" in document else ()
        return document if self.verbose else pick(document, (*keys, *warnings))

    def say(self, text: str) -> None:
        """One line on stderr, beside the result."""
        print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """``warning: …`` on stderr."""
        self.say("warning: " + " ".join(text.split("\n")))

    def can_ask(self) -> bool:
        """Whether a question would find a person."""
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    def emit(self, result: Result) -> None:
        """Show what a command returned on stdout, in the chosen format, and its warnings on stderr."""
        from holdfast.output import render, render_stream

        if result is None:
            return
        pieces: Iterable[str]
        with standard_output():
            if isinstance(result, dict):
                pieces = [render(self._without_warnings(result), self.output_format, width=_width())]
            else:
                pieces = render_stream(result, self.output_format)
            for piece in pieces:
                sys.stdout.write(piece)
                sys.stdout.flush()

    def _without_warnings(self, document: dict[str, Any]) -> dict[str, Any]:
        for warning in document.get("warnings") or ():
            self.warn(str(warning))
        return document if self.verbose else {key: value for key, value in document.items() if key != "warnings"}


def _width() -> int | None:
    """The terminal's width, None where stdout is no terminal."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size().columns
