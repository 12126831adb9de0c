"""Asking before something is destroyed."""

from __future__ import annotations

import sys

import click

from holdfast.cli.state import State
from holdfast.documents import Document


def confirm(state: State, question: str, option: str) -> None:
    """Ask on the terminal; Abort on no. Where nobody can answer, refuse and name the option that says yes."""
    if not state.can_ask():
        raise click.UsageError(f"this needs {option}: there is no terminal to ask on")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Declined


def confirm_plan(state: State, plan: Document, question: str) -> None:
    """The same before a plan is carried out, behind its warnings; nothing is asked where it deletes nothing."""
    if plan.deleted:
        for warning in plan.warnings:
            state.warn(warning)
        confirm(state, question, "--confirm")


class Declined(click.ClickException):
    """The answer was no."""

    def __init__(self) -> None:
        super().__init__("not confirmed, nothing was changed")
