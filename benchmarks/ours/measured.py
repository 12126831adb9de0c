"""What the measuring modules have in common: their command line, and the one JSON line that they print."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import data

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def print_measured(measure: Callable[..., DataclassInstance], **more: Callable[[str], Any]) -> None:
    """Parses the command line, calls `measure` with rows, their number, the directory and `more`, and prints it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    for name, kind in more.items():
        parser.add_argument(f"--{name}", type=kind, required=True)
    options = parser.parse_args()
    given = {name: getattr(options, name) for name in more}
    print(json.dumps(asdict(measure(data.load(options.data), options.rows, options.work, **given))), flush=True)
