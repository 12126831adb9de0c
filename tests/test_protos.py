"""The protos are documentation: every service, method, message, field and value is explained where it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.sources import ROOT

PROTOS = sorted((ROOT / "proto" / "holdfast" / "v1").glob("*.proto"))
ITEM = re.compile(r"\s*(message|enum|service|rpc|oneof)\s|\s+[\w.<>, ]+\s\w+\s=\s\d+;|\s+[A-Z0-9_]+\s=\s\d+;")


def bare_items(lines: list[str]) -> list[str]:
    """What has no comment right above it."""
    return [
        f"{number}: {line.strip()}"
        for number, (above, line) in enumerate(zip(["", *lines], lines, strict=False), 1)
        if ITEM.match(line) and not above.strip().startswith("//")
    ]


@pytest.mark.parametrize("proto", PROTOS, ids=lambda path: path.name)
def test_every_item_is_explained(proto: Path) -> None:
    assert bare_items(proto.read_text(encoding="utf-8").splitlines()) == []


MIXED = """\
// Explained.
message A {
  // So is this.
  string a = 1;
  repeated int32 b = 2;
  map<string, int32> c = 3;
}
"""


def test_what_is_bare_is_found() -> None:
    assert bare_items(MIXED.splitlines()) == ["5: repeated int32 b = 2;", "6: map<string, int32> c = 3;"]
    assert bare_items(["enum E {", "  E_UNSPECIFIED = 0;"]) == ["1: enum E {", "2: E_UNSPECIFIED = 0;"]
