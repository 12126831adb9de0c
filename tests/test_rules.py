"""docs/rules.md names tests that exist, for every rule, and every rule that the code speaks of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sources import ROOT

PAGE = ROOT / "docs" / "rules.md"
HEADING = re.compile(r"^\*\*(\d+)\. ", re.MULTILINE)
NAMED = re.compile(r"^- `(\S+?)::(\S+)`$", re.MULTILINE)
MENTIONED = re.compile(r"\bRULES ((?:\d+(?:, |-)?)+)")


def rules() -> dict[int, list[tuple[str, str]]]:
    """By rule: the tests that the page names, as (file below tests/, name)."""
    parts = HEADING.split(PAGE.read_text(encoding="utf-8"))[1:]
    return {int(number): NAMED.findall(text) for number, text in zip(parts[::2], parts[1::2], strict=True)}


def named_in(path: Path) -> set[str]:
    """Every test of a file, with its class in front where it has one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return set(_names(tree.body, ""))


def _names(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _names(node.body, f"{prefix}{node.name}::")
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield prefix + node.name


def test_the_rules_are_numbered_without_a_hole() -> None:
    assert list(rules()) == list(range(1, 35))


@pytest.mark.parametrize("number", range(1, 35))
def test_a_rule_has_tests_and_they_exist(number: int) -> None:
    named = rules()[number]
    assert named, "a rule without a test is a wish"
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / "tests" / file).is_file() or name not in named_in(ROOT / "tests" / file)
    ]
    assert missing == []


def test_every_rule_that_the_code_speaks_of_is_on_the_page() -> None:
    mentioned = {
        int(number)
        for folder in ("server", "client", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for numbers in MENTIONED.findall(path.read_text(encoding="utf-8"))
        for number in re.findall(r"\d+", numbers)
    }
    assert len(mentioned) > 20
    assert mentioned <= rules().keys()
