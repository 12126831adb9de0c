"""The rows of the report: a table on stdout and RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pairs import Spread

COLUMNS = ("what", "figure", "against", "ratio", "target", "met")


@dataclass(frozen=True)
class Row:
    """One line: what was measured, the figure with its spread, what it is held against, and whether the target is met.

    `met` is None where a row is there to be read and has no target.
    """

    what: str
    figure: str
    against: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None

    def cells(self) -> tuple[str, ...]:
        """The texts of the columns."""
        verdict = "" if self.met is None else "yes" if self.met else "NO"
        return (self.what, self.figure, self.against, self.ratio, self.target, verdict)


def quantity(spread: Spread, unit: str, digits: int = 0) -> str:
    """`median unit [min-max]`."""
    if spread.low == spread.high:
        return f"{spread.median:,.{digits}f} {unit}"
    return f"{spread.median:,.{digits}f} {unit} [{spread.low:,.{digits}f}-{spread.high:,.{digits}f}]"


def at_least(what: str, figure: str, against: str, ratio: Spread, target: float, digits: int = 2) -> Row:
    """A row whose ratio must reach `target`."""
    return Row(what, figure, against, quantity(ratio, "×", digits), f">= {target:g} ×", ratio.median >= target)


def at_most(what: str, figure: str, against: str, ratio: Spread, limit: float) -> Row:
    """A row whose ratio must not exceed `limit`."""
    return Row(what, figure, against, quantity(ratio, "×", 3), f"<= {limit:g} ×", ratio.median <= limit)


def below(what: str, figure: Spread, unit: str, against: str, limit: float, digits: int = 0) -> Row:
    """A row whose median must stay under `limit`."""
    return Row(what, quantity(figure, unit, digits), against, "", f"< {limit:g} {unit}", figure.median < limit)


def table(rows: Iterable[Row]) -> str:
    """Fixed-width text."""
    lines = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def write(
    path: Path, title: str, machine: Mapping[str, str], sections: Mapping[str, list[Row]], notes: list[str]
) -> None:
    """Replaces RESULTS.md."""
    parts = ["# Benchmark results", title, *_machine(machine)]
    for name, rows in sections.items():
        parts += [f"## {name}", _markdown(rows)]
    if notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in notes)]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _machine(machine: Mapping[str, str]) -> list[str]:
    return ["| | |\n| --- | --- |\n" + "\n".join(f"| {name} | {value} |" for name, value in machine.items())]


def _markdown(rows: list[Row]) -> str:
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
