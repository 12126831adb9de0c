"""``holdfastd``: serve a store, or look into its files with ``holdfastd dump``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

EXIT_USAGE = 64
EXIT_NOT_INSTALLED = 69
EXIT_CONFIG = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dump(given[1:]) if given[:1] == ["dump"] else _serve(given)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("holdfastd", "holdfast"):
            raise
        return _fail(
            f"the daemon needs {missing}, which is not installed",
            "install the daemon's own needs as well: pip install 'holdfast[server]'",
            EXIT_NOT_INSTALLED,
        )


def _serve(arguments: list[str]) -> int:
    # Before the first library that starts a thread (NumPy does): threads inherit the mask, and a signal that is meant
    # for the main thread must not end the process through another one.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
    from . import config
    from .storage.osfiles import OsFileSystem

    try:
        settings = config.load(arguments, os.environ, read=OsFileSystem().read, working_directory=str(Path.cwd()))
    except config.UsageError as error:
        return _fail(str(error), "see holdfastd --help", EXIT_USAGE)
    except config.ConfigError as error:
        return _fail(str(error), None, EXIT_CONFIG)
    from . import daemon

    return daemon.run(settings, os.environ)


def _dump(arguments: list[str]) -> int:
    from .dump import main as dump

    return dump(arguments)


def _fail(message: str, hint: str | None, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    if hint is not None:
        print(f"hint: {hint}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
