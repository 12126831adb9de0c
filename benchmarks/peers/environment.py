"""The peers' virtual environment, `.venv-bench` at the repository's root, so that the daemon's own stays clean."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
STAMP = "requirements.sha256"


def ensure(repository: Path) -> Path:
    """The environment's interpreter; creates or refreshes it when requirements.txt has changed.

    Blocks for the download (about 150 MB) the first time. Raises CalledProcessError with pip's own words on stderr.
    """
    home = repository / ".venv-bench"
    python = home / "bin" / "python"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = home / STAMP
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"setting up the peers' environment in {home}", file=sys.stderr)
        _create(home)
        _install(python)
        stamp.write_text(wanted)
    return python


def _create(home: Path) -> None:
    """Without pip: Debian's python3 brings no ensurepip, and any pip can install into another environment."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)], check=True)


def _install(python: Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--only-binary=:all:"]
    subprocess.run([*command, "--requirement", str(REQUIREMENTS)], check=True)
