"""Servers of a module's own, and where in them a test may write."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from holdfastd.storage.object_stores import ObjectStores
from holdfastd.storage.objects import ObjectFileSystem
from tests.support.azure_server import AzureServer, azure_server
from tests.support.object_files import PATIENCE, objects_at
from tests.support.object_server import BUCKET, S3Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    with azure_server(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture
def at(request: pytest.FixtureRequest) -> str:
    """A prefix that nobody else uses; in Azure's store where ``fs`` is that one."""
    params = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    scheme = "az" if params.get("fs") == "azure" else "s3"
    return f"{scheme}://{BUCKET}/{abs(hash(request.node.name))}"


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> ObjectFileSystem:
    return objects_at(server.endpoint, monkeypatch)


@pytest.fixture
def azure(azurite: AzureServer, monkeypatch: pytest.MonkeyPatch) -> ObjectFileSystem:
    for name, value in azurite.environment.items():
        monkeypatch.setenv(name, value)
    return ObjectFileSystem(ObjectStores(azurite.environment, patience=PATIENCE))
