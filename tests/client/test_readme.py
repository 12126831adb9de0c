"""client/README.md says what the program does: every command and every exit code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from holdfast.cli.exit_codes import MEANINGS
from holdfast.cli.not_built import NOT_BUILT
from tests.client.test_cli_tree import LEAVES

NAMES = [f"{command} {option}" for command, options in NOT_BUILT.items() for option in options]
README = Path(__file__).parents[2] / "client" / "README.md"


def test_every_command_stands_in_the_readme_and_no_other() -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith("| `")]
    assert rows == [f"| `{' '.join(path)}` | {leaf.summary} |" for path, leaf in LEAVES]


@pytest.mark.parametrize("readme", [README, README.parents[1] / "README.md"], ids=["client", "project"])
def test_what_is_not_built_stands_in_the_readme(readme: Path) -> None:
    names = ", ".join(f"`{name}`" for name in NAMES)
    assert f"\n{names}.\n" in readme.read_text()


@pytest.mark.parametrize("readme", [README, README.parents[1] / "README.md"], ids=["client", "project"])
def test_what_the_client_needs_stands_in_the_readme(readme: Path) -> None:
    project = tomllib.loads((README.parents[1] / "pyproject.toml").read_text())["project"]
    names = [re.match(r"[A-Za-z0-9_-]+", line) for line in project["dependencies"]]
    text = readme.read_text().lower()
    assert [name[0] for name in names if name is not None and not re.search(rf"\b{name[0]}\b[,; ]", text)] == []


def test_every_exit_code_stands_in_the_readme() -> None:
    text = README.read_text()
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
    assert f"| exit code | meaning |\n| --- | --- |\n{rows}\n" in text
