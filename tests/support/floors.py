"""Who may import and call what: the floors of the daemon and the fence around the client.

The rules are tables. A judge takes a module and yields a line per breach, so that a test can hand it the real sources
and bad examples alike.
"""

from __future__ import annotations

import functools
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions

from tests.support.sources import ROOT, Module, imports, references

FLOORS = {
    "errors": 0,
    "model": 0,
    "format": 0,
    "storage": 1,
    "engine": 2,
    "rpc": 3,
    "config": 4,
    "schedule_tables": 4,
    "daemon": 4,
    "dump": 4,
    "__main__": 4,
}
TOP = frozenset(name for name, floor in FLOORS.items() if floor == 4)

# A module of the standard library or a distribution -> the parts of the daemon that may import it.
OWNERS: dict[str, frozenset[str]] = {
    **dict.fromkeys(
        ["fcntl", "mmap", "time", "ctypes", "shutil", "tempfile", "random", "secrets"], frozenset({"storage"})
    ),
    **dict.fromkeys(["os", "pathlib", "glob"], frozenset({"storage"}) | TOP),
    **dict.fromkeys(["threading", "_thread", "queue"], frozenset({"engine"})),
    **dict.fromkeys(["multiprocessing", "asyncio", "subprocess", "pickle", "marshal", "shelve"], frozenset()),
    **dict.fromkeys(["concurrent"], frozenset({"engine", "rpc", "daemon"})),
    **dict.fromkeys(["grpc", "grpc_health", "grpc_reflection", "grpc_status"], frozenset({"rpc", "daemon"})),
    **dict.fromkeys(["signal", "argparse"], TOP),
    **dict.fromkeys(["obstore"], frozenset({"storage"})),
    **dict.fromkeys(["logging"], frozenset({"storage", "engine", "rpc"}) | TOP),
    **dict.fromkeys(["socket"], frozenset({"rpc"}) | TOP),
}

# What only storage/ calls: everything durable, the real clock, real randomness. TOP has `os`, but not these.
STORAGE_ONLY = frozenset(
    [
        *("open", "io.open", "numpy.load", "numpy.save", "numpy.memmap", "numpy.fromfile", "uuid.uuid1", "uuid.uuid4"),
        *(
            f"os.{call}"
            for call in ("open", "write", "pwrite", "pwritev", "fsync", "fdatasync", "truncate", "ftruncate")
        ),
        *(
            f"os.{call}"
            for call in ("rename", "replace", "unlink", "remove", "mkdir", "makedirs", "rmdir", "link", "urandom")
        ),
        *(f"datetime.datetime.{call}" for call in ("now", "utcnow", "today")),
        *(f"time.{call}" for call in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep")),
    ]
)


def part(module_name: str) -> str:
    """``storage`` for ``holdfastd.storage.wal``; the package itself is part of no floor."""
    return module_name.split(".")[1] if "." in module_name else ""


def floor_breaches(module: Module) -> Iterator[str]:
    """A module of the daemon imports its own floor or a lower one."""
    own = part(module.name)
    if own and own not in FLOORS:
        yield f"{module.at(1)}: {module.name} stands on no floor: give it one in tests/support/floors.py"
        return
    floor = FLOORS.get(own, 0)
    for use in imports(module):
        target = part(use.name)
        if use.name.split(".")[0] == "holdfastd" and FLOORS.get(target, 0) > floor:
            yield f"{module.at(use.line)}: floor {floor} imports {use.name} of floor {FLOORS[target]}"


def owner_breaches(module: Module) -> Iterator[str]:
    """Threads, files, clocks and gRPC each belong to one part of the daemon; of the client it takes only the stubs."""
    own = part(module.name)
    for use in imports(module):
        owners = OWNERS.get(use.name.split(".")[0])
        if owners is not None and own not in owners:
            yield f"{module.at(use.line)}: {use.name} belongs to {', '.join(sorted(owners)) or 'nobody'}"
        if use.name.split(".")[0] == "holdfast" and not f"{use.name}.".startswith("holdfast.v1."):
            yield f"{module.at(use.line)}: {use.name}: of the client's package the daemon takes holdfast.v1 alone"
    if own != "storage":
        for use in references(module):
            if use.name in STORAGE_ONLY:
                yield f"{module.at(use.line)}: {use.name} is called in storage/ alone: take a FileSystem or a Clock"


CLIENT_OPTIONAL = frozenset({"google-crc32c", "pyarrow"})
"""Used by the client where they are installed, and done without where not: see `checksums` and the parquet reader."""


def client_breaches(module: Module) -> Iterator[str]:
    """The client runs in a light installation: the standard library and its own few dependencies, never the daemon."""
    return _undeclared(module, "holdfast", declared() | CLIENT_OPTIONAL)


def library_breaches(module: Module) -> Iterator[str]:
    """The daemon imports what ``holdfast[server,objects]`` installs, and not what happens to come along with it."""
    return _undeclared(module, "holdfastd", declared() | declared("server") | declared("objects"))


def declared(extra: str | None = None) -> frozenset[str]:
    """The distributions that pyproject.toml names for everybody, or for one extra, in normal form."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return frozenset(_normal(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]) for requirement in requirements)


def _undeclared(module: Module, own: str, distributions: frozenset[str]) -> Iterator[str]:
    providers = _providers()
    for use in imports(module):
        root = use.name.split(".")[0]
        if root in sys.stdlib_module_names or root in {own, "holdfast"}:
            continue
        if distributions.isdisjoint(providers.get(root, {_normal(root)})):
            yield f"{module.at(use.line)}: {use.name} comes from no declared dependency of {own}"


@functools.cache
def _providers() -> dict[str, frozenset[str]]:
    """Import name -> the installed distributions that provide it."""
    return {name: frozenset(map(_normal, found)) for name, found in packages_distributions().items()}


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()
