"""A snapshot's file leaves a store proven, and comes into another whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import random

import pytest

from holdfastd.engine import open_upload, snapshot_download
from holdfastd.engine.open_upload import LIFE_US
from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.engine.snapshot_upload import UploadRequest
from holdfastd.errors import (
    Aborted,
    AlreadyExists,
    Corruption,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
    UnsupportedFormat,
)
from holdfastd.format.checksum import crc32c
from holdfastd.format.document import encode_document
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import BACKUPS, assert_nothing_left, assert_tidy
from tests.support.snapshots import SNAPSHOTS_DIR, SnapshotKit
from tests.support.transfers import begun, bring, parts, read_file, request_of, send

UPLOADS = "/data/UPLOADS.json"


def filled(seed: int = 7) -> SnapshotKit:
    kit = SnapshotKit(seed=seed)
    kit.create("c")
    kit.upsert(list("abc"), 1, 2, 3, payloads=[b'{"n":1}', None, b"{}"])
    kit.engine.checkpoint()
    kit.upsert(list("bd"), 20, 4)
    return kit


@pytest.fixture(params=[False, True], ids=["plain", "gz"])
def source(request: pytest.FixtureRequest) -> SnapshotKit:
    kit = filled()
    kit.snapshot(compress=request.param)
    return kit


@pytest.fixture
def target() -> SnapshotKit:
    return SnapshotKit(seed=11)


# Out ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [64, 1000, 1 << 20])
def test_what_is_sent_is_the_file(source: SnapshotKit, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_download, "PIECE_BYTES", piece)
    _, content = read_file(source, "latest")
    for start in (0, 1, 511, 512, 513, len(content) - 1, len(content)):
        file = source.engine.snapshots.download("latest")
        pieces = list(file.pieces(start))
        assert b"".join(each.data for each in pieces) == content[start:], start
        assert all(len(each.data) <= piece for each in pieces)
        position = start
        for each in pieces:
            assert each.offset == position
            position += len(each.data)
        assert [each.file_sha256 for each in pieces[:-1]] == [""] * (len(pieces) - 1)
        assert pieces[-1].file_sha256 == hashlib.sha256(content).hexdigest()
        assert file.total_bytes == len(content)


def test_signs_of_life_while_the_beginning_is_read(source: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_download, "SIGN_OF_LIFE_BYTES", 100)
    _, content = read_file(source, "latest")
    pieces = list(source.engine.snapshots.download("latest").pieces(len(content) - 1))
    assert len(pieces) > 1
    assert b"".join(each.data for each in pieces) == content[-1:]


def test_nobody_deletes_what_is_being_sent(source: SnapshotKit) -> None:
    file = source.engine.snapshots.download("latest")
    pieces = file.pieces()
    next(pieces)
    with pytest.raises(FailedPrecondition, match="a download"):
        source.engine.snapshots.delete(file.info.id)
    pieces.close()
    source.engine.snapshots.delete(file.info.id)
    with pytest.raises(NotFound):
        list(file.pieces())


def test_a_damaged_file_is_never_sent_to_its_end(source: SnapshotKit) -> None:
    info = source.engine.snapshots.get("latest")
    content = bytearray(source.fs.read(info.path))
    content[len(content) // 2] ^= 1
    source.fs.damage(info.path, 0, bytes(content))
    pieces = source.engine.snapshots.download("latest").pieces()
    with pytest.raises(Corruption) as caught:
        list(pieces)
    assert caught.value.path.startswith(info.path)
    assert source.engine.snapshots.get(info.id).state == "damaged"


def test_damage_is_told_where_it_cannot_be_noted(source: SnapshotKit) -> None:
    info = source.engine.snapshots.get("latest")
    source.fs.damage(info.path, info.record.size_bytes // 2, b"\xff\x00\xff\x00")
    source.fs.fail_on("create", "*REGISTRY*", errno.ENOSPC, forever=True)
    with pytest.raises(Corruption):
        list(source.engine.snapshots.download("latest").pieces())
    assert source.verify(info.id)["valid"] is False


def test_a_full_disk_does_not_make_a_sound_file_unreadable(source: SnapshotKit) -> None:
    source.fs.fail_on("create", "*REGISTRY*", errno.ENOSPC, forever=True)
    assert source.verify("latest")["valid"] is True


def test_what_was_consolidated_before_the_first_piece_is_described_as_what_it_is(source: SnapshotKit) -> None:
    base = source.engine.snapshots.get("latest")
    source.upsert(["e"], 5)
    increment = source.later(incremental=True)
    file = source.engine.snapshots.download(increment.id)
    source.consolidate(base.id)
    sent = b"".join(piece.data for piece in file.pieces())
    assert sent == source.fs.read(increment.path)
    assert (file.info.record.type, file.info.record.size_bytes) == ("full", len(sent))


def test_another_snapshot_is_not_what_was_begun(source: SnapshotKit) -> None:
    file = source.engine.snapshots.download("latest")
    with pytest.raises(FailedPrecondition) as caught:
        list(file.pieces(3, if_match="0" * 64))
    assert caught.value.reason == "SNAPSHOT_CHANGED"
    assert list(file.pieces(3, if_match=file.info.record.sha256))
    with pytest.raises(OutOfRange, match="beyond its end"):
        list(file.pieces(source.fs.size(file.info.path) + 1))


# In -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", [None, BACKUPS])
def test_what_has_come_can_be_restored(source: SnapshotKit, target: SnapshotKit, directory: str | None) -> None:
    name, content = read_file(source, "latest")
    info = bring(target, name, content, directory, piece=500)
    assert (info.path, info.state) == (f"{directory or SNAPSHOTS_DIR}/{name}", "ready")
    assert target.fs.read(info.path) == content
    assert parts(target, directory or SNAPSHOTS_DIR) == []
    target.restore(info.id)
    assert observe(target.engine).collections == observe(source.engine).collections
    target.reopen()
    assert target.ids() == [info.id]
    assert_tidy(target)


def test_one_that_is_here_already_is_no_second_one(source: SnapshotKit, target: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    first = bring(target, name, content)
    assert target.engine.snapshots.uploads.begin(request_of(name, content)) == first
    other = content[:-1] + b"x"
    with pytest.raises(AlreadyExists, match="another file"):
        target.engine.snapshots.uploads.begin(request_of(name, other))
    # A copy in another directory is a copy.
    copy = bring(target, name, content, BACKUPS)
    assert (copy.id, copy.path) == (first.id, f"{BACKUPS}/{name}")
    assert target.engine.snapshots.get(first.id).path == first.path


@pytest.mark.parametrize("again", ["same process", "killed", "power cut"])
def test_a_broken_one_goes_on_from_what_is_synced(
    source: SnapshotKit, target: SnapshotKit, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_upload, "SYNC_BYTES", 1000)
    name, content = read_file(source, "latest")
    upload = begun(target, request_of(name, content))
    half = len(content) // 2
    send(target, upload, content, 300, half)
    committed = upload.committed_bytes
    assert 0 < committed <= half
    assert 0 <= target.clock.now_us() + LIFE_US - upload.expires_us < 1000
    if again == "killed":
        target.reopen()
    elif again == "power cut":
        target = SnapshotKit(target.fs.crash(random.Random(3)), seed=12)
    assert target.ids() == []
    resumed = begun(target, request_of(name, content))
    assert resumed.committed_bytes == committed
    with resumed:
        send(target, resumed, content, 300)
        assert resumed.complete
        info = target.engine.snapshots.uploads.publish(resumed)
    assert target.fs.read(info.path) == content
    if again == "same process":
        with pytest.raises(Aborted, match="another connection goes on"):
            upload.write(half, b"x", crc32c(b"x"), 0)


def test_what_nobody_goes_on_with_is_removed(source: SnapshotKit, target: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    for directory in (None, BACKUPS):
        with begun(target, request_of(name, content, directory)) as upload:
            send(target, upload, content, 500, 1000)
            upload.sync(target.clock.now_us())
    assert (len(parts(target)), len(parts(target, BACKUPS))) == (1, 1)
    target.clock.advance_us(LIFE_US - 1_000_000)
    target.reopen()
    assert (len(parts(target)), len(parts(target, BACKUPS))) == (1, 1)
    with begun(target, request_of(name, content, BACKUPS)) as upload:
        assert upload.committed_bytes == 1000
        send(target, upload, content, 500, 1500)
        upload.sync(target.clock.now_us())
    target.clock.advance_us(2_000_000)
    target.reopen()
    assert (parts(target), len(parts(target, BACKUPS))) == ([], 1)
    with begun(target, request_of(name, content)) as upload:
        assert upload.committed_bytes == 0


def test_a_list_that_is_lost_costs_the_progress(source: SnapshotKit, target: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    with begun(target, request_of(name, content)) as upload:
        send(target, upload, content, 500, 1000)
        upload.sync(target.clock.now_us())
    target.fs.damage(UPLOADS, 0, b"rubbish")
    target.reopen()
    assert any("was damaged" in warning for warning in target.engine.snapshots.warnings)
    assert bring(target, name, content).state == "ready"
    target.reopen()
    assert target.engine.snapshots.warnings == ()


def test_a_list_of_a_newer_version_is_refused(target: SnapshotKit) -> None:
    file = target.fs.create(UPLOADS)
    file.pwrite([encode_document("uploads", {"uploads": [], "format_version": 2})], 0)
    with pytest.raises(UnsupportedFormat) as caught:
        target.reopen()
    assert caught.value.metadata["path"] == UPLOADS


WRONG = {
    "no snapshot's name": {"filename": "backup.tar"},
    "a path": {"filename": "../snap-2026-01-20-103045.snap"},
    "a directory": {"filename": "snap-2026-01-20-103045.snap/"},
    "nothing": {"total_bytes": 0},
    "less than nothing": {"total_bytes": -1},
    "too much": {"total_bytes": 1 << 60},
    "no sum": {"sha256": "abc"},
    "a sum in capitals": {"sha256": "A" * 64},
    "among the store's own": {"directory": "/data/collections/x"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_a_header_that_makes_no_sense_is_refused(target: SnapshotKit, wrong: dict[str, object]) -> None:
    right = {"filename": "snap-2026-01-20-103045.snap", "total_bytes": 10, "sha256": "a" * 64}
    with pytest.raises(InvalidArgument):
        target.engine.snapshots.uploads.begin(UploadRequest(**{**right, **wrong}))  # type: ignore[arg-type]
    assert not target.fs.exists(UPLOADS)


def test_bytes_out_of_their_place_or_damaged_are_refused(source: SnapshotKit, target: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    with begun(target, request_of(name, content)) as upload:
        upload.write(0, content[:10], crc32c(content[:10]), 0)
        for at, data in ((0, b"x"), (11, b"x"), (10, content)):
            with pytest.raises(InvalidArgument, match="are due"):
                upload.write(at, data, crc32c(data), 0)
        with pytest.raises(Corruption, match="CRC-32C"):
            upload.write(10, content[10:20], crc32c(content[10:20]) ^ 1, 0)
        send_rest = content[10:]
        assert upload.write(10, send_rest, crc32c(send_rest), 0)
        assert target.engine.snapshots.uploads.publish(upload).state == "ready"


def mutated(content: bytes, name: str) -> bytes:
    return {
        "a byte changed": content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 1])
        + content[len(content) // 2 + 1 :],
        "cut short": content[:-1],
        "something behind it": content + b"x",
        "nothing of it": b"x" * len(content),
    }[name]


@pytest.mark.parametrize("how", ["a byte changed", "cut short", "something behind it", "nothing of it"])
def test_what_is_no_whole_snapshot_gets_no_name(source: SnapshotKit, target: SnapshotKit, how: str) -> None:
    name, content = read_file(source, "latest")
    with pytest.raises(Corruption) as caught:
        bring(target, name, mutated(content, how))
    assert caught.value.reason == "SNAPSHOT_DAMAGED"
    assert target.fs.listdir(SNAPSHOTS_DIR) == []
    assert bring(target, name, content).state == "ready"


def test_a_file_that_changed_while_it_was_sent_gets_no_name(source: SnapshotKit, target: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    changed = mutated(content, "a byte changed")
    with begun(target, request_of(name, content)) as upload:
        send(target, upload, changed, 1 << 20)
        with pytest.raises(Corruption, match="SHA-256 that the upload began with"):
            target.engine.snapshots.uploads.publish(upload)
    assert target.fs.listdir(SNAPSHOTS_DIR) == []


def test_another_name_than_its_own_is_refused(source: SnapshotKit, target: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    with pytest.raises(InvalidArgument, match="says of itself"):
        bring(target, f"snap-2020-01-01-000000.{name.rpartition('.')[2]}", content)
    assert target.fs.listdir(SNAPSHOTS_DIR) == []


def test_an_id_that_stands_for_another_snapshot_is_not_taken(source: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    other = filled(seed=99)
    other.clock.advance_us(source.clock.now_us() - other.clock.now_us())
    other.snapshot(path=BACKUPS, compress=name.endswith(".gz"))
    assert other.ids() == source.ids()
    with pytest.raises(AlreadyExists) as caught:
        bring(other, name, content)
    assert caught.value.reason == "SNAPSHOT_EXISTS"
    assert other.fs.listdir(SNAPSHOTS_DIR) == []


def test_no_room_is_said_before_anything_is_written(source: SnapshotKit, target: SnapshotKit) -> None:
    name, content = read_file(source, "latest")
    target.fs.leave_free(len(content) - 1)
    with pytest.raises(ResourceExhausted, match="bytes free"):
        bring(target, name, content)
    assert not target.fs.exists(UPLOADS)


def test_a_file_that_got_its_name_before_a_kill_is_known_after_it(source: SnapshotKit, target: SnapshotKit) -> None:
    """Wherever it lies: nobody looks into a directory of its own accord."""
    name, content = read_file(source, "latest")
    target.fs.fail_on("create", "*REGISTRY*", errno.EIO, forever=True)
    with pytest.raises(HoldfastError):
        bring(target, name, content, BACKUPS)
    assert target.fs.listdir(BACKUPS) == [name]
    target.fs.heal()
    target.reopen()
    (info,) = target.engine.snapshots.list()
    assert (info.path, info.state) == (f"{BACKUPS}/{name}", "ready")
    assert_nothing_left(target)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failing_disk_loses_nothing_of_the_store(source: SnapshotKit, code: int) -> None:
    name, content = read_file(source, "latest")
    kit = SnapshotKit(seed=11)
    start = kit.fs.ops
    bring(kit, name, content, piece=2500)
    raised = 0
    for step in range(kit.fs.ops - start):
        kit = SnapshotKit(seed=11)
        kit.fs.fail_at(kit.fs.ops + step, code)
        try:
            bring(kit, name, content, piece=2500)
        except HoldfastError:
            raised += 1
        kit.fs.heal()
        kit.reopen()
        assert_nothing_left(kit)
        again = bring(kit, name, content, piece=2500)
        assert isinstance(again, SnapshotInfo)
        assert kit.fs.read(again.path) == content
        kit.reopen()
        assert_nothing_left(kit)
        assert_tidy(kit)
    assert raised
