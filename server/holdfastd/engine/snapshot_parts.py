"""What a verification wants of an archive's members besides their checksums: the rows' digest, and rows that decode.

A part is decoded once all of its members have been read. Those of a plain archive are read again where they lie; those
of a compressed one are kept beside, for as long as their part takes, in the data directory: under an id that nothing
names, so that what a crash leaves there goes with the next start.
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable
from functools import partial

import numpy as np

from ..errors import HoldfastError
from ..format.hashing import digest_sums
from ..format.segment import ROW_DTYPE
from ..format.snapshot import PAYLOADS, REMOVED, ROWS, TOMBSTONE_IDS, Member, SnapshotCollection, data_members
from ..format.verify_receipt import CHECKSUMS
from ..format.verify_receipt import ROWS as ROW_LEVEL
from ..model import Digest, Sequence64
from ..storage.archive_bytes import forget
from ..storage.archive_reader import ArchiveReader
from ..storage.archive_survey import Finding, Placed
from ..storage.files import Buffer, File, make_dirs, remove_tree
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_decode import Column, PartDecoder, Shape, decode_removed


class RowsDigest:
    """The sum of the hashes in a ``rows.npy`` that comes in pieces. ``header``: bytes in front of the rows."""

    def __init__(self, header: int) -> None:
        self._header = header
        self._rest = b""
        self.digest = Digest()

    def feed(self, data: Buffer) -> None:
        """The next piece."""
        skipped = min(self._header, len(data))
        self._header -= skipped
        joined = self._rest + data[skipped:]
        whole = len(joined) - len(joined) % ROW_DTYPE.itemsize
        facts, self._rest = np.frombuffer(joined[:whole], ROW_DTYPE), joined[whole:]
        self.digest = self.digest.plus(*digest_sums(np.column_stack((facts["hash_high"], facts["hash_low"]))))


class Parts:
    """The ``Reader`` of one archive's survey. ``level``: CHECKSUMS or above; ``found``, ``advance`` as in a survey.

    Use it in a ``with``: what it keeps beside is gone behind it.
    """

    def __init__(
        self,
        context: SnapshotContext,
        archive: ArchiveReader,
        level: int,
        found: Callable[[Finding], None],
        advance: Callable[[int, int], None],
    ) -> None:
        self._context = context
        self._archive = archive
        self._decodes = level >= ROW_LEVEL
        self._found = found
        self._advance = advance
        self._digests: dict[int, Digest] = {}
        self._rows = dict.fromkeys(range(len(archive.manifest.collections)), 0)
        self._summing = RowsDigest(0)
        # Of the part that is being read.
        self._part = (-1, 0)
        self._members: dict[str, Placed] = {}
        self._ended: set[str] = set()
        self._beside = context.layout.collection_dir(context.randomness.uuid4())
        self._file: File | None = None
        self._written = 0

    def __enter__(self) -> Parts:
        if self._keeps_beside:
            self._check_room()
            self._disk(lambda: make_dirs(self._context.fs, self._beside))
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._keeps_beside:
            # What cannot be removed is garbage to the next start.
            with contextlib.suppress(OSError):
                remove_tree(self._context.fs, self._beside)

    @property
    def _keeps_beside(self) -> bool:
        return self._decodes and self._archive.compressed

    def _check_room(self) -> None:
        sizes: dict[tuple[int, int], int] = {}
        for member in data_members(self._archive.manifest):
            key = (member.collection, member.part)
            sizes[key] = sizes.get(key, 0) + member.size
        self._context.check_space(
            self._context.layout.collections,
            max(sizes.values(), default=0),
            hint="the rows of a compressed snapshot are decompressed there, part by part: free space, or verify with "
            "--level 2",
        )

    # As the survey reads --------------------------------------------------------------------------------------------

    def wants(self, member: Member) -> bool:
        """See ``Reader``."""
        return self._decodes or member.file in (ROWS, PAYLOADS, TOMBSTONE_IDS)

    def piece(self, placed: Placed, data: Buffer) -> None:
        """See ``Reader``."""
        member = placed.member
        assert member is not None, "only data members are told of"
        if (member.collection, member.part) != self._part:
            self._begin(member.collection, member.part)
        if placed.name not in self._members:
            self._members[placed.name] = placed
            if member.file == ROWS:
                self._summing = RowsDigest(placed.size - self._rows_of(*self._part) * ROW_DTYPE.itemsize)
            if self._keeps_beside:
                self._create(member.file)
        if member.file == ROWS:
            self._summing.feed(data)
        if self._file is not None:
            self._write(data)

    def end(self, placed: Placed) -> None:
        """See ``Reader``."""
        member = placed.member
        assert member is not None, "only data members are told of"
        if self._file is not None:
            self._file.close()
            self._file = None
        self._ended.add(placed.name)
        rows = self._rows_of(member.collection, member.part)
        if member.file == ROWS:
            known = self._digests.get(member.collection, Digest())
            self._digests[member.collection] = known.plus(self._summing.digest.high, self._summing.digest.low)
            self._rows[member.collection] += rows
        if member.file in (PAYLOADS, TOMBSTONE_IDS):
            if self._decodes and self._is_complete():
                self._decode(member.collection, member.part)
            elif rows:
                self._advance(0, rows)

    def compare_digests(self) -> None:
        """Hold the sums against the manifest, of collections that were read whole."""
        for number, collection in enumerate(self._archive.manifest.collections):
            digest = self._digests.get(number, Digest())
            if self._rows[number] == collection.rows and digest != collection.rows_digest:
                what = f"the rows of {collection.spec.name} have digest {digest.hex()}, the manifest says "
                self._found(Finding(CHECKSUMS, self._archive.path, what + collection.rows_digest.hex()))

    def _rows_of(self, collection: int, part: int) -> int:
        return 0 if part == REMOVED else self._archive.manifest.collections[collection].parts[part].rows

    # Decoding -------------------------------------------------------------------------------------------------------

    def _begin(self, collection: int, part: int) -> None:
        self._part, self._members, self._ended = (collection, part), {}, set()

    def _is_complete(self) -> bool:
        """Whether all members of the part were read whole: where one was not, that has been told."""
        wanted = [m.name for m in data_members(self._archive.manifest) if (m.collection, m.part) == self._part]
        return self._ended.issuperset(wanted)

    def _decode(self, number: int, part: int) -> None:
        manifest = self._archive.manifest
        collection = manifest.collections[number]
        between = (_since(collection, self._archive), manifest.sequence)
        prefix = posixpath.dirname(next(iter(self._members)))

        def tell(file: str, message: str) -> None:
            self._found(Finding(ROW_LEVEL, f"{self._archive.path}:{prefix}/{file}", message))

        columns = {}
        for name, placed in self._members.items():
            file = posixpath.basename(name)
            try:
                columns[file] = Column(self._reading(file, placed), placed.size)
            except ValueError as error:
                tell(file, str(error))
        if len(columns) < len(self._members):
            return
        if part == REMOVED:
            decode_removed(columns, collection.deleted, between, tell)
        else:
            shape = Shape(collection.parts[part].rows, collection.spec.dimensions, manifest.planes, between)
            PartDecoder(columns, shape, tell, lambda rows: self._advance(0, rows)).run()
        self._let_go()

    def _reading(self, file: str, placed: Placed) -> Callable[[int, int], bytes]:
        fs = self._context.fs
        if self._keeps_beside:
            path = posixpath.join(self._beside, file)
            return lambda offset, count: fs.read(path, offset, count)
        return partial(self._read_again, placed.offset)

    def _read_again(self, start: int, offset: int, count: int) -> bytes:
        return self._archive.source.read(start + offset, count)

    def _let_go(self) -> None:
        for name, placed in self._members.items():
            if self._keeps_beside:
                self._disk(partial(self._context.fs.unlink, posixpath.join(self._beside, posixpath.basename(name))))
            else:
                forget(self._context.fs, self._archive.path, placed.offset, placed.size)

    # Beside ---------------------------------------------------------------------------------------------------------

    def _create(self, file: str) -> None:
        path = posixpath.join(self._beside, file)

        def create() -> None:
            if self._context.fs.exists(path):
                self._context.fs.unlink(path)
            self._file, self._written = self._context.fs.create(path), 0

        self._disk(create)

    def _write(self, data: Buffer) -> None:
        file = self._file
        assert file is not None, "created with its first piece"
        self._disk(lambda: file.pwrite([data], self._written))
        self._written += len(data)

    def _disk(self, work: Callable[[], object]) -> None:
        """What the disk of the scratch refuses says nothing of the archive."""
        try:
            work()
        except HoldfastError:
            raise
        except OSError as error:
            raise disk_error(error, "the rows cannot be decoded", self._beside) from error


def _since(collection: SnapshotCollection, archive: ArchiveReader) -> Sequence64:
    """Behind which sequence everything was written that the archive brings of a collection."""
    base = archive.manifest.base
    return 0 if collection.whole or base is None else base.sequence
