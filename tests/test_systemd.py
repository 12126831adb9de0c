"""The systemd unit: hardened, ready when the daemon says so, and never in the way of a long recovery."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.sources import ROOT

UNIT = ROOT / "systemd" / "holdfastd.service"
DROP_INS = re.findall(r"```ini\n(.*?)```", (ROOT / "systemd" / "README.md").read_text(encoding="utf-8"), re.DOTALL)

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture(scope="module")
def settings() -> dict[str, list[str]]:
    """Each setting of the unit with its values, in order; the sections' names play no part."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("User", "holdfast"),
        ("StateDirectory", "holdfast"),
        ("StateDirectoryMode", "0700"),
        ("RuntimeDirectory", "holdfast"),
        ("RuntimeDirectoryMode", "0750"),
        ("TimeoutStartSec", "infinity"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("MemoryDenyWriteExecute", "yes"),
        ("CapabilityBoundingSet", ""),
        ("RestrictAddressFamilies", "AF_UNIX"),
        ("LimitCORE", "0"),
    ],
)
def test_settings(settings: dict[str, list[str]], key: str, value: str) -> None:
    assert settings[key] == [value]


def test_it_starts_the_daemon_where_clients_look(settings: dict[str, list[str]]) -> None:
    (command,) = settings["ExecStart"]
    assert command.split()[0].endswith("/holdfastd")
    assert command.split()[1:] == ["--data-dir", "/var/lib/holdfast", "--socket", "/run/holdfast/holdfast.sock"]


@needs_systemd
@pytest.mark.parametrize(
    "drop_in", ["", *DROP_INS], ids=["as shipped", "ReadWritePaths", "object store", "key file", "TCP"]
)
def test_its_exposure_is_at_most_1_5(drop_in: str, tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(f"{UNIT.read_text(encoding='utf-8')}\n{drop_in}", encoding="utf-8")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Overall exposure level for holdfastd.service" in done.stdout


@needs_systemd
def test_systemd_knows_every_setting() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False, timeout=60
    )
    assert "holdfastd.service" in done.stderr or done.returncode == 0
    assert "Unknown" not in done.stderr
    assert "Failed to parse" not in done.stderr
