"""Asking before something is destroyed."""

from __future__ import annotations

import sys

import click

from holdfast.cli.state import State


def confirm(state: State, question: str, option: str) -> None:
    """Ask on the terminal; Abort on no. Where nobody can answer, refuse and name the option that says yes."""
    if not state.can_ask():
        raise click.UsageError(f"this needs {option}: there is no terminal to ask on")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined


class Declined(click.ClickException):
    """The answer was no."""

    def __init__(self) -> None:
        super().__init__("not confirmed, nothing was changed")
