"""A program on a terminal of its own, read as a person reads it: by what stands on the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence

import pyte

from tests.support.waiting import until

COLUMNS, LINES = 100, 40
INTERRUPT, END, TAB, ENTER, UP = "\x03", "\x04", "\t", "\r", "\x1b[A"


class _Screen(pyte.Screen):
    """A screen that answers where its cursor is, as terminals do."""

    def __init__(self, answer: Callable[[str], object]) -> None:
        super().__init__(COLUMNS, LINES)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """Runs ``command`` with its three streams on a terminal of 100 columns; every wait fails after a patience."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._keys, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self._screen = _Screen(self.type)
        self._stream = pyte.ByteStream(self._screen)
        self._process = subprocess.Popen(
            command,
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**environment, "TERM": "xterm"},
            start_new_session=True,
        )
        os.close(inside)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._keys)

    def type(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    def wait_for_line(self, text: str) -> None:
        """Wait until the cursor's line is ``text``."""
        self._wait(lambda: self._screen.display[self._screen.cursor.y].rstrip() == text, text)

    def wait_for(self, text: str) -> None:
        """Wait until ``text`` stands anywhere."""
        self._wait(lambda: any(text in line for line in self._screen.display), text)

    def exit_code(self) -> int:
        """Wait for the program's end."""
        self._wait(lambda: self._process.poll() is not None, "the end")
        return self._process.returncode

    def _wait(self, reached: Callable[[], bool], what: str) -> None:
        def drawn() -> bool:
            self._draw()
            return reached()

        try:
            until(drawn)
        except AssertionError:
            shown = "\n".join(line.rstrip() for line in self._screen.display).rstrip()
            raise AssertionError(f"{what!r} is not on the screen:\n{shown}") from None

    def _draw(self) -> None:
        with contextlib.suppress(OSError):  # the program has closed its end
            while select.select([self._keys], [], [], 0)[0]:
                self._stream.feed(os.read(self._keys, 65536))
