"""Archives written and read back in one pass, one piece at a time; damaged ones are in test_snapshot_hostile."""

from __future__ import annotations

import hashlib
import io
import tarfile
import uuid

import numpy as np
import pytest

from holdfastd.errors import Corruption
from holdfastd.format.snapshot import (
    MANIFEST,
    README,
    SnapshotCollection,
    SnapshotManifest,
    SnapshotPart,
    archive_bytes,
    data_members,
    encode_snapshot,
    readme_text,
)
from holdfastd.format.tar import encode_header
from holdfastd.model import CollectionSpec, Digest
from holdfastd.storage.archive_reader import ArchiveReader
from holdfastd.storage.archive_writer import ArchiveWriter
from holdfastd.storage.beside import Done
from holdfastd.storage.bulk import BulkWriter
from holdfastd.storage.read_ahead import PIECE_BYTES
from tests.support.memfs import MemFileSystem

PATH = "/a.snap"
ROWS = 300_000


def manifest(rows: int = ROWS) -> SnapshotManifest:
    spec = CollectionSpec(uuid.UUID(int=5), "c", 2)
    sizes = {"vectors.npy": rows * 8 + 64, "norms.npy": rows * 4 + 1, "rows.npy": rows * 64 + 2, "ids.npy": rows + 3}
    part = SnapshotPart(rows, sizes | {"payloads.npy": 4})
    collection = SnapshotCollection(spec, rows, Digest(), 0, (part,))
    return SnapshotManifest("snap-2026-01-01-000000", uuid.UUID(int=1), 1, 7, 0, 0, True, False, (collection,), {})


def contents(value: SnapshotManifest) -> dict[str, bytes]:
    rng = np.random.default_rng(3)
    return {member.name: rng.bytes(member.size) for member in data_members(value)}


def write(fs: MemFileSystem, value: SnapshotManifest, data: dict[str, bytes], *, compress: bool = False) -> str:
    encoded, readme = encode_snapshot(value), readme_text(value)
    with BulkWriter(fs, PATH, 0) as out:
        archive = ArchiveWriter(out, mtime=5, submit=Done if compress else None)
        archive.add(MANIFEST, len(encoded), [encoded])
        archive.add(README, len(readme), [readme])
        for name, content in data.items():
            halves = [content[: len(content) // 2], np.frombuffer(content[len(content) // 2 :], np.uint8)]
            archive.add(name, len(content), halves)
        sums = archive.finish()
        assert archive.size == archive_bytes(value, len(encoded), len(readme))
        out.close()
    return sums


@pytest.mark.parametrize("compress", [False, True])
def test_what_is_written_is_what_tarfile_and_we_read(compress: bool) -> None:
    fs = MemFileSystem(record=False)
    value = manifest()
    data = contents(value)
    sums = write(fs, value, data, compress=compress)
    with tarfile.open(fileobj=io.BytesIO(fs.read(PATH))) as tar:
        theirs = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
    listed = theirs.pop("SHA256SUMS")
    assert listed.decode() == "".join(f"{hashlib.sha256(d).hexdigest()}  {name}\n" for name, d in theirs.items())
    assert hashlib.sha256(listed).hexdigest() == sums
    archive = ArchiveReader(fs, PATH)
    assert (archive.manifest, archive.compressed) == (value, compress)
    ours = {}
    for member in archive.members():
        pieces = list(archive.pieces())
        assert max(map(len, pieces)) <= PIECE_BYTES
        ours[member.name] = b"".join(pieces)
    assert ours == data == {name: theirs[name] for name in data}
    assert archive.sums_sha256 == sums
    assert archive.position == archive.size == fs.size(PATH)


@pytest.mark.parametrize("compress", [False, True])
def test_opening_reads_the_manifest_and_little_more(compress: bool) -> None:
    fs = MemFileSystem(record=False)
    write(fs, manifest(), contents(manifest()), compress=compress)
    archive = ArchiveReader(fs, PATH)
    assert archive.position <= 1 << 20 < archive.size


def test_members_that_nobody_reads_are_checked_all_the_same() -> None:
    fs = MemFileSystem(record=False)
    value = manifest(10)
    write(fs, value, contents(value))
    assert [member.file for member in ArchiveReader(fs, PATH).members()][-1] == "payloads.npy"
    data = fs.read(PATH)
    at = data.index(b"\0", data.index(b"/0/norms.npy\0")) // 512 * 512 + 512
    fs.damage(PATH, at, bytes([data[at] ^ 1]))
    with pytest.raises(Corruption, match=r"0/norms.npy: the content does not match its SHA-256"):
        list(ArchiveReader(fs, PATH).members())


def test_no_more_is_given_than_a_member_has() -> None:
    fs = MemFileSystem(record=False)
    value = manifest(10)
    write(fs, value, contents(value))
    archive = ArchiveReader(fs, PATH)
    next(archive.members())
    with pytest.raises(Corruption, match="145 bytes are wanted where 144 are left"):
        archive.take(145)


def test_a_size_in_an_extended_header_is_read() -> None:
    """As other writers may put it for a small member, and we for one of more than eight GiB."""
    fs = MemFileSystem(record=False)
    value = manifest(10)
    write(fs, value, contents(value))
    data = fs.read(PATH)
    name = next(data_members(value)).name
    plain = encode_header(name, 144, 5)
    large = encode_header(name, 1 << 40, 5)
    record = b"12 size=144\n"
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, len(record)
    extended = info.tobuf(tarfile.USTAR_FORMAT) + record.ljust(512, b"\0") + large[1024:]
    fs.unlink(PATH)
    file = fs.create(PATH)
    file.pwrite([data.replace(plain, extended)], 0)
    assert len(list(ArchiveReader(fs, PATH).members())) == 5


@pytest.mark.parametrize("content", [b"short", b"too long for it"])
def test_content_of_another_size_than_announced_is_a_mistake(content: bytes) -> None:
    fs = MemFileSystem()
    with pytest.raises(ValueError, match="a member of 10"), BulkWriter(fs, PATH, 0) as out:
        ArchiveWriter(out, mtime=0).add("x", 10, [content])
    assert not fs.exists(PATH)
