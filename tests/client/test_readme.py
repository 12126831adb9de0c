"""client/README.md says what the program does: every command and every exit code."""

from __future__ import annotations

from pathlib import Path

from holdfast.cli.exit_codes import MEANINGS
from tests.client.test_cli_tree import LEAVES

README = Path(__file__).parents[2] / "client" / "README.md"


def test_every_command_stands_in_the_readme_and_no_other() -> None:
    rows = [line for line in README.read_text().splitlines() if line.startswith("| `")]
    assert rows == [f"| `{' '.join(path)}` | {leaf.summary} |" for path, leaf in LEAVES]


def test_every_exit_code_stands_in_the_readme() -> None:
    text = README.read_text()
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in MEANINGS.items())
    assert f"| exit code | meaning |\n| --- | --- |\n{rows}\n" in text
