"""Azure's blob storage on this machine: Microsoft's own emulator, where `make azurite` has installed it."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.object_server import BUCKET, free_port, wait_for

ACCOUNT = "plantedaccount"
KEY = base64.b64encode(b"planted key that nobody may see!").decode()
API_VERSION = "2021-08-06"
INSTALLED = Path(__file__).parents[2] / ".venv/azurite/node_modules/.bin/azurite-blob"


class AzureServer:
    """The server, with one empty container, which lies in ``directory``."""

    def __init__(self, program: str, directory: Path) -> None:
        self.port = free_port()
        where = ["--location", str(directory), "--blobHost", "127.0.0.1", "--blobPort", str(self.port)]
        self.process = subprocess.Popen(
            [program, *where, "--silent", "--disableTelemetry", "--skipApiVersionCheck"],
            env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self.process, self.port)
        self._make_container()

    @property
    def environment(self) -> dict[str, str]:
        """What leads a daemon to it."""
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{self.port}/{ACCOUNT}",
        }

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()

    def _make_container(self) -> None:
        """The one request that the library does not know, signed as Azure wants it."""
        headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": API_VERSION}
        said = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        text = "PUT" + "\n" * 12 + f"{said}/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
        signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{ACCOUNT}/{BUCKET}?restype=container",
            method="PUT",
            headers={**headers, "Authorization": f"SharedKey {ACCOUNT}:{signature}"},
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 201


@contextmanager
def azure_server(directory: Path) -> Iterator[AzureServer]:
    """The server, for as long as the block runs; the test is skipped where the emulator is not installed."""
    program = str(INSTALLED) if INSTALLED.exists() else shutil.which("azurite-blob")
    if program is None:
        pytest.skip("Azurite is not installed: make azurite")
    server = AzureServer(program, directory)
    try:
        yield server
    finally:
        server.stop()
