"""Code with one line broken on purpose, to prove that a test notices."""

from __future__ import annotations
import __future__

import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

import pytest


@dataclass(frozen=True)
class Mutant:
    """One fault: ``old``, which must stand exactly once in the source of ``owner.name``, becomes ``new``.

    ``seed``: which of many random lives is known to show it. Only where to look first: any other may show it as well.
    """

    owner: Any
    name: str
    old: str
    new: str
    seed: int = field(default=0, kw_only=True)

    def seeds(self, count: int) -> Iterator[int]:
        """All numbers below ``count``, the likely one first."""
        yield self.seed
        yield from (seed for seed in range(count) if seed != self.seed)


def mutate(monkeypatch: pytest.MonkeyPatch, mutant: Mutant) -> None:
    """Plant the fault."""
    owner, name, old, new = mutant.owner, mutant.name, mutant.old, mutant.new
    function = getattr(owner, name)
    assert isinstance(function, FunctionType)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, f"{name} has {source.count(old)} times {old!r}: bring the mutant up to date"
    code = compile(source.replace(old, new), f"<mutant of {name}>", "exec", __future__.annotations.compiler_flag)
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)
    monkeypatch.setattr(owner, name, made[name])
