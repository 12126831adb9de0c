"""What a disk may hold after a power cut: the durable state, and the changes since that the kernel still holds.

Contents. A write reaches the disk in sectors of 512 bytes, in any order, until the file is synced. Of several writes to
one sector the disk holds what the first k of them left, since the kernel writes whole cached sectors. Sizes are
metadata and follow in order, so the size is one that the file had since its last sync, or lies within a growing write.

Names. Creating, renaming and removing is durable once each directory concerned is synced. Until then a power cut keeps
a prefix of the operations (a journalling file system) or any subset of them (what POSIX allows); both are modelled,
and that nothing is kept, of contents neither.

A failed sync leaves its writes doubtful: visible while cached, on the disk or not, and no later sync settles them.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

SECTOR = 512
ROOT = 1
DirectoryModel: TypeAlias = Literal["prefix", "subset", "nothing"]
Content: TypeAlias = bytes | bytearray
Directories: TypeAlias = dict[int, dict[str, int]]
"""The entries of each directory, by its node: names and their nodes."""
Edit: TypeAlias = tuple[int, str, int, bool]
"""A directory's node, a name, the name's node, and whether it is there afterwards."""


@dataclass(slots=True)
class Layer:
    """One unsynced change of a file: ``data`` written at ``offset``, or without data a new size.

    ``grow`` says that a size change is an allocation, which never shrinks. ``sure``: synced after an earlier failed
    sync. ``doubtful``: its sync failed.
    """

    serial: int
    offset: int
    data: bytes | None
    grow: bool = False
    sure: bool = False
    doubtful: bool = False

    def copy(self) -> Layer:
        return Layer(self.serial, self.offset, self.data, self.grow, self.sure, self.doubtful)

    def size_after(self, size: int) -> int:
        if self.data is not None:
            return max(size, self.offset + len(self.data))
        return max(size, self.offset) if self.grow else self.offset


@dataclass(slots=True)
class DiskFile:
    """A file's durable content and the layers above it, oldest first."""

    base: Content = b""
    layers: list[Layer] = field(default_factory=list)

    def sync(self, before: int) -> None:
        """Everything older than ``before`` is durable, except what an earlier failed sync left in doubt."""
        for layer in self.layers:
            layer.sure = layer.sure or (layer.serial < before and not layer.doubtful)
        settled = 0
        while settled < len(self.layers) and self.layers[settled].sure:
            settled += 1
        if settled:
            self.base = _applied(self.base, self.layers[:settled])
            del self.layers[:settled]

    def fail_sync(self, before: int) -> None:
        """Leave everything older than ``before`` in doubt for ever."""
        for layer in self.layers:
            layer.doubtful = layer.doubtful or (layer.serial < before and not layer.sure)

    def drop(self, start: int, end: int) -> None:
        """Forget the cached doubtful bytes of a range: they turn out not to be on the disk."""
        kept: list[Layer] = []
        for layer in self.layers:
            if layer.doubtful and layer.data is not None:
                kept.extend(_outside(layer, layer.data, start, end))
            else:
                kept.append(layer)
        self.layers = kept

    def visible(self) -> Content:
        """What a running system reads."""
        return _applied(self.frozen(), self.layers) if self.layers else self.frozen()

    def frozen(self) -> bytes:
        """The durable content as a value that crash states share."""
        if not isinstance(self.base, bytes):
            self.base = bytes(self.base)
        return self.base

    def crashed(self, rng: random.Random, *, bare: bool = False) -> bytes:
        """What is on the disk after a power cut now. ``bare``: no more than has to be."""
        if not self.layers:
            return self.frozen()
        return bytes(_CrashImage(self, rng, bare=bare).draw())


@dataclass(slots=True)
class NameChange:
    """One change of names, made at operation ``serial``; directories in ``waiting`` have not been synced since."""

    serial: int
    edits: tuple[Edit, ...]
    waiting: set[int]


def edit_names(directories: Directories, edits: Iterable[Edit]) -> None:
    """Change names in place; a removal removes just that node."""
    for directory, name, node, present in edits:
        entries = directories.setdefault(directory, {})
        if present:
            entries[name] = node
        elif entries.get(name) == node:
            del entries[name]


class Disk:
    """The disk below a ``MemFileSystem``: nodes by number, the durable names, and what is not durable yet."""

    def __init__(self) -> None:
        self.files: dict[int, DiskFile] = {}
        self.directories: Directories = {ROOT: {}}
        self.changes: list[NameChange] = []

    def clone(self) -> Disk:
        """An independent copy, pending changes included, sharing contents."""
        copy = Disk()
        copy.files = {
            number: DiskFile(file.frozen(), [layer.copy() for layer in file.layers])
            for number, file in self.files.items()
        }
        copy.directories = {number: dict(entries) for number, entries in self.directories.items()}
        copy.changes = [NameChange(change.serial, change.edits, {*change.waiting}) for change in self.changes]
        return copy

    def names(self) -> Directories:
        """What a running system sees of each directory: what is pending included."""
        directories = {number: dict(entries) for number, entries in self.directories.items()}
        for change in self.changes:
            edit_names(directories, change.edits)
        return directories

    def handed_on(self, before: int) -> Disk:
        """A copy for the next process to go on with, after a kill: what is pending is older than whatever it does."""
        copy = self.clone()
        for change in copy.changes:
            change.serial -= before
        for file in copy.files.values():
            for layer in file.layers:
                layer.serial -= before
        return copy

    def sync_dir(self, directory: int, before: int) -> None:
        """Names changed in ``directory`` before ``before`` are durable there."""
        for change in self.changes:
            if change.waiting and change.serial < before:
                change.waiting.discard(directory)
        settled = 0
        while settled < len(self.changes) and not self.changes[settled].waiting:
            edit_names(self.directories, self.changes[settled].edits)
            settled += 1
        del self.changes[:settled]

    def crash(self, rng: random.Random, model: DirectoryModel) -> Disk:
        """The disk that a power cut now leaves: nothing of it is pending."""
        directories = {number: dict(entries) for number, entries in self.directories.items()}
        for change in self._surviving(rng, model):
            edit_names(directories, change.edits)
        after = Disk()
        bare, mine, kept = model == "nothing", self.files, after.files
        pending = [ROOT]
        while pending:
            number = pending.pop()
            entries = after.directories[number] = directories.get(number, {})
            for node in entries.values():
                file = mine.get(node)
                if file is None:
                    pending.append(node)
                elif node not in kept:
                    kept[node] = DiskFile(file.crashed(rng, bare=bare) if file.layers else file.frozen())
        return after

    def kept(self) -> Disk:
        """What a killed process leaves to the next one: everything that it had handed to the kernel, for good."""
        after = Disk()
        after.directories = self.names()
        after.files = {number: DiskFile(bytes(file.visible())) for number, file in self.files.items()}
        return after

    def digest(self) -> int:
        """A number that is equal for equal durable states; of a crashed disk, that is the whole state.

        Only in this process: it is made of Python's hashes, which bytes remember. States share most contents.
        """
        return self._digest_below(ROOT)

    def _digest_below(self, directory: int) -> int:
        entries = self.directories.get(directory, {})
        hashes = [
            (name, hash(self.files[node].frozen()) if node in self.files else self._digest_below(node))
            for name, node in entries.items()
        ]
        return hash(frozenset(hashes))

    def names_digest(self, directory: int = ROOT) -> int:
        """A number that is equal, in this process, for equal names of the same nodes, whatever the files hold."""
        entries = self.directories.get(directory, {})
        hashes = [
            (name, node, None if node in self.files else self.names_digest(node)) for name, node in entries.items()
        ]
        return hash(frozenset(hashes))

    def contents(self, nodes: Iterable[int]) -> tuple[int, ...]:
        """For each file a number that is equal, in this process, for equal durable contents."""
        return tuple([hash(self.files[node].frozen()) for node in nodes])

    def _surviving(self, rng: random.Random, model: DirectoryModel) -> list[NameChange]:
        unsettled = sum(1 for change in self.changes if change.waiting)
        kept = int(rng.random() * (unsettled + 1))
        bits = rng.getrandbits(unsettled) if model == "subset" and unsettled else (1 << kept) - 1
        if model == "nothing":
            bits = 0
        survivors = []
        for change in self.changes:
            if not change.waiting:
                survivors.append(change)
                continue
            if bits & 1:
                survivors.append(change)
            bits >>= 1
        return survivors


class _CrashImage:
    """One draw of a file's content after a power cut. ``bare``: nothing is kept of what was not synced."""

    def __init__(self, file: DiskFile, rng: random.Random, *, bare: bool) -> None:
        self.file = file
        self.rng = rng
        self.bare = bare
        self.image = bytearray(file.base)
        self.lost: set[int] = set()
        luck = rng.random()
        self.keep_all = luck < 0.15 and not bare
        self.keep_none = 0.15 <= luck < 0.3 or bare

    def draw(self) -> bytearray:
        layers = self.file.layers
        settled = max((index + 1 for index, layer in enumerate(layers) if layer.sure), default=0)
        cut = settled if self.bare else settled + int(self.rng.random() * (len(layers) - settled + 1))
        size = len(self.image)
        for index, layer in enumerate(layers):
            if index < cut:
                size = layer.size_after(size)
            elif index == cut and layer.data is not None and not self.bare:
                size += self._growth(layer.size_after(size) - size)
            if layer.data is not None:
                self._write(layer, layer.data)
            elif index < cut:
                del self.image[size:]
        _resize(self.image, size)
        return self.image

    def _write(self, layer: Layer, data: bytes) -> None:
        if not data:
            return
        first, last = layer.offset // SECTOR, (layer.offset + len(data) - 1) // SECTOR
        if layer.sure:
            self.lost.difference_update(range(first, last + 1))
            _write(self.image, layer.offset, data)
            return
        bits = self._sector_bits(last - first + 1)
        for sector in range(first, last + 1):
            if bits & 1 and sector not in self.lost:
                start = max(layer.offset, sector * SECTOR)
                end = min(layer.offset + len(data), (sector + 1) * SECTOR)
                _write(self.image, start, data[start - layer.offset : end - layer.offset])
            else:
                self.lost.add(sector)
            bits >>= 1

    def _growth(self, most: int) -> int:
        luck = self.rng.random()
        return int((2 * luck - 1) * (most + 1)) if luck > 0.5 else 0

    def _sector_bits(self, count: int) -> int:
        if self.keep_all:
            return (1 << count) - 1
        return 0 if self.keep_none else self.rng.getrandbits(count)


def _applied(base: Content, layers: Iterable[Layer]) -> bytearray:
    """``base`` with layers applied: in place where it is mutable."""
    image = base if isinstance(base, bytearray) else bytearray(base)
    for layer in layers:
        if layer.data is not None:
            _write(image, layer.offset, layer.data)
        else:
            _resize(image, layer.size_after(len(image)))
    return image


def _write(image: bytearray, offset: int, data: bytes) -> None:
    if offset > len(image):
        _resize(image, offset)
    image[offset : offset + len(data)] = data


def _resize(image: bytearray, size: int) -> None:
    if size < len(image):
        del image[size:]
    else:
        image.extend(bytes(size - len(image)))


def _outside(layer: Layer, data: bytes, start: int, end: int) -> Iterable[Layer]:
    """The parts of a doubtful write that lie outside [start, end)."""
    before = max(0, min(len(data), start - layer.offset))
    after = max(0, min(len(data), end - layer.offset))
    if before:
        yield Layer(layer.serial, layer.offset, data[:before], doubtful=True)
    if after < len(data):
        yield Layer(layer.serial, layer.offset + after, data[after:], doubtful=True)
