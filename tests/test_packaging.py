"""What is shipped: a light client, stubs made by the build alone, one wheel with exactly the two packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from importlib import import_module
from pathlib import Path, PurePosixPath

import pytest

from tests.support import floors
from tests.support.sources import GENERATED, ROOT, modules

PROTOS = sorted(path.stem for path in (ROOT / "proto" / "holdfast" / "v1").glob("*.proto"))
LAZY = frozenset({"numpy", "grpc", "google", "click", "rich", "prompt_toolkit", "yaml", "holdfastd"})
SERVER_ONLY = [
    "numpy",
    "msgspec",
    "xxhash",
    "google_crc32c",
    "snappy",
    "isal",
    "lark",
    "holdfastd",
]

in_checkout = pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="needs the git checkout, this is an unpacked sdist"
)


def python(code: str, *arguments: str) -> str:
    """What a new interpreter prints; a warning there is an error, as it is here."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def loaded_by(statement: str) -> frozenset[str]:
    """The top-level names that one statement brings into a new interpreter."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    return frozenset(name.split(".")[0] for name in python(code).split())


def test_importing_the_client_loads_nothing_heavy() -> None:
    loaded = loaded_by("import holdfast")
    assert "holdfast" in loaded
    assert loaded & LAZY == frozenset()


def test_the_probe_sees_what_is_loaded() -> None:
    assert {"holdfast", "google"} <= loaded_by(f"import holdfast.v1.{PROTOS[0]}_pb2")


def test_every_client_module_imports_without_the_daemon_and_its_libraries() -> None:
    names = [module.name for module in modules("client") if not module.name.endswith("__main__")]
    assert "holdfast" in names
    code = (
        "import importlib, json, sys\n"
        "names, blocked = map(json.loads, sys.argv[1:])\n"
        "sys.modules.update(dict.fromkeys(blocked))\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))"
    )
    assert python(code, json.dumps(names), json.dumps(SERVER_ONLY)).strip() == str(len(names))


@pytest.mark.parametrize("proto", PROTOS)
def test_every_proto_has_stubs(proto: str) -> None:
    messages = import_module(f"holdfast.v1.{proto}_pb2")
    assert messages.DESCRIPTOR.package == "holdfast.v1"
    assert Path(messages.__file__ or "").with_suffix(".pyi").is_file()
    assert Path(messages.__file__ or "").with_name(f"{proto}_pb2_grpc.py").is_file()


def test_no_stub_outlives_its_proto() -> None:
    assert {path.name.removesuffix("_pb2.py") for path in GENERATED.glob("*_pb2.py")} == set(PROTOS)


@in_checkout
def test_stubs_are_ignored_by_git_and_never_committed() -> None:
    git = ["git", "-C", str(ROOT)]
    assert subprocess.run([*git, "check-ignore", "-q", "client/holdfast/v1/any_pb2.py"], check=False).returncode == 0
    tracked = subprocess.run([*git, "ls-files", "*_pb2*"], check=True, capture_output=True, text=True)
    assert tracked.stdout == ""


def test_the_light_client_depends_on_no_numpy_and_nothing_on_the_code_generator() -> None:
    assert {"grpcio", "protobuf"} <= floors.declared()
    assert floors.declared("server") - floors.declared() >= {"numpy", "google-crc32c"}
    assert "numpy" not in floors.declared()
    assert "grpcio-tools" not in floors.declared() | floors.declared("server") | floors.declared("dev")


@pytest.fixture(scope="session")
def source_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as a user has them, with a stub that no proto accounts for, as an old checkout would have."""
    copy = tmp_path_factory.mktemp("source") / "holdfast"
    for name in ("client", "server", "proto"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "v1" if name == "client" else "")
        )
    for name in ("pyproject.toml", "LICENSE", "README.md", ".gitignore"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    stale = copy / "client" / "holdfast" / "v1"
    stale.mkdir()
    (stale / "stale_pb2.py").write_text("raise AssertionError('a stale stub was shipped')\n")
    return copy


def pip(*arguments: str) -> None:
    """Runs pip on the build requirements that ``make`` keeps, or on the index where make did not set up this Python."""
    kept = Path(sys.prefix, "build-wheels")
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(kept)} if kept.is_dir() else {}
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(source_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source_copy))
    (path,) = folder.iterdir()
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.mark.e2e
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("build")
class TestWheel:
    def test_it_holds_the_two_packages_and_nothing_else(self, wheel: zipfile.ZipFile) -> None:
        files = [PurePosixPath(name) for name in wheel.namelist()]
        assert {file.parts[0] for file in files} == {"holdfast", "holdfastd", "holdfast-0.1.0.dist-info"}
        assert {file.suffix for file in files if "dist-info" not in file.parts[0]} <= {
            ".py",
            ".pyi",
            ".typed",
            ".md",
            ".lark",
        }

    def test_it_holds_every_module(self, wheel: zipfile.ZipFile) -> None:
        sources = {
            path.relative_to(ROOT / top).as_posix()
            for top in ("client", "server")
            for path in (ROOT / top).rglob("*.py")
        }
        generated = {f"holdfast/v1/{path.name}" for path in GENERATED.glob("*.py")}
        assert sources - generated <= set(wheel.namelist())

    def test_its_stubs_are_fresh_and_typed(self, wheel: zipfile.ZipFile) -> None:
        stubs = {name.removeprefix("holdfast/v1/") for name in wheel.namelist() if name.startswith("holdfast/v1/")}
        made = {f"{proto}_{end}" for proto in PROTOS for end in ("pb2.py", "pb2.pyi", "pb2_grpc.py", "pb2_grpc.pyi")}
        assert stubs == made | {"__init__.py", "py.typed"}

    def test_its_metadata(self, wheel: zipfile.ZipFile) -> None:
        metadata = self.metadata(wheel)
        light = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
        assert not [line for line in light if line.startswith("numpy")]
        assert metadata["License-Expression"] == "Apache-2.0"
        assert metadata.get_all("Provides-Extra") == ["dev", "objects", "server"]
        assert "holdfastd = holdfastd.__main__:main" in wheel.read("holdfast-0.1.0.dist-info/entry_points.txt").decode()

    @staticmethod
    def metadata(wheel: zipfile.ZipFile) -> Message:
        return message_from_bytes(wheel.read("holdfast-0.1.0.dist-info/METADATA"))

    def test_an_editable_install_swaps_fresh_stubs_in(
        self, source_copy: Path, wheel: zipfile.ZipFile, tmp_path: Path
    ) -> None:
        pip(
            "install",
            "--quiet",
            "--no-deps",
            "--ignore-installed",
            "--prefix",
            str(tmp_path),
            "--editable",
            str(source_copy),
        )
        stubs = {path.name for path in (source_copy / "client" / "holdfast" / "v1").iterdir()}
        assert stubs == {PurePosixPath(name).name for name in wheel.namelist() if name.startswith("holdfast/v1/")}
        assert [path.name for path in (source_copy / "client" / "holdfast").glob(".v1-*")] == []
