"""The pages are programs: every command on them runs, prints what they show, and every link leads somewhere."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.cli import exit_codes
from tests.support import cli_reference, documents
from tests.support.documents import TIMEOUT_SECONDS, Done, Step
from tests.support.sources import ROOT

PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
RUN_PAGES = [page for page in PAGES if documents.steps_of((ROOT / page).read_text())]
REWRITE = bool(os.environ.get("HOLDFAST_REWRITE_DOCS"))
"""Set it to write what the commands print now into the pages; the run fails all the same, so that nobody forgets."""


def markdown_files() -> list[Path]:
    """Every page of the repository; hidden folders and installed packages are not ours."""
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    return [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    languages = {block.language for block in documents.blocks_of((ROOT / page).read_text())}
    assert languages <= documents.SHOWN | documents.RUN, "name a block's language, so that it is run or visibly not"


def test_pages_with_commands_are_found() -> None:
    assert {"README.md", "docs/operations.md", "docs/recovery.md"} <= set(RUN_PAGES)


@pytest.mark.timeout(TIMEOUT_SECONDS + 20)
@pytest.mark.e2e
@pytest.mark.parametrize("page", RUN_PAGES)
def test_what_a_page_shows_is_what_happens(page: str, tmp_path: Path) -> None:
    steps = documents.steps_of((ROOT / page).read_text())
    places = prepare(tmp_path)
    located = [replace(step, command=_located(step.command, places)) for step in steps]
    done = documents.run_session(located, tmp_path, environment(tmp_path))
    if REWRITE:
        rewrite(ROOT / page, steps, done, places)
    problems = [problem for step, did in zip(steps, done, strict=True) for problem in differences(step, did, places)]
    assert not problems, f"{page}:\n" + "\n".join(problems)


def prepare(tmp_path: Path) -> dict[str, str]:
    """The places that the pages speak of, below ``tmp_path``; returns how the pages name them."""
    work, backups = tmp_path / "work", tmp_path / "backups"
    work.mkdir()
    for name in ("daily", "weekly", "hourly"):
        (backups / name).mkdir(parents=True)
    (tmp_path / "mnt").mkdir()
    shutil.copytree(ROOT / "examples", work / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    documents.programs(tmp_path / "bin")
    return {str(backups): "/backups", f"{tmp_path}/mnt": "/mnt", str(work): "/home/you"}


def environment(tmp_path: Path) -> dict[str, str]:
    """What a command sees: this checkout's programs first, and no daemon but the page's own."""
    paths = [str(tmp_path / "bin"), os.environ.get("PATH", os.defpath)]
    sources = [str(ROOT / "server"), str(ROOT / "client"), os.environ.get("PYTHONPATH", "")]
    return {
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": os.pathsep.join(filter(None, sources)),
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "HOLDFAST_ADDRESS": f"unix://{tmp_path}/work/holdfast-data/holdfast.sock",
    }


def _located(command: str, places: dict[str, str]) -> str:
    """The command with the page's places where they are in this test."""
    for real, shown in places.items():
        command = re.sub(rf"(?<![\w/.]){shown}\b", real, command)
    return command


def differences(step: Step, did: Done, places: dict[str, str]) -> list[str]:
    """What is not as the page says."""
    if did.code is None:
        return [f"line {step.line}: never ended, or was never reached: {step.command}\n{did.output}"]
    problems = []
    if did.code != step.code:
        problems.append(f"line {step.line}: exit code {did.code}, not {step.code}: {step.command}\n{did.output}")
    elif step.output is not None:
        shown = documents.normalised("\n".join(step.output), {})
        found = documents.normalised(did.output, places)
        if not documents.agrees(shown, found):
            lines = "\n".join(found)
            problems.append(f"line {step.line}: the page shows something else: {step.command}\n{lines}")
    return problems


def rewrite(page: Path, steps: list[Step], done: list[Done], places: dict[str, str]) -> None:
    """Put the outputs that differ into the page, where they are shown in full; those with ``…`` stay as they are."""
    lines = page.read_text().splitlines()
    for step, did in reversed(list(zip(steps, done, strict=True))):
        elided = step.output is None or any(documents.ANY_LINES in line for line in step.output)
        if elided or not differences(step, did, places):
            continue
        output = did.output
        for real, shown in places.items():
            output = output.replace(real, shown)
        code = [f"[{did.code}]"] if did.code else []
        first = step.line + len(step.command.splitlines()) - 1
        lines[first : step.end] = [*map(str.rstrip, output.rstrip("\n").splitlines()), *code]
    page.write_text("\n".join(lines) + "\n")


def test_the_readme_has_the_exit_codes() -> None:
    shown = re.findall(r"^\| (\d+) \| (.+) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {int(code): meaning for code, meaning in shown} == dict(exit_codes.MEANINGS)


def test_the_reference_is_what_the_commands_say() -> None:
    page, text = ROOT / "docs" / "cli.md", cli_reference.reference()
    stale = not page.exists() or page.read_text().split() != text.split()
    if stale and REWRITE:
        page.write_text(text)
    assert not stale, "docs/cli.md is not what --help says; HOLDFAST_REWRITE_DOCS=1 pytest tests/test_docs.py writes it"


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in markdown_files():
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            place = (page.parent / path) if path else page
            if not place.exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
            elif anchor and anchor not in anchors(place):
                broken.append(f"{page.relative_to(ROOT)}: {target} (no such heading)")
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class TestTheReaderOfPages:
    """The harness itself: what it must find and what it must not let pass."""

    def test_commands_output_and_exit_codes(self) -> None:
        page = "x\n\n```console\n$ a\none\n$ b \\\n> c\nerror: no\n[4]\n```\n"
        first, second = documents.steps_of(page)
        assert (first.command, first.output, first.code, first.line) == ("a", ("one",), 0, 4)
        assert (second.command, second.output, second.code) == ("b \\\nc", ("error: no",), 4)

    def test_a_crontab_runs_without_its_schedule(self) -> None:
        (step,) = documents.steps_of("```crontab\n# nightly\nMAILTO=ops\n0 2 * * * holdfast x --path /b\n```\n")
        assert step.command == "holdfast x --path /b"

    @pytest.mark.parametrize("page", ["```console\n$ a\n", "```console\nno command\n```\n", "```crontab\nhelp\n```\n"])
    def test_a_malformed_page_is_refused(self, page: str) -> None:
        with pytest.raises(ValueError, match="line"):
            documents.steps_of(page)

    @pytest.mark.parametrize(
        ("shown", "found", "same"),
        [
            (["a", "b"], ["a", "b"], True),
            (["a"], ["a", "b"], False),
            (["a", "…", "d"], ["a", "b", "c", "d"], True),
            (["a", "…"], ["b"], False),
            (["a … c"], ["a b c"], True),
            ([], [], True),
            ([], ["a"], False),
        ],
    )
    def test_output_is_compared(self, shown: list[str], found: list[str], same: bool) -> None:
        assert documents.agrees(shown, found) is same

    def test_only_what_differs_from_run_to_run_is_left_out(self) -> None:
        text = '{"vectors": 12, "size_bytes": 345, "id": "snap-2026-01-02-030405", "at": "2026-01-02T03:04:05Z"}'
        assert documents.normalised(text, {}) == ['{"vectors": 12, "size_bytes": N, "id": "snap-ID", "at": "TIME"}']
        assert documents.normalised("/tmp/x/backups/a", {"/tmp/x/backups": "/backups"}) == ["/backups/a"]

    def test_a_session_keeps_its_shell_and_tells_each_command_apart(self, tmp_path: Path) -> None:
        (tmp_path / "work").mkdir()
        page = (
            "```console\n$ export A=1\n$ echo $A\n1\n$ exit_with() { return 7; }; exit_with\n[7]\n$ sleep 100 &\n```\n"
        )
        steps = documents.steps_of(page)
        done = documents.run_session(steps, tmp_path, {"PATH": os.environ["PATH"]})
        assert [(did.output, did.code) for did in done] == [("", 0), ("1\n", 0), ("", 7), ("", 0)]
        assert [differences(step, did, {}) for step, did in zip(steps, done, strict=True)] == [[]] * 4

    def test_a_page_that_lies_is_found(self) -> None:
        step = Step("c", 1, 2, ("one",), 0)
        assert differences(step, Done("one\n", 0), {}) == []
        assert differences(step, Done("two\n", 0), {})
        assert differences(step, Done("one\n", 1), {})
        assert differences(step, Done("", None), {})
