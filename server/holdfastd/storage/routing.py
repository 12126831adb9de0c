"""One file system for everything that has a path: object stores for their URLs, the machine's own for the rest."""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..format.urls import is_object_url
from .beside import Pending
from .files import Cache, File, FileFacts, FileSystem, HeldFile, Lock, Mapping, Reader


class RoutedFileSystem:
    """See the module. Any thread, as far as both allow it."""

    def __init__(self, local: FileSystem, objects: FileSystem) -> None:
        self._local = local
        self._objects = objects

    def beside(self, work: Callable[[], object]) -> Pending:
        return self._local.beside(work)

    def create(self, path: str, size: int = 0, *, direct: bool = False) -> File:
        return self._of(path).create(path, size, direct=direct)

    def open(self, path: str) -> File:
        return self._of(path).open(path)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._of(path).read(path, offset, length)

    def reader(self, path: str, cache: Cache = Cache.USE) -> Reader:
        return self._of(path).reader(path, cache)

    def size(self, path: str) -> int:
        return self._of(path).size(path)

    def modified_ns(self, path: str) -> int:
        return self._of(path).modified_ns(path)

    def facts(self, path: str) -> dict[str, FileFacts]:
        return self._of(path).facts(path)

    def exists(self, path: str) -> bool:
        return self._of(path).exists(path)

    def real_path(self, path: str) -> str:
        return self._of(path).real_path(path)

    def is_dir(self, path: str) -> bool:
        return self._of(path).is_dir(path)

    def map(self, path: str) -> Mapping:
        return self._of(path).map(path)

    def hold(self, path: str) -> HeldFile:
        return self._of(path).hold(path)

    def rename(self, source: str, target: str) -> None:
        if is_object_url(source) != is_object_url(target):
            raise OSError(errno.EXDEV, "a file cannot be moved into an object store or out of one", source)
        self._of(source).rename(source, target)

    def unlink(self, path: str) -> None:
        self._of(path).unlink(path)

    def mkdir(self, path: str) -> None:
        self._of(path).mkdir(path)

    def rmdir(self, path: str) -> None:
        self._of(path).rmdir(path)

    def listdir(self, path: str) -> list[str]:
        return self._of(path).listdir(path)

    def sync_dir(self, path: str) -> None:
        self._of(path).sync_dir(path)

    def drop_cache(self, path: str, offset: int, length: int) -> None:
        self._of(path).drop_cache(path, offset, length)

    def free_bytes(self, path: str) -> int:
        return self._of(path).free_bytes(path)

    def same_disk(self, path: str, other: str) -> bool:
        return is_object_url(path) == is_object_url(other) and self._of(path).same_disk(path, other)

    def lock(self, path: str) -> Lock:
        return self._of(path).lock(path)

    def _of(self, path: str) -> FileSystem:
        return self._objects if is_object_url(path) else self._local
