"""Hatchling's build hook: the Python stubs of ``holdfast.v1``, generated from the protos beside this file.

A wheel gets them as ``holdfast/v1``; nothing is written into the tree. An editable install reads its modules from the
tree, so there the git-ignored folder ``client/holdfast/v1`` is swapped in by rename: a build that fails leaves the
stubs of the last good one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("holdfast/v1")
INIT = '"""The wire of Holdfast: stubs generated from ``proto/``; edit the protos, then run ``make proto``."""\n'


class CustomBuildHook(BuildHookInterface[Any]):
    """Generates before the wheel is written, cleans up after it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version`` is ``standard`` for a real wheel and ``editable`` for a development install."""
        root = Path(self.root)
        self._scratch = Path(tempfile.mkdtemp(prefix="holdfast-stubs-"))
        try:
            stubs = generate(root / "proto", self._scratch)
        except BaseException:
            shutil.rmtree(self._scratch)
            raise
        if version == "editable":
            swap_in(stubs, root / "client" / PACKAGE)
        else:
            build_data["force_include"][str(stubs)] = PACKAGE.as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written: the scratch directory has done its work."""
        shutil.rmtree(self._scratch)


def generate(proto_root: Path, out: Path) -> Path:
    """Messages, services and their types for every proto of ``holdfast/v1``; returns the folder of the package.

    Raises ``SystemExit`` with protoc's own words where a proto is wrong or a tool is missing.
    """
    protos = sorted(path.relative_to(proto_root).as_posix() for path in (proto_root / PACKAGE).glob("*.proto"))
    if not protos:
        sys.exit(f"no protos in {proto_root / PACKAGE}: is the source tree complete?")
    includes = [proto_root, _package_folder("grpc_tools") / "_proto", _package_folder("google.rpc").parent.parent]
    command = [sys.executable, "-m", "grpc_tools.protoc", *(f"-I{include}" for include in includes)]
    command += [f"--plugin=protoc-gen-{name}={_plugin(f'protoc-gen-{name}')}" for name in ("mypy", "mypy_grpc")]
    command += [f"--{kind}_out={out}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    done = subprocess.run([*command, *protos], cwd=proto_root, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"protoc failed on {proto_root}:\n{done.stderr}")
    stubs = out / PACKAGE
    (stubs / "__init__.py").write_text(INIT)
    (stubs / "py.typed").touch()
    return stubs


def swap_in(stubs: Path, target: Path) -> None:
    """Replace ``target`` by a copy of ``stubs``: the copy is complete before the first rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".v1-", dir=target.parent) as beside:
        fresh, stale = Path(beside, "fresh"), Path(beside, "stale")
        shutil.copytree(stubs, fresh)
        if target.exists():
            target.rename(stale)
        fresh.rename(target)


def _package_folder(name: str) -> Path:
    """Where an installed package lies; ``google.rpc`` has no ``__init__``, so only its search path tells."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{name} is missing from the build environment: see [build-system] in pyproject.toml")
    return Path(next(iter(spec.submodule_search_locations)))


def _plugin(name: str) -> str:
    """protoc's plugin as an absolute path: in a build without isolation the scripts lie beside the interpreter."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)])
    found = shutil.which(name, path=search)
    if found is None:
        sys.exit(f"{name} is missing from the build environment: see [build-system] in pyproject.toml")
    return found
