"""What is not needed is not imported: start-up is a promise, and NumPy is none of the client's."""

from __future__ import annotations

import subprocess
import sys

import pytest

import holdfast
from tests.support.fake_server import FakeDaemon

SHOW = "import sys; print(' '.join(sorted(m for m in sys.modules if m.count('.') < 2)))"
HEAVY = {"grpc", "google.protobuf", "numpy", "rich", "yaml", "prompt_toolkit", "pydantic", "asyncio"}


def modules_after(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def run_line(*arguments: str) -> str:
    return f"from holdfast.cli.main import run; assert run({list(arguments)!r}) == 0"


def test_importing_the_package_imports_nothing_else() -> None:
    loaded = modules_after("import holdfast")
    assert not loaded & HEAVY
    assert {name for name in loaded if name.startswith("holdfast")} == {"holdfast"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["storage", "snapshot", "--help"], ["vector", "insert-batch", "--help"]]
)
def test_help_imports_neither_grpc_nor_any_renderer(arguments: list[str]) -> None:
    assert not modules_after(run_line(*arguments)) & HEAVY


def test_a_command_imports_what_it_needs_and_no_more(daemon: FakeDaemon) -> None:
    loaded = modules_after(run_line("--address", daemon.address, "storage", "snapshot", "list"))
    assert loaded & HEAVY == {"grpc", "google.protobuf", "asyncio"}
    assert "holdfast.collection" not in loaded


def test_the_console_script_loads_neither_asyncio_nor_what_comes_with_it(daemon: FakeDaemon) -> None:
    arguments = ["-m", "holdfast", "--address", daemon.address, "storage", "snapshot", "list"]
    done = subprocess.run([sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"grpc", "google.protobuf"} < loaded
    assert not loaded & {"asyncio", "asyncio.events", "ssl", "grpc.aio", "google.protobuf.internal.python_message"}


def test_what_was_deferred_is_there_for_whoever_asks() -> None:
    code = """
from holdfast.cli.deferred import defer_unused
defer_unused()
import asyncio, sys
assert "asyncio.events" not in sys.modules
async def ready():
    async with grpc.aio.insecure_channel("unix:/nowhere") as channel:
        return channel.get_state().name
import grpc
assert asyncio.run(ready()) == "IDLE"
from asyncio import Future
from google.protobuf import message
from google.protobuf.internal import python_message
assert python_message.message_mod is message
"""
    assert {"asyncio", "grpc"} < modules_after(code)


def test_what_is_loaded_already_is_not_deferred() -> None:
    modules_after(
        "import asyncio; before = asyncio\nfrom holdfast.cli.deferred import defer_unused; defer_unused()\n"
        "import asyncio; assert asyncio is before"
    )


def test_every_public_name_is_found_and_no_other() -> None:
    for name in holdfast.__all__:
        assert getattr(holdfast, name).__name__ == name
    assert dir(holdfast) == sorted(holdfast.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = holdfast.nothing  # type: ignore[attr-defined]  # that is the point
