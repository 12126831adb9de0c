"""The command line: one click tree for the shell, for cron and for the prompt. Commands return data, output renders."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The console script ``holdfast``: runs one command, or the prompt, and leaves the process with its exit code."""
    import gc

    gc.set_threshold(100_000, 20, 20)  # a short command ends before its garbage would matter: 8 ms of 130
    from holdfast.cli.deferred import defer_unused
    from holdfast.cli.main import main as run

    defer_unused()
    run()
