"""An S3 server of a module's own, and where in it a test may write."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfastd.storage.objects import ObjectFileSystem
from tests.support.object_files import objects_at
from tests.support.object_server import BUCKET, S3Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def at(request: pytest.FixtureRequest) -> str:
    """A prefix that nobody else uses."""
    return f"s3://{BUCKET}/{abs(hash(request.node.name))}"


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectFileSystem:
    return objects_at(server.endpoint, monkeypatch)
