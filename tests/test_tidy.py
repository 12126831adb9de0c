"""The style as a test: what a reviewer would have to say again and again is said here once."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator

import pytest

from tests.support import floors
from tests.support.sources import Module, comments, forget, functions, imports, modules, parse, references

FOLDERS = ("server", "client", "tests", "proto", "benchmarks", "examples")
FUNCTION_LINES = 70
FILE_LINES = 500

Judge = Callable[[Module], Iterator[str]]

pytestmark = pytest.mark.xdist_group("sources")  # one process reads them all, and only one


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    forget()


def long_functions(module: Module) -> Iterator[str]:
    for function in functions(module):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > FUNCTION_LINES:
            yield f"{module.at(function.lineno)}: {function.name} has {lines} lines, at most {FUNCTION_LINES}"


def long_files(module: Module) -> Iterator[str]:
    lines = len(module.text.splitlines())
    if lines > FILE_LINES:
        yield f"{module.at(lines)}: {lines} lines, at most {FILE_LINES}: it holds more than one idea"


def missing_docstrings(module: Module) -> Iterator[str]:
    if not (ast.get_docstring(module.tree) or "").strip():
        yield f"{module.at(1)}: a module says in its docstring what it is for"


def loose_comments(module: Module) -> Iterator[str]:
    for comment in comments(module):
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", comment.name):
            yield f"{module.at(comment.line)}: unfinished work belongs into an issue: {comment.name}"
        if re.search(r"type:\s*ignore(?!\[)|\bnoqa\b(?!:)", comment.name):
            yield f"{module.at(comment.line)}: a suppression names its rule: {comment.name}"


def global_statements(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Global):
            yield f"{module.at(node.lineno)}: `global {', '.join(node.names)}`: module state is never changed"


def breaches(judge: Judge, found: list[Module]) -> list[str]:
    """All breaches at once; an empty list of modules would prove nothing."""
    assert found, "nothing to judge: has a folder moved?"
    return [breach for module in found for breach in judge(module)]


@pytest.mark.parametrize("judge", [long_functions, long_files, missing_docstrings, loose_comments, global_statements])
def test_every_source_file(judge: Judge) -> None:
    assert breaches(judge, modules(*FOLDERS)) == []


@pytest.mark.parametrize("judge", [floors.floor_breaches, floors.owner_breaches, floors.library_breaches])
def test_the_daemon_keeps_its_floors(judge: Judge) -> None:
    found = modules("server")
    assert {"holdfastd", "holdfastd.errors", "holdfastd.model"} <= {module.name for module in found}
    assert breaches(judge, found) == []


def test_the_client_stays_light() -> None:
    found = modules("client")
    assert "holdfast" in {module.name for module in found}
    assert breaches(floors.client_breaches, found) == []


BAD = [
    (long_functions, "example", "def f():\n" + "    pass\n" * 70, "f has 71 lines"),
    (long_functions, "example", "class A:\n    async def g(self):\n" + "        pass\n" * 70, "g has 71 lines"),
    (long_files, "example", "x = 1\n" * 501, "501 lines"),
    (missing_docstrings, "example", "import os\n", "docstring"),
    (missing_docstrings, "example", "", "docstring"),
    (loose_comments, "example", "x = 1  # TODO later\n", "TODO"),
    (loose_comments, "example", "x = 1  # type: ignore\n", "names its rule"),
    (loose_comments, "example", "x = 1  # noqa\n", "names its rule"),
    (global_statements, "example", "def f():\n    global x\n    x = 1\n", "global x"),
    (floors.floor_breaches, "holdfastd.format.record", "from holdfastd.storage import files\n", "floor 0 imports"),
    (
        floors.floor_breaches,
        "holdfastd.format.record",
        "from ..storage.files import File\n",
        "holdfastd.storage.files.File",
    ),
    (floors.floor_breaches, "holdfastd.storage.wal", "from .. import engine\n", "floor 1 imports holdfastd.engine"),
    (floors.floor_breaches, "holdfastd.engine.view", "def f():\n    import holdfastd.rpc.server\n", "floor 2 imports"),
    (floors.floor_breaches, "holdfastd.rpc.server", "from holdfastd import daemon\n", "floor 3 imports"),
    (floors.floor_breaches, "holdfastd.errors", "from holdfastd.storage import files\n", "floor 0 imports"),
    (floors.floor_breaches, "holdfastd.helpers", "import re\n", "stands on no floor"),
    (floors.owner_breaches, "holdfastd.format.npy", "import os\n", "os belongs to"),
    (floors.owner_breaches, "holdfastd.format.npy", "import time\n", "time belongs to"),
    (floors.owner_breaches, "holdfastd.format.npy", "import threading\n", "threading belongs to"),
    (floors.owner_breaches, "holdfastd.format.npy", "import logging\n", "logging belongs to"),
    (floors.owner_breaches, "holdfastd.engine.engine", "from os import path\n", "os.path belongs to"),
    (floors.owner_breaches, "holdfastd.engine.engine", "import grpc\n", "grpc belongs to"),
    (
        floors.owner_breaches,
        "holdfastd.storage.wal",
        "from threading import Lock\n",
        "threading.Lock belongs to engine",
    ),
    (floors.owner_breaches, "holdfastd.dump", "import pickle\n", "belongs to nobody"),
    (floors.owner_breaches, "holdfastd.engine.engine", "from holdfast import client\n", "holdfast.v1 alone"),
    (floors.owner_breaches, "holdfastd.engine.engine", "f = open('x')\n", "open is called in storage/ alone"),
    (floors.owner_breaches, "holdfastd.daemon", "import os\nos.fsync(3)\n", "os.fsync is called"),
    (floors.owner_breaches, "holdfastd.daemon", "from os import replace as r\nr('a', 'b')\n", "os.replace is called"),
    (
        floors.owner_breaches,
        "holdfastd.rpc.x",
        "from datetime import datetime\ndatetime.now()\n",
        "datetime.now is called",
    ),
    (floors.owner_breaches, "holdfastd.engine.x", "import uuid as u\nmake = u.uuid4\n", "uuid.uuid4 is called"),
    (floors.owner_breaches, "holdfastd.engine.x", "import numpy as np\nnp.load('x')\n", "numpy.load is called"),
    (floors.library_breaches, "holdfastd.rpc.x", "import click\nimport pytest\n", "pytest comes from no declared"),
    (floors.client_breaches, "holdfast.client", "import numpy as np\n", "numpy"),
    (floors.client_breaches, "holdfast.client", "from holdfastd.errors import NotFound\n", "holdfastd"),
    (
        floors.client_breaches,
        "holdfast.client",
        "from importlib import import_module\nimport_module('numpy')\n",
        "numpy",
    ),
]


@pytest.mark.parametrize(("judge", "name", "text", "expected"), BAD)
def test_each_rule_bites(judge: Judge, name: str, text: str, expected: str) -> None:
    found = list(judge(parse(text, name)))
    assert len(found) >= 1
    assert expected in "\n".join(found)


GOOD = [
    (long_functions, "example", "def f():\n" + "    pass\n" * 69),
    (long_files, "example", "x = 1\n" * 500),
    (loose_comments, "example", "x = '# TODO'  # type: ignore[misc]  # noqa: E501\n"),
    (
        floors.floor_breaches,
        "holdfastd.engine.view",
        "from ..storage.segment import Segment\nfrom .memtable import Memtable\n",
    ),
    (floors.floor_breaches, "holdfastd.__main__", "from holdfastd import daemon\n"),
    (floors.owner_breaches, "holdfastd.storage.osfiles", "import os\nos.fsync(3)\n"),
    (
        floors.owner_breaches,
        "holdfastd.engine.log",
        "import threading\nfrom holdfast.v1 import log_pb2\nimport holdfast.v1\n",
    ),
    (floors.owner_breaches, "holdfastd.engine.log", "import uuid\ndef f(fs, u: uuid.UUID): fs.open('x')\n"),
    (
        floors.library_breaches,
        "holdfastd.format.npy",
        "import re\nimport numpy as np\nimport google_crc32c, xxhash, snappy\n",
    ),
    (floors.client_breaches, "holdfast.cli.main", "import os, grpc, click\nfrom google.rpc import status_pb2\n"),
]


@pytest.mark.parametrize(("judge", "name", "text"), GOOD)
def test_no_rule_bites_too_much(judge: Judge, name: str, text: str) -> None:
    assert list(judge(parse(text, name))) == []


def test_imports_are_found_at_any_depth_and_resolved() -> None:
    module = parse("if True:\n    from ..a import b\n    import c.d as e\nfrom . import f\n", "p.q.r")
    assert {use.name for use in imports(module)} == {"p.a.b", "c.d", "p.q.f"}


def test_references_undo_aliases() -> None:
    module = parse("import a.b\nfrom c import d as e\na.b.f()\ne.g\n", "p.q")
    assert {"a.b.f", "c.d.g"} <= {use.name for use in references(module)}
