"""What ``-v`` shows of a transfer."""

from __future__ import annotations

import io
from contextlib import redirect_stderr

import pytest

from holdfast.cli.commands import transfer


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setattr(transfer, "_TERMINAL_SECONDS", 0.0)
    return Screen()


def test_the_end_is_shown_once(screen: Screen) -> None:
    with redirect_stderr(screen), transfer._Meter() as meter:
        meter.show(1, 2)
        meter.show(2, 2)
        # The last message of a download has no bytes.
        meter.show(2, 2)
    assert screen.getvalue().count("\n") == 1
    assert screen.getvalue().count("2 B of 2 B") == 1


def test_an_error_begins_on_a_line_of_its_own(screen: Screen) -> None:
    def interrupted() -> None:
        with redirect_stderr(screen), transfer._Meter() as meter:
            meter.show(1, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert screen.getvalue().endswith("\n")


def test_nothing_is_shown_of_nothing(screen: Screen) -> None:
    with redirect_stderr(screen), transfer._Meter():
        pass
    assert screen.getvalue() == ""
