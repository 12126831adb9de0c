"""What the daemon says of itself: one line per event on stderr, for people and for the journal."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from ..config import ServerConfig


def set_up_logging(config: ServerConfig, environment: Mapping[str, str]) -> None:
    """One handler to stderr; with priorities in front where stderr goes to the journal."""
    handler = logging.StreamHandler(sys.stderr)
    journal = goes_to_journal(environment)
    handler.setFormatter(JsonFormatter(journal) if config.log_format == "json" else LineFormatter(journal))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.log_level.upper())
    logging.captureWarnings(True)


def goes_to_journal(environment: Mapping[str, str]) -> bool:
    """Whether stderr is the journal's stream, as systemd says it in JOURNAL_STREAM."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Formatter(logging.Formatter):
    def __init__(self, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def prefix(self, record: logging.LogRecord) -> str:
        """The journal's priority; the time for everybody else comes with the fields."""
        return f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._journal else ""

    def fields(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        """What a record says, in order."""
        if not self._journal:
            yield "time", datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        yield "level", record.levelname.lower()
        yield "message", record.getMessage()
        for key, value in vars(record).items():
            if key not in _STANDARD and value is not None:
                yield key, value
        if record.name != "holdfastd":
            yield "logger", record.name
        if record.exc_info:
            yield "traceback", self.formatException(record.exc_info)


class LineFormatter(_Formatter):
    """One line of key=value; a traceback becomes one quoted value."""

    def format(self, record: logging.LogRecord) -> str:
        return self.prefix(record) + " ".join(f"{key}={_quoted(value)}" for key, value in self.fields(record))


class JsonFormatter(_Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return self.prefix(record) + json.dumps(dict(self.fields(record)), default=str, ensure_ascii=False)


def _quoted(value: object) -> str:
    text = str(value)
    plain = text and not any(sign.isspace() or sign in '"=' or not sign.isprintable() for sign in text)
    return text if plain else json.dumps(text, ensure_ascii=False)
