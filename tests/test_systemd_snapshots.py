"""Timers for snapshots: the specification's cron lines, hardened, and what they run runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

import holdfast
from holdfastd.engine.cron import CronLine
from tests.rpc.process import Daemon, environment
from tests.support.sources import ROOT
from tests.support.spec import CRON

SYSTEMD = ROOT / "systemd"
UNITS = sorted(unit for unit in SYSTEMD.iterdir() if "@" in unit.name)
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
TIMERS = [unit for unit in UNITS if unit.suffix == ".timer"]

READINGS = ("daily", "weekly")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def setting(file: Path, key: str) -> str:
    """The value of a key that stands there once."""
    [value] = re.findall(rf"^{key}=(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return str(value)


def options(schedule: str, key: str) -> str:
    what = "verify" if key == "VERIFY_OPTIONS" else "snapshot"
    return setting(SYSTEMD / "snapshots" / f"{what}-{schedule}.conf", key)


def test_the_units_are_found() -> None:
    assert [unit.name for unit in SERVICES] == [f"holdfast-{what}@.service" for what in ("prune", "snapshot", "verify")]
    assert len(TIMERS) == len(CRON) + 1 + len(READINGS)


@pytest.mark.parametrize("schedule", CRON)
def test_what_a_timer_runs_is_the_line_of_the_specification(schedule: str) -> None:
    command = setting(SYSTEMD / "holdfast-snapshot@.service", "ExecStart")
    command = command.replace("$SNAPSHOT_OPTIONS", options(schedule, "SNAPSHOT_OPTIONS"))
    assert command == "/opt/holdfast/bin/holdfast " + CRON[schedule].split(maxsplit=5)[5].removeprefix("/")


@needs_systemd
@pytest.mark.parametrize("schedule", CRON)
def test_a_timer_comes_due_when_the_line_of_the_specification_does(schedule: str) -> None:
    base = datetime(2026, 11, 27, 12, 30, tzinfo=UTC)
    calendar = setting(SYSTEMD / f"holdfast-snapshot@{schedule}.timer", "OnCalendar")
    command = ["systemd-analyze", "calendar", "--iterations=5", f"--base-time={base:%Y-%m-%d %H:%M:%S} UTC", calendar]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env={"TZ": "UTC", "PATH": PATH}
    )
    found = re.findall(r"(?:Next elapse|Iteration #\d|Iter\. #\d): \w+ (\S+ \S+) UTC", done.stdout)
    line, time_us, due = CronLine(" ".join(CRON[schedule].split()[:5])), int(base.timestamp()) * 1_000_000, []
    for _ in found:
        time_us = line.next_after(time_us) or 0
        due.append(f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}")
    assert (len(found), found) == (5, due)


@pytest.mark.parametrize("schedule", READINGS)
def test_a_reading_is_that_of_the_handbooks_crontab(schedule: str) -> None:
    command = setting(SYSTEMD / "holdfast-verify@.service", "ExecStart").removeprefix("/opt/holdfast/bin/")
    command = command.replace("$VERIFY_OPTIONS", options(schedule, "VERIFY_OPTIONS"))
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [(minute, hour, day)] = re.findall(rf"^(\d+) (\d+) \* \* (\S) {re.escape(command)} >/dev/null$", page, re.MULTILINE)
    days = {"*": "", "0": "Sun "}[day]
    calendar = setting(SYSTEMD / f"holdfast-verify@{schedule}.timer", "OnCalendar")
    assert calendar == f"{days}*-*-* {int(hour):02}:{int(minute):02}:00"


PATH = "/usr/local/bin:/usr/bin:/bin"


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=[unit.name for unit in UNITS])
def test_systemd_knows_every_setting(unit: Path) -> None:
    command = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # A command that is not installed here is all that it may complain of.
    left = [line for line in done.stderr.splitlines() if "holdfast is not executable" not in line]
    assert not [line for line in left if unit.stem.partition("@")[0] in line], done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=[unit.name for unit in SERVICES])
def test_its_exposure_is_at_most_1_5(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_bytes(unit.read_bytes())
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.e2e
def test_what_the_units_run_runs(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).started()

    def run(unit: str, schedule: str) -> dict[str, object]:
        command = setting(SYSTEMD / f"holdfast-{unit}@.service", "ExecStart")
        for key in re.findall(r"\$([A-Z_]+)", command):
            command = command.replace(f"${key}", options(schedule, key))
        words = command.replace("/backups", f"{tmp_path}/backups").split()
        assert words[0] == "/opt/holdfast/bin/holdfast"
        done = subprocess.run(
            [sys.executable, "-m", "holdfast", *words[1:]],
            capture_output=True, text=True, check=False, env=environment({"HOLDFAST_ADDRESS": daemon.address}),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        document: dict[str, object] = json.loads(done.stdout)
        return document

    try:
        with holdfast.connect(daemon.address) as db:
            db.collections.create("c", 2).upsert(["a"], [[1, 2]])
            made = [run("snapshot", schedule) for schedule in CRON]
            assert [each["type"] for each in made] == ["full", "incremental", "full"]
            pruned = [run("prune", schedule) for schedule in CRON]
            assert [(each["kept"], each["deleted"]) for each in pruned] == [(1, 0)] * 3
            read = [run("verify", schedule) for schedule in READINGS]
            assert [(each["valid"], each["level"], each["receipt_kept"]) for each in read] == [
                (True, 2, True),
                (True, 4, True),
            ]
            assert len(db.snapshots.list()) == 3
    finally:
        daemon.kill()
