"""Running the tree: a command of the shell, or the prompt. Every failure is one line, a hint, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from holdfast.cli import exit_codes
from holdfast.cli.state import State
from holdfast.cli.streams import replace_closed_streams, speak_utf8
from holdfast.errors import HoldfastError

COMPLETION_VARIABLE = "_HOLDFAST_COMPLETE"
_OUTPUT_FAILS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))


def main() -> NoReturn:
    """Run ``sys.argv`` and leave the process at once: the interpreter's teardown would cost a tenth of a second."""
    replace_closed_streams()
    speak_utf8()
    instruction = os.environ.get(COMPLETION_VARIABLE)
    code = complete(instruction) if instruction else run(sys.argv[1:])
    os._exit(_flushed(code))


def _flushed(code: int) -> int:
    """Write out what is left, such as help; returns the exit code, of a failure where that fails."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        return exit_codes.BROKEN_PIPE
    except OSError as error:
        if code != exit_codes.SUCCESS:
            return code
        _print_error(f"standard output cannot be written: {error.strerror}", None)
        return exit_codes.FAILURE
    return code


def complete(instruction: str) -> int:
    """Serve the shell's completion: ``bash_source`` prints what the shell must load, ``bash_complete`` completes."""
    from click.shell_completion import shell_complete

    from holdfast.cli.tree import build

    return shell_complete(build(), {}, "holdfast", COMPLETION_VARIABLE, instruction)


def run(arguments: Sequence[str], state: State | None = None) -> int:
    """Run one command line; returns its exit code and never raises."""
    state = state if state is not None else State()
    try:
        return _invoke(list(arguments), state)
    except KeyboardInterrupt:
        state.say("error: interrupted")
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        _silence()
        return exit_codes.BROKEN_PIPE
    except HoldfastError as error:
        return _report(state, error)
    except UnicodeEncodeError as error:
        if error.encoding != "utf-8":
            return _report_fault(state, error)
        _print_error(f"an argument is not UTF-8, which is all that can be sent: {error.object!a}", None)
        return exit_codes.USAGE
    except OSError as error:
        # Help and version are written by click; what a command reads and writes names its file.
        if error.errno not in _OUTPUT_FAILS or error.filename is not None:
            return _report_fault(state, error)
        _print_error(f"standard output cannot be written: {error.strerror}", None)
        return exit_codes.FAILURE
    except Exception as error:  # the last resort: a fault of this program must not look like a crash of the shell
        return _report_fault(state, error)


def _invoke(arguments: list[str], state: State) -> int:
    import click

    from holdfast.cli.tree import build

    try:
        with build().make_context("holdfast", arguments, obj=state) as context:
            context.command.invoke(context)
        return state.exit_code
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "holdfast"
        _print_error(error.format_message(), f"{command} --help")
        return exit_codes.USAGE
    except click.ClickException as error:
        _print_error(error.format_message(), None)
        return exit_codes.USAGE
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else exit_codes.SUCCESS


def _report(state: State, error: HoldfastError) -> int:
    _print_error(error.message, error.hint)
    if state.verbose:
        details = "".join(f" {key}={value}" for key, value in sorted(error.metadata.items()))
        state.say(f"reason: {error.reason} ({error.status}){details}")
    return exit_codes.OF_STATUS.get(error.status, exit_codes.FAILURE)


def _report_fault(state: State, error: Exception) -> int:
    if os.environ.get("HOLDFAST_DEBUG"):
        import traceback

        traceback.print_exc()
    _print_error(f"this is a fault of holdfast: {type(error).__name__}: {error}", "HOLDFAST_DEBUG=1 shows where")
    return exit_codes.FAILURE


def _print_error(message: str, hint: str | None) -> None:
    lines = [f"error: {_one_line(message)}"] + ([f"hint: {_one_line(hint)}"] if hint else [])
    print("\n".join(lines), file=sys.stderr, flush=True)


def _one_line(text: str) -> str:
    lines = text.splitlines()
    if len(lines) > 2 and lines[-1].strip() == "^":
        lines = lines[:-2]  # a picture of the place, which the words before it name too
    return " ".join(" ".join(lines).split()).removesuffix(".")


def _silence() -> None:
    """Point an output that nobody reads any more at /dev/null, so that flushing it at exit cannot fail."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    os.dup2(descriptor, sys.stdout.fileno())
