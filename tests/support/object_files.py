"""Objects as tests write and read them, over the real library."""

from __future__ import annotations

import random

import pytest

from holdfastd.storage.object_stores import ObjectStores
from holdfastd.storage.objects import ObjectFileSystem
from tests.support.object_server import lead_to

PATIENCE = 2.0


def objects_at(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ObjectFileSystem:
    return ObjectFileSystem(ObjectStores(lead_to(monkeypatch, endpoint), patience=PATIENCE))


def put(fs: ObjectFileSystem, url: str, data: bytes) -> str:
    file = fs.create(f"{url}.part", len(data))
    file.pwrite([data], 0)
    file.sync()
    file.close()
    fs.rename(f"{url}.part", url)
    return url


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)
