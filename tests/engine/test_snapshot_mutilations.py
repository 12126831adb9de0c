"""Every way to mutilate a snapshot, with the exact words of a verification and the lowest level that finds it.

PostgreSQL tests `pg_verifybackup` so. Unless the point is the checksum itself, every checksum in these archives holds.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import random
import re
import tarfile

import numpy as np
import pytest

from holdfastd.errors import Corruption
from holdfastd.format.npy import npy_header
from holdfastd.format.snapshot import MANIFEST, README, SUMS
from tests.engine.test_snapshot_hostile import (
    NAN,
    Attack,
    content,
    dirty_padding,
    duplicated,
    flipped,
    grown,
    header,
    inserted,
    link,
    other_digest,
    other_payload,
    other_vector,
    pickled,
    rows_with,
    same_id_twice,
    sums,
    swapped,
    truncated,
    with_member,
    without,
)
from tests.support.snapshots import Archive, Piece, SnapshotKit, member

PATH = "/evil.snap"
UUID = re.compile(r"collections/[0-9a-f-]{36}/")


@pytest.fixture(scope="module")
def good() -> dict[bool, bytes]:
    """A sound archive, plain and compressed: ids a, bb and ccc, the second without a payload."""
    kit = SnapshotKit()
    kit.create("c")
    kit.upsert(["a", "bb", "ccc"], 1, 2, 3, payloads=[b'{"n":1}', None, b'{"n":3}'])
    return {compress: kit.fs.read(kit.snapshot(compress=compress)["path"]) for compress in (False, True)}


def not_finite(archive: Archive) -> bytes:
    return content("vectors.npy", NAN)(archive)


def two_objects(archive: Archive) -> bytes:
    """One payload of the right length that is two of them."""
    return content("payloads.npy", b"{},{ } ")(archive)


def bad_header(ending: str) -> Attack:
    """A byte of the header in front of a member."""

    def attack(archive: Archive) -> bytes:
        data = archive.tar()
        at = data.index(archive.find(ending).name.encode())
        return data[: at + 90] + b"X" + data[at + 91 :]

    return attack


MUTILATIONS: list[tuple[str, Attack, int, list[str]]] = [
    # Files: what is there, where it stands, how large it is.
    ("missing file", without("norms.npy"), 1, [
        "C/0/norms.npy: is missing: C/0/rows.npy stands where it belongs",
        "SHA256SUMS: has 667 bytes where 794 are expected",
    ]),
    ("missing readme", without(README), 1, [
        "README.txt: is missing: C/0/vectors.npy stands where it belongs",
        "SHA256SUMS: has 717 bytes where 794 are expected",
    ]),
    ("missing sums", without(SUMS), 1, ["SHA256SUMS: the archive ends where SHA256SUMS belongs"]),
    ("extra file", inserted(Piece("collections/x/0/ids.npy", b"more"), "ids.npy"), 1, [
        "collections/x/0/ids.npy: 'collections/x/0/ids.npy' is no member of this snapshot: C/0/ids.npy belongs here",
    ]),
    ("extra file at the end", lambda a: a.tar()[:-1024] + member(Piece("x", b"y")) + bytes(1024), 1, [
        "the end: something follows SHA256SUMS, which has to be the last member",
    ]),
    ("the same file twice", duplicated, 1, [
        "C/0/norms.npy: 'C/0/norms.npy' stands out of its place, or twice: C/0/rows.npy belongs here",
    ]),
    ("files out of order", swapped, 1, [
        "C/0/norms.npy: is missing: C/0/rows.npy stands where it belongs",
        "C/0/norms.npy: 'C/0/norms.npy' stands out of its place, or twice: C/0/ids.npy belongs here",
        "SHA256SUMS: does not list exactly the members, so none can be held against it",
    ]),
    ("a symbolic link", link(tarfile.SYMTYPE), 1, [
        "C/0/ids.npy: 'C/0/ids.npy' is a symbolic link; a snapshot holds plain files only",
    ]),
    ("a directory", link(tarfile.DIRTYPE), 1, [
        "C/0/ids.npy: 'C/0/ids.npy/' is a directory; a snapshot holds plain files only",
    ]),
    ("an absolute name", with_member("ids.npy", name="/etc/cron.d/x"), 1, [
        "C/0/ids.npy: '/etc/cron.d/x' is an absolute path; a snapshot's names are relative",
        "C/0/ids.npy: is missing: C/0/payloads.npy stands where it belongs",
    ]),
    ("a file that shrank", with_member("ids.npy", data=b"x" * 133), 1, [
        "C/0/ids.npy: has 133 bytes where 134 are expected",
    ]),
    ("a file that grew", grown, 1, ["C/0/payloads.npy: has 5142 bytes where 142 are expected"]),
    ("a damaged header", bad_header("ids.npy"), 1, ["C/0/ids.npy: the header's checksum does not match"]),
    ("cut in the end", lambda a: a.tar()[:-512], 1, [
        "the end: the archive is cut short: the blocks that end it are missing",
    ]),
    ("cut before the end", lambda a: a.tar()[:-1024], 1, [
        "the end: the archive is cut short: the blocks that end it are missing",
    ]),
    ("appended zero", lambda a: a.tar() + b"\0", 1, ["the end: something follows the end of the archive"]),
    ("appended archive", lambda a: a.tar() * 2, 1, ["the end: something follows the end of the archive"]),
    ("sums of other files", sums(lambda d: d.replace(b"/ids.npy", b"/ids.npx")), 1, [
        "SHA256SUMS: does not list exactly the members, so none can be held against it",
    ]),
    ("sums cut short", sums(lambda d: d[:-1]), 1, ["SHA256SUMS: has 793 bytes where 794 are expected"]),
    # Checksums: bytes.
    ("replaced byte of the readme", flipped(README), 2, ["README.txt: the content does not match its SHA-256"]),
    ("replaced byte of the vectors", flipped("vectors.npy"), 2, [
        "C/0/vectors.npy: the content does not match its SHA-256",
    ]),
    ("replaced byte of the ids", flipped("ids.npy"), 2, ["C/0/ids.npy: the content does not match its SHA-256"]),
    ("bytes in a padding", dirty_padding, 2, ["README.txt: something stands in the padding after it"]),
    ("another digest", other_digest, 2, [
        "the rows of c have digest 2e6b5d001dbfb16ebb70f915b01c0e43, the manifest says "
        "2e6b5d001dbfb16fbb70f915b01c0e43",
    ]),
    # Rows: what the bytes say, with checksums that hold.
    ("an id elsewhere", rows_with(id_offset=(1, 0)), 3, ["C/0/rows.npy: row 1 has an id that stands elsewhere"]),
    ("a payload elsewhere", rows_with(payload_offset=(2, 0)), 3, [
        "C/0/rows.npy: row 2 has a payload that stands elsewhere",
    ]),
    ("ids beyond the end", rows_with(id_length=(2, 500)), 3, [
        "C/0/rows.npy: rows from 0 on point beyond the end of ids.npy",
    ]),
    ("ids left over", rows_with(id_length=(2, 2)), 3, [
        "C/0/rows.npy: does not cover all of ids.npy: 1 bytes are over",
        "C/0/rows.npy: row 2 does not match its hash",
    ]),
    ("a payload of gigabytes", rows_with(payload_length=(2, 1 << 30)), 3, [
        "C/0/rows.npy: row 2 has a payload of a forbidden length",
    ]),
    ("a flag that nobody knows", rows_with(flags=(0, 3)), 3, ["C/0/rows.npy: row 0 has unknown flags"]),
    ("a row of the future", rows_with(sequence=(1, 1 << 40)), 3, [
        "C/0/rows.npy: row 1 was written after the snapshot",
    ]),
    ("an id that is no text", content("ids.npy", b"a\xff\xfeccc"), 3, [
        "C/0/ids.npy: is no UTF-8: invalid start byte, in rows from 0 on",
    ]),
    ("a vector that is no number", not_finite, 3, [
        "C/0/vectors.npy: row 2 has a vector that is not finite",
        "C/0/rows.npy: row 2 does not match its hash",
    ]),
    ("a norm that is no number", content("norms.npy", NAN), 3, [
        "C/0/norms.npy: row 2 has a norm that its vector has not",
    ]),
    ("a payload that is no JSON", content("payloads.npy", b'{"n":3]'), 3, [
        "C/0/rows.npy: row 2 does not match its hash",
        "C/0/payloads.npy: row 2 has a payload that is no JSON object",
    ]),
    ("a payload that is two", two_objects, 3, [
        "C/0/rows.npy: row 2 does not match its hash",
        "C/0/payloads.npy: row 2 has a payload that is no JSON object",
    ]),
    ("another vector and its norm", other_vector, 3, ["C/0/rows.npy: row 2 does not match its hash"]),
    ("another payload", other_payload, 3, ["C/0/rows.npy: row 2 does not match its hash"]),
    ("vectors of another shape", header("vectors.npy", "<f4", (2, 3)), 3, [
        "C/0/vectors.npy: holds float32 (2, 3) in 24 bytes, not float32 (3, 2)",
    ]),
    ("rows of another type", header("rows.npy", "|u1", (192,)), 3, [
        "C/0/rows.npy: holds uint8 (192,) in 192 bytes, not records of 64 bytes (3,)",
    ]),
    ("a pickle", pickled, 3, ["C/0/norms.npy: npy type '|O8' is not a little-endian number"]),
]  # fmt: skip


def told(kit: SnapshotKit, level: int) -> list[tuple[int, str]]:
    """What a verification at a level finds: the level of each problem and its words, without what varies."""
    result = kit.verify(PATH, level=level)
    assert result["valid"] == (not result["problems"])
    assert result["problem_count"] == len(result["problems"])
    found = []
    for problem in result["problems"]:
        where = problem["path"] if problem["offset"] is None else f"{problem['path']} at offset {problem['offset']}"
        assert problem["message"].startswith(f"{where}: ")
        assert "holdfast storage snapshot create" in problem["hint"]
        place = problem["path"].removeprefix(PATH).lstrip(":")
        words = problem["message"].removeprefix(f"{where}: ")
        found.append((problem["level"], UUID.sub("C/", f"{place}: {words}" if place else words)))
    assert result["reached"] == min((each - 1 for each, _ in found), default=level)
    return found


@pytest.mark.parametrize(
    ("attack", "lowest", "words"), [row[1:] for row in MUTILATIONS], ids=[row[0] for row in MUTILATIONS]
)
@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_a_mutilation_is_found_at_its_level_and_told_in_these_words(
    good: dict[bool, bytes], attack: Attack, lowest: int, words: list[str], compress: bool
) -> None:
    data = attack(Archive.of(good[False]))
    if compress:
        data = gzip.compress(data, 1, mtime=0)
    kit = SnapshotKit(seed=3)
    kit.put(PATH, data)
    before = kit.fs.listdir("/data/collections")
    for level in range(lowest):
        assert told(kit, level) == [], level
    found = told(kit, lowest)
    assert found == [(lowest, each) for each in words]
    for level in range(lowest + 1, 5):
        assert {(lowest, each) for each in words} <= set(told(kit, level))
    assert kit.fs.listdir("/data/collections") == before


MANIFESTS: list[tuple[str, Attack, str]] = [
    ("empty", lambda a: b"", "MANIFEST.json: the archive is cut short"),
    ("zeros", lambda a: bytes(4096), "MANIFEST.json: the archive ends where MANIFEST.json belongs"),
    ("missing manifest", without(MANIFEST), "'README.txt' stands out of its place: MANIFEST.json belongs here"),
    ("bad manifest", flipped(MANIFEST), "MANIFEST.json: not a snapshot document, or cut short"),
    ("cut in the manifest", truncated(0.05), "MANIFEST.json: the archive is cut short"),
]


@pytest.mark.parametrize(("attack", "words"), [row[1:] for row in MANIFESTS], ids=[row[0] for row in MANIFESTS])
def test_without_its_manifest_a_file_is_refused_and_a_known_snapshot_found_damaged(
    good: dict[bool, bytes], attack: Attack, words: str
) -> None:
    data = attack(Archive.of(good[False]))
    kit = SnapshotKit(seed=3)
    kit.put(PATH, data)
    with pytest.raises(Corruption, match=re.escape(words)):
        kit.verify(PATH, level=0)
    kit.create("c")
    kit.upsert(["a"])
    made = kit.snapshot()
    kit.put(made["path"], data)
    (problem,) = kit.verify(made["snapshot_id"], level=0)["problems"]
    assert words in problem["message"]
    assert problem["level"] == 0
    assert kit.engine.snapshots.list()[0].state == "damaged"


def test_the_sound_archives_have_nothing_wrong_at_any_level(good: dict[bool, bytes]) -> None:
    for data in good.values():
        kit = SnapshotKit(seed=3)
        kit.put(PATH, data)
        for level in range(5):
            assert told(kit, level) == []


def test_an_id_that_stands_twice_is_found_by_a_restore_at_the_latest(good: dict[bool, bytes]) -> None:
    kit = SnapshotKit(seed=3)
    kit.put(PATH, same_id_twice(Archive.of(good[False])))
    assert told(kit, 2) == []
    assert told(kit, 3) == [(3, "C/0/rows.npy: row 0 does not match its hash, and 2 rows behind it")]


def test_an_archive_that_is_cut_in_the_middle(good: dict[bool, bytes]) -> None:
    data = truncated(0.5)(Archive.of(good[False]))
    kit = SnapshotKit(seed=3)
    kit.put(PATH, data)
    for level in (1, 2, 3, 4):
        assert told(kit, level) == [(1, "C/0/vectors.npy: is cut short: 3584 of its 4120 bytes are there")]
    kit.put(PATH, gzip.compress(data, 1, mtime=0))
    for level in (1, 2, 3, 4):
        assert told(kit, level) == [(1, "C/0/vectors.npy: is cut short: 3584 of its 4120 bytes are there")]


def test_a_bit_that_flips_anywhere_is_found_with_the_checksums(good: dict[bool, bytes]) -> None:
    kit = SnapshotKit(seed=3)
    for at in range(0, len(good[False]), 43):
        data = bytearray(good[False])
        data[at] ^= 1 << at % 8
        kit.put(PATH, bytes(data))
        try:
            assert told(kit, 2), at
        except Corruption:
            assert at < 2048, "only without its manifest nothing can be looked for"


def test_a_cut_anywhere_and_bytes_that_slip_in_are_found_with_the_sizes(good: dict[bool, bytes]) -> None:
    kit, data = SnapshotKit(seed=3), good[False]
    for at in range(2048, len(data), 97):
        for mutilated in (data[:at], data[:at] + b"\0" * 512 + data[at:], data[:at] + data[at + 1 :]):
            kit.put(PATH, mutilated)
            with contextlib.suppress(Corruption):
                assert told(kit, 1), at


def test_whatever_the_bytes_say_it_ends_with_a_result(good: dict[bool, bytes]) -> None:
    """Random content under checksums that hold: no exception, no file left, and nothing out of bounds is read."""
    rng = random.Random(20)
    kit = SnapshotKit(seed=3)
    directories = kit.fs.listdir("/data/collections")
    for number in range(150):
        compress = number % 3 == 0
        archive = Archive.of(good[compress])
        pieces = [piece for piece in archive.pieces if piece.name.endswith(".npy")]
        piece = rng.choice(pieces)
        content = bytearray(piece.data)
        for _ in range(rng.randint(1, 4)):
            content[-rng.randint(1, min(len(content), 200))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        piece.data = bytes(content)
        kit.put(PATH, archive.gz() if compress else archive.tar())
        for level in (2, 3, 4):
            told(kit, level)
        assert kit.fs.listdir("/data/collections") == directories


def test_damages_are_all_told_and_not_the_first_alone(good: dict[bool, bytes]) -> None:
    archive = Archive.of(good[False])
    archive.seal()
    for ending in ("norms.npy", "ids.npy", "payloads.npy"):
        piece = archive.find(ending)
        piece.data = piece.data[:-1] + bytes([piece.data[-1] ^ 1])
    kit = SnapshotKit(seed=3)
    kit.put(PATH, archive.tar(seal=False) + b"more")
    assert told(kit, 2) == [
        *((2, f"C/0/{name}.npy: the content does not match its SHA-256") for name in ("norms", "ids", "payloads")),
        (1, "the end: something follows the end of the archive"),
    ]


GZIP = [
    ("wrong checksum", lambda d: d[:-6] + bytes([d[-6] ^ 1]) + d[-5:], "the gzip data is damaged"),
    ("cut short", lambda d: d[:-9], "cut short"),
    ("text behind", lambda d: d + b"more", "something follows the last gzip member that is no gzip"),
    ("gzip behind", lambda d: d + gzip.compress(b"more"), "something follows the end of the archive"),
]


@pytest.mark.parametrize(("attack", "words"), [row[1:] for row in GZIP], ids=[row[0] for row in GZIP])
def test_damaged_compression_is_found_with_the_sizes(good: dict[bool, bytes], attack: object, words: str) -> None:
    kit = SnapshotKit(seed=3)
    kit.put(PATH, attack(good[True]))  # type: ignore[operator]
    assert told(kit, 0) == []
    for level in (1, 2, 3, 4):
        (found,) = told(kit, level)
        assert found[0] == 1
        assert words in found[1]


def test_planes_of_another_shape(good: dict[bool, bytes]) -> None:
    archive = Archive.of(good[True])
    piece = archive.find("vectors.planes.npy")
    piece.data = npy_header("|u1", (4, 1, 6)) + piece.data[-24:]
    kit = SnapshotKit(seed=3)
    kit.put(PATH, archive.gz())
    assert told(kit, 2) == []
    expected = "C/0/vectors.planes.npy: holds uint8 (4, 1, 6) in 24 bytes, not uint8 (1, 4, 6)"
    assert told(kit, 3) == [(3, expected)]


def test_a_block_that_the_disk_does_not_give_is_damage_and_the_rest_is_read(good: dict[bool, bytes]) -> None:
    kit = SnapshotKit(seed=3)
    archive = Archive.of(good[False])
    archive.seal()
    kit.put(PATH, archive.tar(seal=False))
    at = good[False].index(b"\x93NUMPY", good[False].index(b"/0/norms.npy\0"))
    whole = kit.fs.read

    def reading(path: str, offset: int = 0, length: int | None = None) -> bytes:
        if path == PATH and length is not None and offset <= at < offset + length and offset > 4096:
            raise OSError(errno.EIO, "Input/output error")
        return whole(path, offset, length)

    kit.fs.read = reading  # type: ignore[method-assign]
    (found,) = told(kit, 2)
    assert found == (2, "C/0/norms.npy: cannot be read: Input/output error")


def test_big_windows_and_portions_are_no_different(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in many windows, payloads in many portions: the row that is wrong is named by its number."""
    from holdfastd.engine import snapshot_decode

    monkeypatch.setattr(snapshot_decode, "WINDOW_ROWS", 7)
    monkeypatch.setattr(snapshot_decode, "PAYLOAD_BYTES", 20)
    kit = SnapshotKit()
    kit.create("c", 3)
    ids = [f"id-{number:03}" for number in range(50)]
    kit.upsert(ids, *range(1, 51), payloads=[None if n % 3 else f'{{"n":{n}}}'.encode() for n in range(50)])
    archive = Archive.of(kit.fs.read(kit.snapshot()["path"]))
    kit.put(PATH, archive.tar())
    assert told(kit, 3) == []
    vectors = archive.find("vectors.npy")
    matrix = np.frombuffer(vectors.data[-600:], "<f4").copy().reshape(50, 3)
    matrix[33, 1] *= -1
    vectors.data = vectors.data[:-600] + matrix.tobytes()
    kit.put(PATH, archive.tar())
    assert told(kit, 3) == [(3, "C/0/rows.npy: row 33 does not match its hash")]
