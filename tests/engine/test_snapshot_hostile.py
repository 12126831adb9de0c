"""Archives made to hurt: each is refused in its own words, and the store is as it was.

The attacker knows the format: unless the point is the checksum itself, every checksum in these archives holds.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from holdfastd.errors import Corruption, HoldfastError, ResourceExhausted, UnsupportedFormat
from holdfastd.format.norms import row_norms
from holdfastd.format.npy import npy_header
from holdfastd.format.segment import ROW_DTYPE
from holdfastd.format.snapshot import MANIFEST, README, SUMS, SnapshotCollection, SnapshotPart
from holdfastd.format.tar import encode_header
from tests.support.oracle import observe
from tests.support.snapshots import COLLECTIONS_DIR, Archive, Piece, SnapshotKit, member, sound_archives

Attack = Callable[[Archive], bytes]


@pytest.fixture(scope="module")
def good() -> dict[bool, bytes]:
    return sound_archives()


def attacked(data: bytes, error: type[HoldfastError], message: str, *, verify: bool = False) -> None:
    """Restore ``data``: it must be refused with ``message``, twice the same, and leave nothing."""
    kit = SnapshotKit(seed=3)
    kit.create("mine")
    kit.upsert(["m"], 1, name="mine")
    before, directories = observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR)
    kit.put("/evil.snap", data)
    with pytest.raises(error, match=re.escape(message)):
        kit.restore("/evil.snap", verify=verify)
    assert observe(kit.engine) == before
    assert kit.fs.listdir(COLLECTIONS_DIR) == directories
    assert sorted(kit.fs.listdir("/")) == ["data", "evil.snap"]
    kit.reopen()
    assert observe(kit.engine) == before


def test_the_sound_archives_are_restored(good: dict[bool, bytes]) -> None:
    for compress, data in good.items():
        kit = SnapshotKit(seed=3)
        kit.restore(kit.put("/good.snap", data), verify=compress)
        assert kit.values("c") == {"a": 1.0, "bb": 2.0, "ccc": 3.0}
        assert kit.engine.collections.aliases() == [("alias", "c")]
        again = SnapshotKit(seed=3)
        again.restore(again.put("/good.snap", Archive.of(data).tar()))
        assert observe(again.engine) == observe(kit.engine)


# The container --------------------------------------------------------------------------------------------------------


def with_member(ending: str, **changes: object) -> Attack:
    """The archive in which a member announces something else."""

    def attack(archive: Archive) -> bytes:
        piece = archive.find(ending)
        archive.seal()
        for name, value in changes.items():
            setattr(piece, name, value)
        return archive.tar(seal=False)

    return attack


def link(kind: bytes) -> Attack:
    return with_member("ids.npy", kind=kind, link="/etc/passwd", data=b"")


def inserted(piece: Piece, before: str) -> Attack:
    def attack(archive: Archive) -> bytes:
        archive.seal()
        archive.pieces.insert(archive.pieces.index(archive.find(before)), piece)
        return archive.tar(seal=False)

    return attack


def duplicated(archive: Archive) -> bytes:
    archive.seal()
    archive.pieces.insert(4, archive.find("norms.npy"))
    return archive.tar(seal=False)


def swapped(archive: Archive) -> bytes:
    first, second = (archive.pieces.index(archive.find(name)) for name in ("norms.npy", "rows.npy"))
    archive.pieces[first], archive.pieces[second] = archive.pieces[second], archive.pieces[first]
    return archive.tar()


def without(ending: str) -> Attack:
    def attack(archive: Archive) -> bytes:
        archive.pieces.remove(archive.find(ending))
        return archive.tar()

    return attack


def flipped(ending: str) -> Attack:
    """One bit of a member's content, found by the checksums alone."""

    def attack(archive: Archive) -> bytes:
        archive.seal()
        piece = archive.find(ending)
        piece.data = piece.data[:-1] + bytes([piece.data[-1] ^ 1])
        return archive.tar(seal=False)

    return attack


def sums(change: Callable[[bytes], bytes]) -> Attack:
    def attack(archive: Archive) -> bytes:
        archive.seal()
        piece = archive.find(SUMS)
        piece.data = change(piece.data)
        return archive.tar(seal=False)

    return attack


def grown(archive: Archive) -> bytes:
    """A member longer than the manifest says, all checksums right: the bomb inside the archive."""
    archive.find("payloads.npy").data += bytes(5000)
    return archive.tar()


def dirty_padding(archive: Archive) -> bytes:
    data = archive.tar()
    at = data.index(archive.find(README).data) + len(archive.find(README).data)
    return data[: at + 5] + b"HIDDEN" + data[at + 11 :]


def pax(record: bytes, *, size: int | None = None) -> Attack:
    """An extended header before ids.npy."""

    def attack(archive: Archive) -> bytes:
        archive.seal()
        before = b"".join(member(piece) for piece in archive.pieces[: archive.pieces.index(archive.find("ids.npy"))])
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, len(record) if size is None else size
        extended = info.tobuf(tarfile.USTAR_FORMAT)
        return before + extended + record.ljust(512, b"\0") + member(archive.find("ids.npy")) + bytes(9000)

    return attack


def huge_manifest(archive: Archive) -> bytes:
    return encode_header(MANIFEST, 65 << 20, 0) + bytes(4096)


def truncated(at: float) -> Attack:
    def attack(archive: Archive) -> bytes:
        data = archive.tar()
        return data[: int(len(data) * at)]

    return attack


CONTAINER: list[tuple[str, Attack, str]] = [
    ("empty", lambda a: b"", "the archive is cut short"),
    ("text", lambda a: b"root:x:0:0:root:/root:/bin/bash\n" * 40, "the header's checksum does not match"),
    ("zeros", lambda a: bytes(4096), "the archive ends where MANIFEST.json belongs"),
    ("another tar", lambda a: member(Piece("etc/passwd", b"x")) + bytes(1024), "'etc/passwd' is no member"),
    ("cut in the manifest", truncated(0.05), "the archive is cut short"),
    ("cut in the vectors", truncated(0.5), "cut short"),
    ("cut at the end", lambda a: a.tar()[:-512], "the archive is cut short"),
    ("no end", lambda a: a.tar()[:-1024], "the archive is cut short"),
    ("zero after the end", lambda a: a.tar() + b"\0", "something follows the end of the archive"),
    ("text after the end", lambda a: a.tar() + b"more", "something follows the end of the archive"),
    ("archive after the end", lambda a: a.tar() * 2, "something follows the end of the archive"),
    ("member after the sums", lambda a: a.tar()[:-1024] + member(Piece("x", b"y")), "something follows SHA256SUMS"),
    ("hard link", link(tarfile.LNKTYPE), "is a hard link; a snapshot holds plain files only"),
    ("symbolic link", link(tarfile.SYMTYPE), "is a symbolic link"),
    ("character device", link(tarfile.CHRTYPE), "is a character device"),
    ("block device", link(tarfile.BLKTYPE), "is a block device"),
    ("FIFO", link(tarfile.FIFOTYPE), "is a FIFO"),
    ("directory", link(tarfile.DIRTYPE), "is a directory"),
    ("long name", link(tarfile.GNUTYPE_LONGNAME), "is a GNU long name"),
    ("global header", link(tarfile.XGLTYPE), "is a global extended header"),
    ("absolute", with_member("ids.npy", name="/etc/cron.d/x"), "'/etc/cron.d/x' is an absolute path"),
    ("traversal", with_member("ids.npy", name="collections/../../../x"), "leads out of the archive"),
    ("link that hides", inserted(Piece("collections", b"", tarfile.SYMTYPE, "/etc"), "ids.npy"), "is a symbolic link"),
    ("unknown member", inserted(Piece("collections/x/0/ids.npy", b""), "ids.npy"), "is no member of this snapshot"),
    ("duplicate", duplicated, "stands in the archive twice"),
    ("duplicate manifest", inserted(Piece(MANIFEST, b""), README), "MANIFEST.json stands in the archive twice"),
    ("swapped", swapped, "stands out of its place"),
    ("missing member", without("ids.npy"), "ids.npy belongs here"),
    ("missing sums", without(SUMS), "the archive ends where SHA256SUMS belongs"),
    ("missing readme", without(README), "README.txt belongs here"),
    ("missing manifest", without(MANIFEST), "MANIFEST.json belongs here"),
    ("grown member", grown, "bytes where 142 are expected"),
    ("huge readme", with_member(README, data=bytes(70_000)), "has 70000 bytes, the limit is 65536"),
    ("huge manifest", huge_manifest, "has 68157440 bytes, the limit is 67108864"),
    ("dirty padding", dirty_padding, "something stands in the padding"),
    ("extended path", pax(b"30 path=../../../../etc/x\n"), "an extended header that says anything but one size"),
    ("extended twice", pax(b"10 size=1\n", size=600), "an extended header of 600 bytes"),
    ("extended size", pax(b"20 size=99999999999\n"), "has 99999999999 bytes where"),
    ("flipped manifest", flipped(MANIFEST), "not a snapshot document"),
    ("flipped readme", flipped(README), "README.txt: the content does not match its SHA-256"),
    ("flipped vectors", flipped("vectors.npy"), "vectors.npy: the content does not match its SHA-256"),
    ("flipped rows", flipped("rows.npy"), "rows.npy: the content does not match its SHA-256"),
    ("flipped payloads", flipped("payloads.npy"), "payloads.npy: the content does not match its SHA-256"),
    ("sums of others", sums(lambda d: d.replace(b"/ids.npy", b"/ids.npx")), "SHA256SUMS: does not list collections/"),
    ("sums in capitals", sums(lambda d: d.upper()), "SHA256SUMS: does not list MANIFEST.json"),
    ("shorter sums", sums(lambda d: d[:-1]), "SHA256SUMS: has"),
    ("longer sums", sums(lambda d: d + b"0" * 64 + b"  x\n"), "SHA256SUMS: has"),
]


@pytest.mark.parametrize(("attack", "message"), [row[1:] for row in CONTAINER], ids=[row[0] for row in CONTAINER])
@pytest.mark.parametrize("compress", [False, True])
def test_a_wrong_container(good: dict[bool, bytes], attack: Attack, message: str, compress: bool) -> None:
    data = attack(Archive.of(good[False]))
    if compress:
        data = gzip.compress(data, 1, mtime=0)
    attacked(data, Corruption, message)


def bomb(size: int) -> bytes:
    """A gzip file of zeros, a thousandth of ``size``."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0) as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return out.getvalue()


def promises(archive: Archive, rows: int) -> Archive:
    """The manifest promises so many rows."""

    def change(collection: SnapshotCollection) -> SnapshotCollection:
        dimensions = collection.spec.dimensions
        sizes = {
            "vectors.npy": rows * dimensions * 4 + 128,
            "norms.npy": rows * 4 + 128,
            "rows.npy": rows * 64 + 256,
            "ids.npy": rows + 128,
            "payloads.npy": 128,
        }
        return replace(collection, count=rows, parts=(SnapshotPart(rows, sizes),))

    archive.set_collection(change)
    return archive


GZIP: list[tuple[str, Callable[[bytes], bytes], str]] = [
    ("zero behind", lambda d: d + b"\0", "something follows the last gzip member that is no gzip"),
    ("text behind", lambda d: d + b"more", "something follows the last gzip member that is no gzip"),
    ("gzip behind", lambda d: d + gzip.compress(b"more"), "something follows the end of the archive"),
    ("cut short", lambda d: d[:-9], "cut short"),
    ("half", lambda d: d[: len(d) // 2], "cut short"),
    ("header only", lambda d: d[:10], "cut short"),
    ("wrong checksum", lambda d: d[:-6] + bytes([d[-6] ^ 1]) + d[-5:], "the gzip data is damaged"),
    ("wrong length", lambda d: d[:-2] + bytes([d[-2] ^ 1]) + d[-1:], "the gzip data is damaged"),
    ("bomb", lambda d: bomb(64 << 20), "the archive ends where MANIFEST.json belongs"),
    ("bomb behind", lambda d: d + bomb(64 << 20), "something follows the end of the archive"),
]


@pytest.mark.parametrize(("attack", "message"), [row[1:] for row in GZIP], ids=[row[0] for row in GZIP])
def test_a_wrong_gzip(good: dict[bool, bytes], attack: Callable[[bytes], bytes], message: str) -> None:
    attacked(attack(good[True]), Corruption, message)


def test_promises_that_no_gzip_of_this_size_can_keep(good: dict[bool, bytes]) -> None:
    attacked(promises(Archive.of(good[False]), 1 << 31).gz(), Corruption, "bytes of gzip cannot hold the")


def test_promises_that_the_file_is_too_short_for(good: dict[bool, bytes]) -> None:
    attacked(promises(Archive.of(good[False]), 1 << 31).tar(), Corruption, "it is cut short")


def test_promises_that_the_disk_is_too_small_for(good: dict[bool, bytes]) -> None:
    """A bomb that keeps its promise fills no disk: the space is checked before the first byte is staged."""
    data = promises(Archive.of(good[False]), 1 << 20).gz() + bomb(100 << 20)
    kit = SnapshotKit(seed=3)
    kit.fs.capacity = 20 << 20
    with pytest.raises(ResourceExhausted, match="bytes free"):
        kit.restore(kit.put("/evil.gz", data))
    assert kit.fs.listdir(COLLECTIONS_DIR) == []


def test_a_newer_archive_is_not_called_damaged(good: dict[bool, bytes]) -> None:
    archive = Archive.of(good[False])
    archive.set_manifest(lambda manifest: replace(manifest, format_version=9, min_reader=9))
    attacked(archive.tar(), UnsupportedFormat, "the snapshot needs a reader of format version 9")


# The content ----------------------------------------------------------------------------------------------------------


def rows_with(**fields: tuple[int, int]) -> Attack:
    """rows.npy with other values: field=(row, value)."""

    def attack(archive: Archive) -> bytes:
        piece = archive.find("rows.npy")
        head = len(piece.data) - 3 * ROW_DTYPE.itemsize
        rows = np.frombuffer(piece.data[head:], ROW_DTYPE).copy()
        for field, (row, value) in fields.items():
            rows[field][row] = value
        piece.data = piece.data[:head] + rows.tobytes()
        return archive.tar()

    return attack


def content(ending: str, data: bytes) -> Attack:
    """The last bytes of a member are others."""

    def attack(archive: Archive) -> bytes:
        piece = archive.find(ending)
        piece.data = piece.data[: -len(data)] + data
        return archive.tar()

    return attack


def header(ending: str, kind: str, shape: tuple[int, ...]) -> Attack:
    """A member is an array of another type or shape, of the same size."""

    def attack(archive: Archive) -> bytes:
        piece = archive.find(ending)
        size = np.dtype(kind).itemsize * int(np.prod(shape))
        head = npy_header(kind, shape, align=len(piece.data) - size)
        piece.data = head + piece.data[len(head) :]
        return archive.tar()

    return attack


def pickled(archive: Archive) -> bytes:
    piece = archive.find("norms.npy")
    piece.data = piece.data.replace(b"'<f4'", b"'|O8'")
    return archive.tar()


def same_id_twice(archive: Archive) -> bytes:
    """Two rows of one id; hashes and digest are those of the rows that the attacker wrote."""
    archive.find("ids.npy").data = archive.find("ids.npy").data[:-6] + b"aaaaaa"
    return rows_with(id_length=(0, 2), id_offset=(1, 2))(_with_lengths(archive, (2, 2, 2)))


def _with_lengths(archive: Archive, lengths: tuple[int, ...]) -> Archive:
    piece = archive.find("rows.npy")
    head = len(piece.data) - 3 * ROW_DTYPE.itemsize
    rows = np.frombuffer(piece.data[head:], ROW_DTYPE).copy()
    rows["id_length"] = lengths
    rows["id_offset"] = np.cumsum(lengths) - lengths
    piece.data = piece.data[:head] + rows.tobytes()
    return archive


def other_digest(archive: Archive) -> bytes:
    archive.set_collection(lambda collection: replace(collection, digest=collection.digest.plus(1, 0)))
    return archive.tar()


def other_payload(archive: Archive) -> bytes:
    return content("payloads.npy", b'{"n":4}')(archive)


def other_vector(archive: Archive) -> bytes:
    """Vector and norm agree, only the row's hash knows better."""
    vectors = np.array([[1, 1], [2, 2], [4, 4]], "<f4")
    content("vectors.npy", vectors.tobytes())(archive)
    return content("norms.npy", row_norms(vectors).tobytes())(archive)


NAN = struct.pack("<f", float("nan"))

CONTENT: list[tuple[str, Attack, str]] = [
    ("id offset", rows_with(id_offset=(1, 0)), "rows.npy: row 1 has an id that stands elsewhere"),
    ("id offset far away", rows_with(id_offset=(2, 1 << 63)), "row 2 has an id that stands elsewhere"),
    ("payload offset", rows_with(payload_offset=(2, 0)), "row 2 has a payload that stands elsewhere"),
    ("id too long", rows_with(id_length=(2, 600)), "row 2 has an id of a forbidden length"),
    ("empty id", lambda a: _with_lengths(a, (0, 3, 3)).tar(), "row 0 has an id of a forbidden length"),
    ("ids beyond the end", rows_with(id_length=(2, 500)), "rows from 0 on point beyond the end"),
    ("payload beyond the end", rows_with(payload_length=(2, 1 << 30)), "rows from 0 on point beyond the end"),
    ("ids not covered", rows_with(id_length=(2, 2)), "does not cover all of ids.npy"),
    ("unknown flag", rows_with(flags=(0, 3)), "row 0 has unknown flags"),
    ("payload denied", rows_with(flags=(0, 0)), "row 0 has a payload that its flags deny"),
    ("payload claimed", rows_with(flags=(1, 1)), "row 1 has a payload that its flags deny"),
    ("from the future", rows_with(sequence=(1, 1 << 40)), "row 1 was written after the snapshot"),
    ("sequence zero", rows_with(sequence=(1, 0)), "row 1 was written after the snapshot"),
    ("version zero", rows_with(version=(0, 0)), "row 0 has no version"),
    ("reserved", rows_with(reserved=(0, 7)), "row 0 uses a reserved field"),
    ("id not UTF-8", content("ids.npy", b"a\xff\xfeccc"), "ids.npy: is no UTF-8"),
    ("id split in a character", content("ids.npy", b"\xc3\xa4bccc"), "has an id that begins inside a character"),
    ("id twice", same_id_twice, "the id 'aa' stands in c twice"),
    ("row hash", rows_with(hash_low=(1, 5)), "the rows of c have digest"),
    ("digest", other_digest, "the rows of c have digest"),
    ("norm not a number", content("norms.npy", NAN), "norms.npy: holds a norm that no vector has"),
    ("norm negative", content("norms.npy", struct.pack("<f", -1)), "norms.npy: holds a norm that no vector has"),
    ("vectors transposed", header("vectors.npy", "<f4", (2, 3)), "vectors.npy"),
    ("vectors of integers", header("vectors.npy", "<i4", (3, 2)), "holds int32 (3, 2)"),
    ("rows of bytes", header("rows.npy", "|u1", (192,)), "rows.npy"),
    ("pickle", pickled, "is not a little-endian number"),
]


@pytest.mark.parametrize(("attack", "message"), [row[1:] for row in CONTENT], ids=[row[0] for row in CONTENT])
def test_wrong_content(good: dict[bool, bytes], attack: Attack, message: str) -> None:
    attacked(attack(Archive.of(good[False])), Corruption, message)


DEEP: list[tuple[str, Attack]] = [("vector", other_vector), ("payload", other_payload)]


@pytest.mark.parametrize("attack", [row[1] for row in DEEP], ids=[row[0] for row in DEEP])
def test_rows_that_their_hashes_do_not_fit_are_found_by_verify(good: dict[bool, bytes], attack: Attack) -> None:
    attacked(attack(Archive.of(good[False])), Corruption, "does not match its hash", verify=True)


def test_planes_of_another_shape(good: dict[bool, bytes]) -> None:
    archive = Archive.of(good[True])
    piece = archive.find("vectors.planes.npy")
    piece.data = npy_header("|u1", (4, 1, 6)) + piece.data[-24:]
    attacked(archive.gz(), Corruption, "is no array of planes of the shape (1, 4, 6)")


def test_a_collection_that_is_not_wanted_is_proven_all_the_same(good: dict[bool, bytes]) -> None:
    kit = SnapshotKit()
    for name in ("c", "d"):
        kit.create(name)
        kit.upsert(["a"], 1, name=name)
    archive = Archive.of(kit.fs.read(kit.snapshot()["path"]))
    archive.seal()
    archive.find("ids.npy").data = archive.find("ids.npy").data[:-1] + b"b"
    path = kit.put("/evil.snap", archive.tar(seal=False))
    with pytest.raises(Corruption, match="does not match its SHA-256"):
        kit.restore(path, from_collection="d", collection="copy")
