"""What the daemon says of itself, line by line."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from holdfastd.daemon.logs import JsonFormatter, LineFormatter


def record(message: str, level: int = logging.INFO, **more: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "holdfastd", "levelno": level, "levelname": logging.getLevelName(level)})
    made.msg = message
    made.created = 0.0
    vars(made).update(more)
    return made


def test_a_line_is_key_and_value() -> None:
    text = LineFormatter(False).format(record("serving", sequence=17, hint=None, path="/a b"))
    assert text == 'time=1970-01-01T00:00:00.000+00:00 level=info message=serving sequence=17 path="/a b"'


@pytest.mark.parametrize("value", ["", "a b", 'a"b', "a=b", "a\nb", "\x1b[31m"])
def test_no_value_can_break_the_line(value: str) -> None:
    text = LineFormatter(True).format(record("m", value=value))
    assert "\n" not in text
    assert "\x1b" not in text
    assert json.loads(text.partition(" value=")[2]) == value


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.CRITICAL, "<2>"), (logging.WARNING, "<4>"), (logging.INFO, "<6>")]
)
def test_the_journal_gets_priorities_and_no_times(level: int, priority: str) -> None:
    text = LineFormatter(True).format(record("m", level))
    assert text.startswith(f"{priority}level=")
    assert "time=" not in text


def test_a_traceback_stays_on_one_line() -> None:
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError:
        text = LineFormatter(False).format(record("m", exc_info=sys.exc_info()))
    assert "ZeroDivisionError" in text
    assert "\n" not in text


def test_json_is_one_object() -> None:
    found = json.loads(JsonFormatter(False).format(record("serving", sequence=17)))
    assert (found["message"], found["sequence"]) == ("serving", 17)
