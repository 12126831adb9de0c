"""Object stores in memory, behind the real adapter: what it does to a store can be seen after each request of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING

import obstore
from obstore.store import MemoryStore

from holdfastd.format.urls import split_url
from holdfastd.storage.objects import ObjectFileSystem
from holdfastd.storage.routing import RoutedFileSystem
from holdfastd.storage.store_errors import store_errors
from tests.support.memfs import MemFileSystem

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Objects = dict[str, bytes]
"""What a bucket holds, by key."""


class MemoryStores:
    """In the place of ``ObjectStores``: one bucket, whatever it is called."""

    def __init__(self, objects: Objects | None = None) -> None:
        self.store = MemoryStore()
        for key, data in (objects or {}).items():
            obstore.put(self.store, key, data)

    def library(self, url: str) -> ModuleType:
        return obstore

    def of(self, url: str) -> ObjectStore:
        assert split_url(url).bucket
        return self.store

    @contextmanager
    def asking(self, url: str) -> Iterator[None]:
        with store_errors(url):
            yield

    def objects(self) -> Objects:
        """Everything that is there now."""
        found = [each["path"] for batch in obstore.list(self.store) for each in batch]
        return {key: bytes(obstore.get(self.store, key).bytes()) for key in found}


class MemoryObjects(ObjectFileSystem):
    """The adapter over such stores; ``on_change`` is called after each change of them."""

    def __init__(self, stores: MemoryStores) -> None:
        super().__init__(stores)  # type: ignore[arg-type]
        self.stores = stores
        self.on_change: Callable[[], None] = lambda: None

    def create(self, path: str, size: int = 0, *, direct: bool = False):  # type: ignore[no-untyped-def]
        file = super().create(path, size, direct=direct)
        self.on_change()
        return file

    def rename(self, source: str, target: str) -> None:
        super().rename(source, target)
        self.on_change()

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self.on_change()


class MemoryPlaces(RoutedFileSystem):
    """A disk and a store, both in memory. ``states``: after how many operations of the disk the store held what."""

    def __init__(self, disk: MemFileSystem | None = None, objects: Objects | None = None) -> None:
        self.disk = disk or MemFileSystem()
        self.stores = MemoryStores(objects)
        self.objects = MemoryObjects(self.stores)
        super().__init__(self.disk, self.objects)
        self.states: list[tuple[int, Objects]] = [(self.disk.ops, self.stores.objects())]
        self.objects.on_change = lambda: self.states.append((self.disk.ops, self.stores.objects()))

    @property
    def ops(self) -> int:
        """Operations of the disk so far."""
        return self.disk.ops
