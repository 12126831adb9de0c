"""The project's own Python sources as syntax trees, for the tests that hold the style and the floors in place."""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "client" / "holdfast" / "v1"


@dataclass(frozen=True, slots=True)
class Use:
    """A dotted name that a module imports or refers to, and the line where."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed source file. ``name`` is the dotted name under which it is imported."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    def at(self, line: int) -> str:
        """A place that an editor can open."""
        place = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{place}:{line}"

    @property
    def package(self) -> str:
        """What a relative import with one dot starts from."""
        return self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]


def parse(text: str, name: str = "example", path: Path = Path("example.py")) -> Module:
    """A module from its text; raises ``SyntaxError`` naming the path."""
    return Module(path, name, text, ast.parse(text, filename=str(path)))


def modules(*folders: str) -> list[Module]:
    """Every source file below these folders of the repository, generated ones left out, in the order of their paths.

    A folder that does not exist yet has no modules. ``server`` and ``client`` are import roots, so their own names
    are no part of a module's name.
    """
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [_read(path) for path in paths if not path.is_relative_to(GENERATED)]


def imports(module: Module) -> Iterator[Use]:
    """Every import at any depth, relative ones resolved; ``from a import b`` counts as ``a.b``.

    ``import_module("a.b")`` with a literal counts as well, so that a lazy import is an import.
    """
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (Use(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(module, node)
            yield from (Use(f"{source}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and _last_name(node.func) in {"import_module", "__import__"} and node.args:
            literal = node.args[0]
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                yield Use(literal.value, node.lineno)


def references(module: Module) -> Iterator[Use]:
    """Every name that is read, with import aliases undone: ``from time import time as now; now()`` is ``time.time``."""
    aliases = dict(_aliases(module))
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            first, _, rest = _dotted(node).partition(".")
            if first:
                name = aliases.get(first, first)
                yield Use(f"{name}.{rest}" if rest else name, node.lineno)


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method at any depth."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def comments(module: Module) -> Iterator[Use]:
    """Every comment with its ``#``; strings that look like one are none."""
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            yield Use(token.string, token.start[0])


def forget() -> None:
    """Let go of what was read: hundreds of trees, through which every collection of garbage would go."""
    _read.cache_clear()


@functools.cache
def _read(path: Path) -> Module:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in {"server", "client"}:
        parts = parts[1:]
    name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
    return parse(path.read_text(encoding="utf-8"), name, path)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.package.split(".")
    base = parts[: len(parts) - (node.level - 1)]
    return ".".join([*base, *([node.module] if node.module else [])])


def _aliases(module: Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname, alias.name) for alias in node.names if alias.asname)
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(module, node)
            yield from ((alias.asname or alias.name, f"{source}.{alias.name}") for alias in node.names)


def _dotted(node: ast.expr) -> str:
    """``a.b.c`` for a chain of attributes that starts at a plain name, otherwise nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
