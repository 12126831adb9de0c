"""Archives made to hurt, by every way into a store: restored, uploaded, found in a directory and verified.

A look into a directory reads manifests alone: what is wrong behind one is found by the first who reads on, and from
then on the snapshot is listed as damaged. Rows whose sums hold are nobody's business but a restore's and a
verification's (``test_snapshot_hostile``, ``test_snapshot_mutilations``): an upload proves sums.
"""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.errors import Corruption, HoldfastError, InvalidArgument, UnsupportedFormat
from holdfastd.format.snapshot import SnapshotPart
from holdfastd.storage.names import Layout
from holdfastd.storage.uploads import UploadList
from tests.engine.test_snapshot_hostile import CONTAINER, GZIP, Attack, link, pax, promises, with_member
from tests.support.engines import ROOT
from tests.support.oracle import observe
from tests.support.snapshots import Archive, SnapshotKit, member, sound_archives
from tests.support.transfers import bring

MEMBER = "ids.npy"


@pytest.fixture(scope="module")
def good() -> dict[bool, bytes]:
    return sound_archives()


# More of them ---------------------------------------------------------------------------------------------------------


def field(at: int, value: bytes) -> Attack:
    """Other bytes in the tar header of a member, with a checksum that holds."""

    def attack(archive: Archive) -> bytes:
        archive.seal()
        where = archive.pieces.index(archive.find(MEMBER))
        before, piece, behind = archive.pieces[:where], archive.pieces[where], archive.pieces[where + 1 :]
        head = bytearray(member(piece))
        head[at : at + len(value)] = value
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head[:512])
        return b"".join(map(member, before)) + bytes(head) + b"".join(map(member, behind)) + bytes(1024)

    return attack


def collection(change: Callable[[Any], dict[str, Any]]) -> Attack:
    """The manifest says something else of its collection, intact."""

    def attack(archive: Archive) -> bytes:
        archive.set_collection(lambda each: replace(each, **change(each)))
        return archive.tar()

    return attack


def manifest(**changes: Any) -> Attack:
    def attack(archive: Archive) -> bytes:
        archive.set_manifest(lambda each: replace(each, **changes))
        return archive.tar()

    return attack


def promised(rows: int) -> Attack:
    return lambda archive: promises(archive, rows).tar()


MEMBERS: list[tuple[str, Attack, str]] = [
    ("sparse file", link(tarfile.GNUTYPE_SPARSE), "is a sparse file; a snapshot holds plain files only"),
    ("contiguous file", link(tarfile.CONTTYPE), "is a contiguous file"),
    ("GNU long link", link(tarfile.GNUTYPE_LONGLINK), "is a GNU long link name"),
    ("another volume", link(b"M"), "is of unknown type b'M'"),
    ("volume label", link(b"V"), "is of unknown type b'V'"),
    ("no UTF-8", with_member(MEMBER, name="collections/\udcff\udcfe"), r"'collections/\\xff\\xfe' is no member"),
    ("NUL in a name", field(0, b"collections/x\0../../etc".ljust(100, b"\0")), "leads out of the archive"),
    ("name prefix", field(345, b"../.."), "has a name prefix, which no snapshot has"),
    ("GNU magic", field(257, b"ustar  \0"), "not a POSIX ustar header"),
    ("size in base 256", field(124, b"\x80" + bytes(3) + (1 << 62).to_bytes(8, "big")), "size is no octal number"),
    ("negative size", field(124, b"\xff" * 12), "size is no octal number"),
    ("no digits", field(124, b"9999999999 \0"), "size is no octal number"),
    ("8 GiB", field(124, b"77777777777\0"), "has 8589934591 bytes where 134 are expected"),
    ("extended by 4 GiB", pax(b"10 size=1\n", size=1 << 32), "an extended header of 4294967296 bytes"),
    ("extended below zero", pax(b"11 size=-1\n"), "an extended header that says anything but one size"),
    ("extended by two", pax(b"10 size=1\n10 size=2\n"), "an extended header that says anything but one size"),
    ("extended too long", pax(b"99 size=134\n"), "an extended header of the wrong length"),
    ("extended sparse", pax(b"22 GNU.sparse.major=1\n"), "an extended header that says anything but one size"),
    ("extended by rubbish", pax(b"\xff\xfe size=1\n"), "an extended header of the wrong length"),
]
PARTS = "a part of c has no rows, or other members than it should"
MANIFESTS: list[tuple[str, Attack, str]] = [
    ("10^18 rows", promised(10**18), PARTS),
    ("2^60 rows", promised(1 << 60), PARTS),
    ("rows below zero", collection(lambda each: {"count": -1}), "c counts -1 vectors, its parts hold 3"),
    ("a dimension too many", collection(lambda c: {"spec": replace(c.spec, dimensions=10**12)}), "out of range"),
    ("no dimension", collection(lambda c: {"spec": replace(c.spec, dimensions=0)}), "out of range"),
    ("name that climbs", collection(lambda c: {"spec": replace(c.spec, name="../../etc")}), "is no collection name"),
    ("1,000 parts", collection(lambda c: {"parts": c.parts * 1000}), "c counts 3 vectors, its parts hold 3000"),
    ("part that climbs", collection(lambda c: {"parts": (SnapshotPart(3, {**c.parts[0].sizes, "../x": 5}),)}), PARTS),
    ("id that climbs", manifest(id="../../etc/x"), "'../../etc/x' is no snapshot id"),
    ("10^30 operations", manifest(sequence=10**30), "sequence or timeline out of range"),
    ("newer format", manifest(format_version=9, min_reader=9), "the snapshot needs a reader of format version 9"),
]
UNREADABLE = {
    *("empty", "text", "zeros", "another tar", "cut in the manifest", "missing manifest", "huge manifest"),
    *("flipped manifest", *(row[0] for row in MANIFESTS)),
}
"""What a look at the manifest alone finds."""


# By every way ---------------------------------------------------------------------------------------------------------


def another() -> SnapshotKit:
    """A store with a collection of its own."""
    kit = SnapshotKit(seed=3)
    kit.create("mine")
    kit.upsert(["m"], 1, name="mine")
    return kit


def refused(call: Callable[[], object], message: str) -> None:
    kinds = (Corruption, UnsupportedFormat)
    with pytest.raises(kinds, match=re.escape(message)):
        call()


def not_uploaded(kit: SnapshotKit, filename: str, data: bytes, message: str) -> None:
    """Refused at the end of the upload, and nothing of it is kept: not a byte, and no note to go on with."""
    if data:
        refused(lambda: bring(kit, filename, data, "/up"), message)
        assert kit.fs.listdir("/up") == []
    else:
        with pytest.raises(InvalidArgument, match="total_bytes is 0"):
            bring(kit, filename, data, "/up")
    assert UploadList.load(kit.fs, Layout(ROOT)).uploads == ()


def not_adopted(kit: SnapshotKit, path: str, message: str, *, unreadable: bool) -> None:
    """Not taken for a snapshot, and that is said; or listed, and damaged as soon as somebody has read it."""
    listing = kit.engine.snapshots.listing("/dir")
    if unreadable:
        (warning,) = listing.warnings
        assert message in warning
        assert path in warning
        assert kit.ids() == []
        refused(lambda: kit.verify(path, level=3), message)
        return
    assert (listing.warnings, [info.path for info in listing.snapshots]) == ([], [path])
    assert not kit.verify(kit.ids()[0], level=3)["valid"]
    assert [info.state for info in kit.engine.snapshots.list()] == ["damaged"]


def by_every_way(archive: bytes, data: bytes, message: str, *, unreadable: bool) -> None:
    kit = another()
    before, suffix = observe(kit.engine), "gz" if data[:2] == b"\x1f\x8b" else "snap"
    filename = f"{Archive.of(archive).manifest.id}.{suffix}"
    not_uploaded(kit, filename, data, message)
    path = kit.put(f"/dir/{filename}", data)
    refused(lambda: kit.restore(path), message)
    not_adopted(kit, path, message, unreadable=unreadable)
    assert observe(kit.engine) == before
    assert sorted(kit.fs.listdir("/dir")) == [filename]


ROWS = [*CONTAINER, *MEMBERS, *MANIFESTS]


@pytest.mark.parametrize(("name", "attack", "message"), ROWS, ids=[row[0] for row in ROWS])
def test_a_hostile_archive_gets_in_by_no_way(good: dict[bool, bytes], name: str, attack: Attack, message: str) -> None:
    data = attack(Archive.of(good[False]))
    by_every_way(good[False], data, message, unreadable=name in UNREADABLE)


@pytest.mark.parametrize(("name", "attack", "message"), GZIP, ids=[row[0] for row in GZIP])
def test_a_hostile_gzip_gets_in_by_no_way(
    good: dict[bool, bytes], name: str, attack: Callable[[bytes], bytes], message: str
) -> None:
    by_every_way(good[True], attack(good[True]), message, unreadable=name in ("header only", "bomb"))


@pytest.mark.parametrize("compress", [False, True])
def test_an_archive_that_is_cut_at_any_block_is_refused(good: dict[bool, bytes], compress: bool) -> None:
    kit, data = another(), good[compress]
    before = observe(kit.engine)
    filename = f"{Archive.of(good[False]).manifest.id}.{'gz' if compress else 'snap'}"
    for end in range(64 if compress else 512, len(data), 64 if compress else 512):
        path = kit.put("/evil.snap", data[:end])
        for call in (lambda: kit.restore(path), lambda: bring(kit, filename, data[:end], "/up")):  # noqa: B023
            refused(call, "cut short")
        assert kit.fs.listdir("/up") == []
    assert observe(kit.engine) == before


def test_a_compressed_manifest_of_a_newer_format_is_not_called_damaged(good: dict[bool, bytes]) -> None:
    data = gzip.compress(manifest(format_version=9, min_reader=9)(Archive.of(good[False])), 1, mtime=0)
    kit = another()
    path = kit.put("/evil.gz", data)
    for call in (lambda: kit.restore(path), lambda: kit.verify(path)):
        with pytest.raises(HoldfastError) as caught:
            call()
        assert isinstance(caught.value, UnsupportedFormat)
