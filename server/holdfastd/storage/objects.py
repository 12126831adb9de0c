"""Object stores as a file system, for the snapshots that lie there.

There are no directories, only names with slashes: every prefix can be written to, and one that something lies below is
there. Objects are never changed, and a new one is made like a file that gets its name last:

    create X.part   claims the name with an empty object, where the store can refuse a second one, and begins an upload
    rename to X     completes the upload, all at once, unless another X is there; takes the claim away
    unlink X.part   gives the upload up, and takes the claim away

So nobody replaces another's object, and what a kill leaves is a claim, which the next start removes, and parts of an
upload that the store keeps out of sight until a rule of the bucket's life cycle removes them.
"""

from __future__ import annotations

import contextlib
import errno
import posixpath
import uuid
from typing import Any, NoReturn

from ..format.urls import is_object_url, split_url
from .beside import Beside, Done
from .files import Cache, FileFacts, HeldFile, Lock, Mapping, Reader
from .object_reader import ObjectReader
from .object_stores import ObjectStores
from .object_writer import ObjectFile
from .store_errors import StoreError, StoreProblem

PART = ".part"
WITHOUT_END = 1 << 62
"""Bytes free in an object store: whoever asks before he writes is never refused."""
_CLAIM = b"holdfastd is writing a snapshot here, or was when it ended; see docs/operations.md, Off-site\n"


class ObjectFileSystem:
    """See the module. Any thread; each upload by one. Blocks for the network.

    Raises FileNotFoundError, FileExistsError, StoreError, and OSError for what no object store can do.
    """

    def __init__(self, stores: ObjectStores, beside: Beside = Done) -> None:
        self.beside = beside
        self._stores = stores
        self._uploads: dict[str, ObjectFile] = {}

    # Writing --------------------------------------------------------------------------------------------------------

    def create(self, path: str, size: int = 0, *, direct: bool = False) -> ObjectFile:
        """Begin an upload; ``path`` ends in ``.part``. ``size``: about how large it will be, which fixes its parts."""
        if not path.endswith(PART):
            _cannot("an object that is not complete has a name that ends in .part", path)
        url = path.removesuffix(PART)
        self._claim(path)
        try:
            if self._head(url) is not None:
                raise FileExistsError(errno.EEXIST, "there is an object of that name", url)
            file = self._uploads[path] = ObjectFile(self._stores, path, url, size)
        except BaseException:
            self._disclaim(path)
            raise
        return file

    def rename(self, source: str, target: str) -> None:
        """Complete an upload. On FileExistsError it is still there to be given up."""
        file = self._uploads.get(source)
        if file is None or target != source.removesuffix(PART):
            _cannot("an object cannot be renamed", source)
        if self._head(target) is not None:
            raise FileExistsError(errno.EEXIST, "there is an object of that name", target)
        try:
            file.complete()
        except (StoreError, FileNotFoundError):
            # The answer may have been lost, and the library, which asks again, be told that there is no such upload any
            # more. Whatever stands here now is ours: the name was free and claimed.
            if self._size_or_none(target) != file.size():
                raise
        del self._uploads[source]
        self._disclaim(source)

    def unlink(self, path: str) -> None:
        """Remove an object, or give up an upload. What is not there is removed already."""
        upload = self._uploads.pop(path, None)
        if upload is not None:
            upload.give_up()
        with self._stores.asking(path), contextlib.suppress(FileNotFoundError):
            self._library(path).delete(self._stores.of(path), split_url(path).key)

    def _claim(self, path: str) -> None:
        put, store, key = self._library(path).put, self._stores.of(path), split_url(path).key
        claim = _CLAIM + uuid.uuid4().hex.encode() + b"\n"
        try:
            with self._stores.asking(path):
                put(store, key, claim, mode="create")
        except FileExistsError:
            # The library asks again where the answer was lost, and finds what it has put there itself.
            if not self._holds(path, claim):
                raise
        except FileNotFoundError:
            raise StoreError(StoreProblem.NO_BUCKET, path) from None
        except StoreError as error:
            if error.problem is not StoreProblem.UNSUPPORTED:
                raise
            # The store knows no conditions: seeing that the name is free is all that can be done.
            if self._head(path) is not None:
                raise FileExistsError(errno.EEXIST, "there is an object of that name", path) from None
            with self._stores.asking(path):
                put(store, key, claim)

    def _holds(self, path: str, data: bytes) -> bool:
        # Where it may not even be read, it counts as another's.
        with contextlib.suppress(FileNotFoundError, StoreError):
            return self.read(path) == data
        return False

    def _disclaim(self, path: str) -> None:
        """Whoever may not delete leaves a claim behind: it says nothing any more, and costs a few bytes."""
        with contextlib.suppress(StoreError):
            self.unlink(path)

    # Reading --------------------------------------------------------------------------------------------------------

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        reader = ObjectReader(self._stores, path)
        return reader.read(offset, reader.size if length is None else length)

    def reader(self, path: str, cache: Cache = Cache.USE) -> Reader:
        return ObjectReader(self._stores, path)

    def size(self, path: str) -> int:
        return self._facts(path).size

    def modified_ns(self, path: str) -> int:
        return self._facts(path).modified_ns

    def _facts(self, path: str) -> FileFacts:
        found = self._head(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", path)
        return _facts_of(found)

    def exists(self, path: str) -> bool:
        """Whether there is an object, or anything below the prefix; a bucket is taken for granted."""
        return not split_url(path).key or self._head(path) is not None or self.is_dir(path)

    def is_dir(self, path: str) -> bool:
        """Whether anything lies below the prefix, or in the bucket."""
        with self._stores.asking(path):
            found = self._library(path).list(self._stores.of(path), self._prefix(path), chunk_size=1)
            return next(iter(found), None) is not None

    def listdir(self, path: str) -> list[str]:
        below = self._below(path)
        return sorted(self._objects(below, path).keys() | set(map(_name, below["common_prefixes"])))

    def facts(self, path: str) -> dict[str, FileFacts]:
        return {name: _facts_of(said) for name, said in self._objects(self._below(path), path).items()}

    def real_path(self, path: str) -> str:
        return path

    def _below(self, path: str) -> Any:
        with self._stores.asking(path):
            return self._library(path).list_with_delimiter(self._stores.of(path), self._prefix(path))

    def _objects(self, below: Any, path: str) -> dict[str, Any]:
        """What is said of each object, by name; without the empty one that a console makes for a prefix itself."""
        return {_name(each["path"]): each for each in below["objects"] if each["path"] != self._prefix(path)}

    def _prefix(self, path: str) -> str | None:
        return split_url(path).key or None

    def _head(self, path: str) -> Any:
        """What the store says of an object, or None."""
        try:
            with self._stores.asking(path):
                return self._library(path).head(self._stores.of(path), split_url(path).key)
        except FileNotFoundError:
            return None

    def _size_or_none(self, path: str) -> int | None:
        with contextlib.suppress(StoreError):
            found = self._head(path)
            return None if found is None else int(found["size"])
        return None

    def _library(self, path: str) -> Any:
        return self._stores.library(path)

    # What an object store has no need of, or no such thing ----------------------------------------------------------

    def mkdir(self, path: str) -> None:
        """A prefix is there as soon as something lies below it."""

    def rmdir(self, path: str) -> None:
        """A prefix is gone with what lay below it."""

    def sync_dir(self, path: str) -> None:
        """A name is as durable as its object."""

    def drop_cache(self, path: str, offset: int, length: int) -> None:
        """Nothing is cached."""

    def free_bytes(self, path: str) -> int:
        return WITHOUT_END

    def same_disk(self, path: str, other: str) -> bool:
        return is_object_url(path) and is_object_url(other) and split_url(path)[:2] == split_url(other)[:2]

    def open(self, path: str) -> NoReturn:
        _cannot("an object cannot be changed", path)

    def map(self, path: str) -> Mapping:
        _cannot("an object cannot be mapped", path)

    def hold(self, path: str) -> HeldFile:
        _cannot("an object cannot be held open", path)

    def lock(self, path: str) -> Lock:
        _cannot("an object cannot be locked", path)


def _name(key: str) -> str:
    return posixpath.basename(key.rstrip("/"))


def _facts_of(said: Any) -> FileFacts:
    """Whole seconds: not every answer has more, and two about one object must be the same."""
    return FileFacts(int(said["size"]), int(said["last_modified"].timestamp()) * 1_000_000_000)


def _cannot(what: str, path: str) -> NoReturn:
    raise OSError(errno.EOPNOTSUPP, what, path)
