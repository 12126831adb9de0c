"""The project's pages as programs: their blocks found, run in order, and compared with the output that the page shows.

A block says by its language what it is. ``console``: lines beginning with ``$ `` are commands (``> `` continues one),
what follows is their output; a last line ``[4]`` is the exit code, where it is not 0; ``…`` stands for any lines.
``python``: a program; its output is not compared. ``crontab``: each line's command is run once. ``text``, ``ini``,
``toml``, ``json`` and ``mermaid`` are shown and never run. Anything else is a mistake.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SHOWN = frozenset({"text", "ini", "toml", "json", "mermaid"})
RUN = frozenset({"console", "python", "crontab"})
ANY_LINES = "…"
TIMEOUT_SECONDS = 280
"""A page of a hundred commands takes half a minute on a quiet machine, and two beside other tests."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; ``line`` is the number of its first line of text."""

    language: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """One command and what the page says of it. ``output`` is None where the page does not show it.

    ``line``: of the command; ``end``: of the last line of its output, so that it can be written anew.
    """

    command: str
    line: int
    end: int
    output: tuple[str, ...] | None
    code: int


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did: everything that it printed, and its exit code (None: the session ended before it)."""

    output: str
    code: int | None


def blocks_of(text: str) -> Iterator[Block]:
    """The fenced blocks of a Markdown page. Raises ValueError for one that is not closed."""
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.fullmatch(r"```(\S*).*", line)
        if opened is None and fence is not None:
            opened, lines = (number + 1, fence[1]), []
        elif opened is not None and line == "```":
            yield Block(opened[1], opened[0], "\n".join(lines))
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise ValueError(f"the block at line {opened[0]} is not closed")


def steps_of(text: str) -> list[Step]:
    """Everything on a page that is to be run, in order."""
    return [step for block in blocks_of(text) if block.language in RUN for step in _STEPS[block.language](block)]


def _console_steps(block: Block) -> Iterator[Step]:
    lines = block.text.splitlines()
    starts = [at for at, line in enumerate(lines) if line.startswith("$ ")]
    if not starts or starts[0] != 0:
        raise ValueError(f"line {block.line}: a console block begins with a command: $ …")
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        body = start + 1
        while body < end and lines[body].startswith("> "):
            body += 1
        command = "\n".join(line[2:] for line in lines[start:body])
        output = lines[body:end]
        code = re.fullmatch(r"\[(\d+)\]", output[-1]) if output else None
        shown = tuple(output[:-1] if code else output)
        yield Step(command, block.line + start, block.line + end - 1, shown, int(code[1]) if code else 0)


def _python_steps(block: Block) -> Iterator[Step]:
    command = f"{shlex.quote(sys.executable)} - <<'END_OF_PROGRAM'\n{block.text}\nEND_OF_PROGRAM"
    yield Step(command, block.line, block.line, None, 0)


def _crontab_steps(block: Block) -> Iterator[Step]:
    for offset, line in enumerate(block.text.splitlines()):
        fields = line.split(maxsplit=5)
        if line.startswith("#") or not fields or re.fullmatch(r"[A-Z_]+=.*", line):
            continue
        if len(fields) != 6 or not all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5]):
            raise ValueError(f"line {block.line + offset}: not a line of a crontab: {line}")
        yield Step(fields[5].replace("\\%", "%"), block.line + offset, block.line + offset, None, 0)


_STEPS = {"console": _console_steps, "python": _python_steps, "crontab": _crontab_steps}


def run_session(steps: Sequence[Step], home: Path, environment: Mapping[str, str]) -> list[Done]:
    """Run the commands in one shell, in ``home``/work, each whatever the one before did; kills what they left running.

    After a command that starts a daemon in the background, the session waits until one serves.
    """
    results = home / "results"
    results.mkdir()
    script = "trap 'kill -9 $(jobs -p) 2>/dev/null' EXIT\n" + "".join(
        _scripted(step, results / str(number)) for number, step in enumerate(steps)
    )
    (home / "session.sh").write_text(script)
    shell = subprocess.Popen(
        ["bash", str(home / "session.sh")],
        cwd=home / "work",
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        shell.wait(TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:  # the commands that were not reached have no exit code
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    return [_done(results / str(number)) for number in range(len(steps))]


_CONNECTING = """
import os, socket, time
address = os.environ["HOLDFAST_ADDRESS"].removeprefix("unix:").removeprefix("//")
while socket.socket(socket.AF_UNIX).connect_ex(address):
    time.sleep(0.02)
"""
_SERVED = f"{shlex.quote(sys.executable)} -I -S -c {shlex.quote(_CONNECTING)}"
"""Until somebody listens: a client that asks again and again would take the processor from the daemon that starts."""


def _scripted(step: Step, result: Path) -> str:
    output, code = shlex.quote(f"{result}.out"), shlex.quote(f"{result}.code")
    lines = [f"exec >{output} 2>&1", step.command, f"echo $? >{code}"]
    if step.command.startswith("holdfastd ") and step.command.endswith("&"):
        # What a daemon says later, when it is stopped, belongs to no line of the page.
        lines += [
            _SERVED,
            "until holdfast storage status >/dev/null 2>&1; do sleep 0.1; done",
            f"cp {output} {output}.then",
        ]
    return "\n".join(lines) + "\n"


def _done(result: Path) -> Done:
    code, output, then = (Path(f"{result}{suffix}") for suffix in (".code", ".out", ".out.then"))
    shown = then if then.exists() else output
    return Done(shown.read_text() if shown.exists() else "", int(code.read_text()) if code.exists() else None)


def programs(folder: Path) -> None:
    """``holdfast``, ``holdfastd`` and ``python`` in ``folder``: this checkout's code under this test's interpreter."""
    folder.mkdir()
    python = shlex.quote(sys.executable)
    lines = {
        "python": f'exec {python} "$@"',
        "holdfast": f'exec {python} -c "from holdfast.cli import main; main()" "$@"',
        "holdfastd": f'exec {python} -c "import sys; from holdfastd.__main__ import main; sys.exit(main())" "$@"',
    }
    for name, line in lines.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(0o755)


_VARIABLE = (
    (re.compile(r"snap-\d{4}-\d\d-\d\d-\d{6}(-\d+)?"), "snap-ID"),
    (re.compile(r"\bop-[0-9a-f]{16}"), "op-ID"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?"), "TIME"),
    (re.compile(r"(\w+_(bytes|ms|percent)|bytes_\w+|qps|compression_ratio)(\": |=)[\d.e+-]+"), r"\1\3N"),
    (re.compile(r"(sha256|uptime)\": \"[^\"]+"), r"\1\": \"X"),
    (re.compile(r"(?<=,)[\d.]+$", re.MULTILINE), "N"),
    (re.compile(r"\b0x[0-9a-f]{8}\b"), "CRC"),
    (re.compile(r"(?<!\w)(below|offset|process|pid|\(sequence) \d+"), r"\1 N"),
)
"""What differs from run to run. The last column of CSV output is a duration wherever it is a number."""


def normalised(text: str, places: Mapping[str, str]) -> list[str]:
    """Lines without what differs from run to run: times, ids, sizes, durations; ``places`` as the page names them."""
    for real, shown in places.items():
        text = text.replace(real, shown)
    for pattern, name in _VARIABLE:
        text = pattern.sub(name, text)
    return [line.rstrip() for line in text.rstrip("\n").split("\n")] if text.strip() else []


def agrees(shown: Sequence[str], found: Sequence[str]) -> bool:
    """Whether the lines are the same; ``…`` alone on a line stands for any lines, and within one for any text."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == ANY_LINES else ".*?".join(map(re.escape, line.split(ANY_LINES))) + r"\n"
        for line in shown
    )
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in found)) is not None
