"""A file system in memory that loses power on demand (``memdisk`` says what it may lose) and fails on demand.

    fs = MemFileSystem()
    run_scenario(fs)                          # note fs.ops wherever the scenario is told "durable"
    for n in range(fs.ops + 1):
        after = fs.crash_at(n, rng, "subset")  # as after the first n operations; cheap when n never goes back
        check(recover(after))

Every call that changes something counts as one operation, failed ones included. Any thread.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import zlib
from collections.abc import Callable

from holdfastd.errors import DataDirectoryLocked
from holdfastd.storage.beside import Done
from holdfastd.storage.files import Cache, FileFacts, PathReader, facts_in
from tests.support.memdisk import ROOT, Content, DirectoryModel, Disk, DiskFile, Layer, NameChange, edit_names
from tests.support.memfiles import Fault, MemFile, MemHeldFile, MemLock, MemMapping

UNLIMITED_BYTES = 1 << 50

Step = Callable[[Disk], None]
"""One recorded operation, as it changes the disk."""


class MemFileSystem:
    """``FileSystem`` over a modelled disk.

    ``capacity``: bytes that all files together may take before ENOSPC. ``record``: keep what ``crash_at`` needs.
    ``on_operation(kind, path)`` runs before each operation takes effect, in the thread that asked for it; what it
    writes during a sync is not covered by that sync.
    """

    def __init__(self, disk: Disk | None = None, *, capacity: int | None = None, record: bool = True) -> None:
        self._start = disk or Disk()
        self._disk = self._start.clone()
        self._directories = self._disk.names()
        named = {node for entries in self._directories.values() for node in entries.values()}
        self._views: dict[int, Content] = {
            number: bytes(file.visible()) if file.layers else file.frozen()
            for number, file in self._disk.files.items()
            if number in named
        }
        self._references = dict.fromkeys(self._views, 1)
        self._next = max([ROOT, *self._disk.files, *self._directories]) + 1
        self._entries: dict[str, dict[str, int]] = {}  # by path, since a directory was made, renamed or removed
        self._steps: list[Step] = []
        self._record = record
        self._cursor = self._start
        self._cursor_at = -1
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self.capacity = capacity
        self.ops = 0
        self.locked: set[str] = set()
        self.looked_into: set[int] = set()
        """The files whose content or size somebody has asked for."""
        self.on_operation: Callable[[str, str], None] | None = None

    def beside(self, work: Callable[[], object]) -> Done:
        """At once: what happens in which order is the test's to say."""
        return Done(work)

    # Crashes and faults.

    def crash(self, rng: random.Random, directory_model: DirectoryModel = "subset") -> MemFileSystem:
        """The file system as a power cut now would leave it."""
        with self._lock:
            return MemFileSystem(self._disk.crash(rng, directory_model), capacity=self.capacity, record=self._record)

    def kill_process(self) -> None:
        """What SIGKILL does to the files of a daemon: nothing, but that its locks are released."""
        self.locked.clear()

    def crash_at(self, index: int, rng: random.Random, directory_model: DirectoryModel = "subset") -> MemFileSystem:
        """The same, as if the power had gone after the first ``index`` operations of this file system."""
        disk = self.crash_disk_at(index, rng, directory_model)
        return MemFileSystem(disk, capacity=self.capacity, record=self._record)

    def crash_disk_at(self, index: int, rng: random.Random, directory_model: DirectoryModel = "subset") -> Disk:
        """The bare disk of ``crash_at``; ``Disk.digest`` tells distinct states apart."""
        with self._lock:
            return self._recorded(index).crash(rng, directory_model)

    def kill_disk_at(self, index: int) -> Disk:
        """What the next process finds when this one is killed after the first ``index`` operations."""
        with self._lock:
            return self._recorded(index).kept()

    def killed_at(self, index: int) -> MemFileSystem:
        """What the next process goes on with when this one is killed after the first ``index`` operations.

        It sees all that was handed to the kernel; what was not synced by then a power cut may still take.
        """
        with self._lock:
            return MemFileSystem(self._recorded(index).handed_on(index), capacity=self.capacity, record=self._record)

    def _recorded(self, index: int) -> Disk:
        """The disk after the first ``index`` operations, with what is pending then."""
        if not self._record:
            raise ValueError("this file system was made with record=False")
        if not 0 <= index <= self.ops:
            raise ValueError(f"operation {index} of {self.ops}")
        if self._cursor_at < 0 or index < self._cursor_at:
            self._cursor, self._cursor_at = self._start.clone(), 0
        for step in self._steps[self._cursor_at : index]:
            step(self._cursor)
        self._cursor_at = index
        return self._cursor

    def state_digest(self) -> int:
        """A number that is equal for equal durable states."""
        with self._lock:
            return self._disk.digest()

    def fail_at(self, index: int, code: int, forever: bool = False) -> None:
        """Let operation number ``index`` fail with this errno; with ``forever``, every later one as well.

        A failing write has written its first half, a failing sync leaves its writes doubtful; the rest did nothing.
        """
        self._faults.append(Fault(code, at=index, forever=forever))

    def fail_on(
        self, kind: str, path: str = "*", code: int = errno.EIO, *, times: int = 1, forever: bool = False
    ) -> None:
        """Let the next ``times`` calls of a kind fail on paths that match a pattern.

        Kinds: create, open, write, resize, sync, read, map, populate, hold, pread, rename, unlink, mkdir, rmdir,
        sync_dir and drop_cache.
        """
        self._faults.append(Fault(code, kind=kind, path=path, times=times, forever=forever))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def leave_free(self, size: int) -> None:
        """Make the disk as small as it takes for just ``size`` bytes to be free."""
        with self._lock:
            self.capacity = self._used() + size

    def damage(self, path: str, offset: int, data: bytes) -> None:
        """Change bytes on the disk behind everybody's back; not an operation."""
        with self._lock:
            node = self._file(path)
            image = bytearray(self._disk.files[node].visible())
            image[offset : offset + len(data)] = data
            self._disk.files[node] = DiskFile(bytes(image))
            self._views[node] = bytes(image)

    # FileSystem.

    def create(self, path: str, size: int = 0, *, direct: bool = False) -> MemFile:
        with self._lock:
            index = self._admit("create", path)
            directory, name = self._parent(path)
            if name in self._directories[directory]:
                raise FileExistsError(errno.EEXIST, "exists", path)
            node = self._next
            self._next += 1
            self._views[node] = b""
            self._references[node] = 2
            self._done(index, lambda disk: disk.files.__setitem__(node, DiskFile()), (directory, name, node, True))
            file = MemFile(self, path, node, direct)
            try:
                file.allocate(size)
            except OSError:
                file.close()
                self.unlink(path)
                raise
            return file

    def open(self, path: str) -> MemFile:
        with self._lock:
            self._check_fault(None, "open", path)
            node = self._file(path)
            self._references[node] += 1
            return MemFile(self, path, node, False)

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            self._check_fault(None, "read", path)
            view = self._content(path)
            return bytes(view[offset:] if length is None else view[offset : offset + length])

    def reader(self, path: str, cache: Cache = Cache.USE) -> PathReader:
        return PathReader(self, path)

    def facts(self, path: str) -> dict[str, FileFacts]:
        return facts_in(self, path)

    def size(self, path: str) -> int:
        with self._lock:
            return len(self._content(path))

    def modified_ns(self, path: str) -> int:
        """There are no times here; the content's checksum changes with it as well, and survives what it survives."""
        with self._lock:
            return zlib.crc32(self._content(path))

    def exists(self, path: str) -> bool:
        with self._lock:
            return self._find(path) is not None

    def real_path(self, path: str) -> str:
        return path

    def is_dir(self, path: str) -> bool:
        with self._lock:
            return self._find(path) in self._directories

    def map(self, path: str) -> MemMapping:
        with self._lock:
            self._check_fault(None, "map", path)
            content = bytes(self._content(path))
            return MemMapping(content, lambda: self._check_fault(None, "populate", path))

    def hold(self, path: str) -> MemHeldFile:
        with self._lock:
            self._check_fault(None, "hold", path)
            content = bytes(self._content(path))
            return MemHeldFile(content, lambda: self._check_fault(None, "pread", path))

    def rename(self, source: str, target: str) -> None:
        with self._lock:
            index = self._admit("rename", target)
            from_directory, from_name = self._parent(source)
            to_directory, to_name = self._parent(target)
            node = self._existing(source)
            replaced = self._directories[to_directory].get(to_name)
            self._check_replaceable(node, replaced, target)
            self._done(index, None, (from_directory, from_name, node, False), (to_directory, to_name, node, True))
            if replaced is not None and replaced != node:
                self._forget(replaced)

    def unlink(self, path: str) -> None:
        with self._lock:
            index = self._admit("unlink", path)
            directory, name = self._parent(path)
            node = self._file(path)
            self._done(index, None, (directory, name, node, False))
            self.release_node(node)

    def mkdir(self, path: str) -> None:
        with self._lock:
            index = self._admit("mkdir", path)
            directory, name = self._parent(path)
            if name in self._directories[directory]:
                raise FileExistsError(errno.EEXIST, "exists", path)
            node = self._next
            self._next += 1
            self._directories[node] = {}
            self._done(index, lambda disk: disk.directories.__setitem__(node, {}), (directory, name, node, True))

    def rmdir(self, path: str) -> None:
        with self._lock:
            index = self._admit("rmdir", path)
            directory, name = self._parent(path)
            node = self._directory(path)
            if self._directories[node]:
                raise OSError(errno.ENOTEMPTY, "not empty", path)
            self._done(index, None, (directory, name, node, False))
            del self._directories[node]

    def listdir(self, path: str) -> list[str]:
        with self._lock:
            return sorted(self._directories[self._directory(path)])

    def sync_dir(self, path: str) -> None:
        with self._lock:
            before = self.ops
            index = self._admit("sync_dir", path)
            node = self._directory(path)
            self._done(index, lambda disk: disk.sync_dir(node, before))

    def drop_cache(self, path: str, offset: int, length: int) -> None:
        with self._lock:
            index = self._admit("drop_cache", path)
            node = self._file(path)
            end = offset + length if length else UNLIMITED_BYTES
            self._done(index, lambda disk: disk.files[node].drop(offset, end))
            self._views[node] = self._disk.files[node].visible()

    def free_bytes(self, path: str) -> int:
        with self._lock:
            self._existing(path)
            return UNLIMITED_BYTES if self.capacity is None else max(0, self.capacity - self._used())

    def same_disk(self, path: str, other: str) -> bool:
        with self._lock:
            self._existing(path)
            self._existing(other)
            return True

    def lock(self, path: str) -> MemLock:
        with self._lock:
            if path in self.locked:
                raise DataDirectoryLocked(f"{path} is held by process {os.getpid()}", path=path, pid=os.getpid())
            if not self.exists(path):
                self.create(path).close()
            self.locked.add(path)
            return MemLock(self, path)

    # What open files ask for.

    def write_node(self, node: int, path: str, offset: int, data: bytes) -> None:
        """Write through the cache; on a fault or a full disk a part is written before the error."""
        with self._lock:
            fault: OSError | None = None
            index = self.ops
            try:
                index = self._admit("write", path)
            except OSError as error:
                index, fault, data = self.ops - 1, error, data[: len(data) // 2]
            fitting = self._fitting(node, offset, len(data))
            if fitting < len(data):
                fault, data = OSError(errno.ENOSPC, "no space left", path), data[:fitting]
            self._done(index, lambda disk: disk.files[node].layers.append(Layer(index, offset, data)))
            self._overwrite(node, offset, data)
            if fault:
                raise fault

    def sync_node(self, node: int, path: str) -> None:
        """Make durable what was written before this call; a fault leaves it doubtful."""
        before = self.ops
        try:
            index = self._admit("sync", path)
        except OSError:
            with self._lock:
                self._done(self.ops - 1, lambda disk: disk.files[node].fail_sync(before))
            raise
        with self._lock:
            self._done(index, lambda disk: disk.files[node].sync(before))

    def resize_node(self, node: int, path: str, size: int, *, grow: bool) -> None:
        """Truncate, or allocate with ``grow``."""
        with self._lock:
            index = self._admit("resize", path)
            if self._fitting(node, 0, size) < size:
                raise OSError(errno.ENOSPC, "no space left", path)
            self._done(index, lambda disk: disk.files[node].layers.append(Layer(index, size, None, grow)))
            view = self._owned(node)
            if size > len(view):
                view.extend(bytes(size - len(view)))
            elif not grow:
                del view[size:]

    def size_of_node(self, node: int) -> int:
        with self._lock:
            self.looked_into.add(node)
            return len(self._views[node])

    def release_node(self, node: int) -> None:
        """One name or handle less; the last one frees the space."""
        with self._lock:
            self._references[node] -= 1
            if not self._references[node]:
                del self._views[node]

    # Bookkeeping.

    def _content(self, path: str) -> Content:
        node = self._file(path)
        self.looked_into.add(node)
        return self._views[node]

    def _admit(self, kind: str, path: str) -> int:
        """Count an operation, run the hook, raise the fault that is due; returns the operation's number."""
        if self.on_operation:
            self.on_operation(kind, path)
        with self._lock:
            index = self.ops
            self.ops += 1
            if self._record:
                self._steps.append(_nothing)
            self._check_fault(index, kind, path)
            return index

    def _check_fault(self, index: int | None, kind: str, path: str) -> None:
        for fault in self._faults:
            if fault.strikes(index, kind, path):
                raise OSError(fault.errno, f"injected: {os.strerror(fault.errno)}", path)

    def _done(self, index: int, step: Step | None, *edits: tuple[int, str, int, bool]) -> None:
        """Let operation ``index`` take effect: on the names as seen, on the disk, and in the recording."""

        def whole(disk: Disk) -> None:
            if step:
                step(disk)
            if edits:
                disk.changes.append(NameChange(index, edits, {edit[0] for edit in edits}))

        if edits:
            edit_names(self._directories, edits)
            if any(edit[2] in self._directories for edit in edits):
                self._entries.clear()
        whole(self._disk)
        if self._record:
            self._steps[index] = whole

    def _overwrite(self, node: int, offset: int, data: bytes) -> None:
        if not data:
            return
        view = self._owned(node)
        if offset > len(view):
            view.extend(bytes(offset - len(view)))
        view[offset : offset + len(data)] = data

    def _owned(self, node: int) -> bytearray:
        """The file's visible bytes, ours to change: never the ones that the disk or a crash state holds."""
        view = self._views[node]
        if isinstance(view, bytes):
            view = self._views[node] = bytearray(view)
        return view

    def _fitting(self, node: int, offset: int, length: int) -> int:
        if self.capacity is None:
            return length
        room = self.capacity - self._used() + len(self._views[node])
        return max(0, min(length, room - offset))

    def _used(self) -> int:
        return sum(map(len, self._views.values()))

    def _forget(self, node: int) -> None:
        if node in self._directories:
            del self._directories[node]
        else:
            self.release_node(node)

    def _check_replaceable(self, node: int, replaced: int | None, target: str) -> None:
        if replaced is None:
            return
        if replaced in self._directories:
            if node not in self._directories:
                raise IsADirectoryError(errno.EISDIR, "is a directory", target)
            if self._directories[replaced]:
                raise OSError(errno.ENOTEMPTY, "not empty", target)
        elif node in self._directories:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", target)

    def _find(self, path: str) -> int | None:
        directory, _, name = path.rpartition("/")
        if name in ("", "."):
            return self._walk(path)
        entries = self._entries.get(directory)
        if entries is None:
            node = self._walk(directory)
            entries = self._entries[directory] = {} if node is None else self._directories.get(node, {})
        return entries.get(name)

    def _walk(self, path: str) -> int | None:
        node: int | None = ROOT
        for part in path.split("/"):
            if part in ("", "."):
                continue
            node = self._directories.get(node, {}).get(part) if node is not None else None
        return node

    def _existing(self, path: str) -> int:
        node = self._find(path)
        if node is None:
            raise FileNotFoundError(errno.ENOENT, "not found", path)
        return node

    def _file(self, path: str) -> int:
        node = self._existing(path)
        if node in self._directories:
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        return node

    def _directory(self, path: str) -> int:
        node = self._existing(path)
        if node not in self._directories:
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", path)
        return node

    def _parent(self, path: str) -> tuple[int, str]:
        directory, _, name = path.rstrip("/").rpartition("/")
        if not name:
            raise OSError(errno.EINVAL, "no name", path)
        return self._directory(directory or "/"), name


def _nothing(disk: Disk) -> None:
    """A failed operation that changed nothing."""
