"""Two who bring the same file, failing disks and daemons that stop: no upload spoils another, or itself."""

from __future__ import annotations

import errno
import random
import threading
from contextlib import suppress
from dataclasses import replace

import pytest

from holdfastd.engine import open_upload, snapshot_upload
from holdfastd.engine.open_upload import LIFE_US, Upload
from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.engine.upload_expiry import UploadExpiry
from holdfastd.errors import Aborted, Corruption, FailedPrecondition, InvalidArgument, Unavailable, UnsupportedFormat
from tests.support.snapshot_sweeps import BACKUPS
from tests.support.snapshots import SNAPSHOTS_DIR, SnapshotKit, two_points
from tests.support.transfers import begun, bring, parts, read_file, request_of, send
from tests.support.waiting import until


@pytest.fixture(scope="module")
def file() -> tuple[str, bytes]:
    """A snapshot's name and its bytes."""
    source = two_points()
    source.snapshot()
    return read_file(source, "latest")


@pytest.fixture
def kit() -> SnapshotKit:
    return SnapshotKit(seed=11)


# Two at once ----------------------------------------------------------------------------------------------------------


def test_two_of_one_name_never_share_a_file(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    right = request_of(name, content)
    # Whoever means harm can promise any sum.
    wrong = replace(right, sha256=right.sha256[:-1] + ("0" if right.sha256[-1] != "0" else "1"))
    with begun(kit, right) as honest, begun(kit, wrong) as hostile:
        send(kit, honest, content, 500)
        hostile.write(0, b"x" * 100, None, 0)
        path = kit.engine.snapshots.uploads.publish(honest).path
        hostile.write(100, b"x" * 100, None, 0)
    assert kit.fs.read(path) == content


def test_two_daemons_that_take_one_file_into_one_directory_do_not_mix(file: tuple[str, bytes]) -> None:
    name, content = file
    one = SnapshotKit(seed=11)
    # Of another data directory, on the same disk.
    two = SnapshotKit(seed=12)
    two.fs = one.fs
    two.engine.snapshots.uploads._context = replace(two.engine.snapshots.uploads._context, fs=one.fs)
    first, second = begun(one, request_of(name, content, BACKUPS)), begun(two, request_of(name, content, BACKUPS))
    assert first.part_path != second.part_path
    assert len(parts(one, BACKUPS)) == 2
    with first, second:
        send(one, first, content, 500)
        second.write(0, content[:500], None, 0)
        path = one.engine.snapshots.uploads.publish(first).path
        second.write(500, content[500:600], None, 0)
    assert one.fs.read(path) == content


def test_a_wrong_size_does_not_stand_in_the_way_of_the_right_one(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    right = request_of(name, content)
    for size in (1, len(content) - 1, len(content) + 1000):
        with begun(kit, replace(right, total_bytes=size)) as upload:
            upload.write(0, content[:1], None, 0)
            upload.sync(kit.clock.now_us())
    assert bring(kit, name, content).state == "ready"
    assert kit.fs.listdir(SNAPSHOTS_DIR) == [name]


def test_what_is_published_while_another_begins_is_what_he_gets(
    kit: SnapshotKit, file: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = file
    request = request_of(name, content)
    first = begun(kit, request)
    send(kit, first, content, 500)
    take = Upload.take_from_former

    def too_late(upload: Upload) -> None:
        if upload is not first:
            kit.engine.snapshots.uploads.publish(first)
        take(upload)

    monkeypatch.setattr(Upload, "take_from_former", too_late)
    with first:
        # It was not there when he looked, and is by the time it is his.
        found = kit.engine.snapshots.uploads.begin(request)
    assert isinstance(found, SnapshotInfo)
    assert kit.fs.listdir(SNAPSHOTS_DIR) == [name]


def test_who_loses_an_upload_while_he_proves_it_stops(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    with begun(kit, request_of(name, content)) as first:
        send(kit, first, content, 500)
        second: list[Upload] = []

        def come_again() -> None:
            if not second:
                second.append(begun(kit, request_of(name, content)))

        with pytest.raises(Aborted, match="another connection"):
            kit.engine.snapshots.uploads.publish(first, come_again)
        with second[0]:
            assert second[0].complete
            assert kit.engine.snapshots.uploads.publish(second[0]).state == "ready"


def test_rivals_in_a_row_leave_one_winner(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    rivals = [begun(kit, request_of(name, content)) for _ in range(4)]
    for loser in rivals[:-1]:
        with pytest.raises(Aborted), loser:
            loser.write(0, content[:1], None, 0)
    with rivals[-1] as winner:
        send(kit, winner, content, 500)
        assert kit.engine.snapshots.uploads.publish(winner).state == "ready"
    assert kit.engine.snapshots.uploads._open == {}


def test_a_disk_that_does_not_answer_holds_up_nobody_else(
    kit: SnapshotKit, file: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = file
    stuck, answers = threading.Event(), threading.Event()
    with begun(kit, request_of(name, content, BACKUPS)) as slow:
        write = slow._file.pwrite

        def hang(*written: object) -> int:
            stuck.set()
            answers.wait(60)
            return write(*written)  # type: ignore[arg-type]

        monkeypatch.setattr(slow._file, "pwrite", hang)

        def send_until_it_is_lost() -> None:
            with suppress(Aborted):
                send(kit, slow, content, 1 << 20)

        writer = threading.Thread(target=send_until_it_is_lost)
        writer.start()
        try:
            assert stuck.wait(60)
            other = threading.Thread(target=bring, args=(kit, name, content), daemon=True)
            other.start()
            other.join(20)
            assert not other.is_alive()
            assert kit.fs.exists(f"{SNAPSHOTS_DIR}/{name}")
            # Whoever takes the stuck one waits for what is being written.
            rival = threading.Thread(target=lambda: begun(kit, request_of(name, content, BACKUPS)).__exit__())
            rival.start()
            until(lambda: kit.engine.snapshots.uploads._open.get(slow.key) is not slow)
            slow.check_held()
        finally:
            answers.set()
            writer.join()
        rival.join()
        with pytest.raises(Aborted):
            slow.check_held()
    assert kit.engine.snapshots.uploads._open == {}


# Disks and damage -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_a_sync_that_failed_is_not_tried_again(
    kit: SnapshotKit, file: tuple[str, bytes], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_upload, "SYNC_BYTES", 1000)
    name, content = file
    with begun(kit, request_of(name, content)) as upload:
        upload.write(0, content[:1000], None, kit.clock.now_us())
        kit.fs.fail_on("sync", "*.upload")
        with pytest.raises(FailedPrecondition):
            upload.write(1000, content[1000:2000], None, kit.clock.now_us())
        # As the stream ends, what has come is kept: but not what a sync has lost.
        upload.sync(kit.clock.now_us())
        assert upload.committed_bytes == 1000
    after = SnapshotKit(kit.fs.crash(random.Random(seed)), seed=12)
    info = bring(after, name, content, piece=500)
    assert after.fs.crash(random.Random(seed)).read(info.path) == content


def test_the_daemon_starts_where_what_is_old_cannot_be_removed(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    begun(kit, request_of(name, content, BACKUPS)).__exit__()
    kit.clock.advance_us(LIFE_US + 1_000_000)
    kit.fs.fail_on("unlink", f"{BACKUPS}/*", errno.EROFS, forever=True)
    kit.reopen()
    assert bring(kit, name, content).state == "ready"
    assert len(parts(kit, BACKUPS)) == 1
    kit.fs.heal()
    kit.engine.snapshots.uploads.forget_old()
    assert parts(kit, BACKUPS) == []


def test_what_is_old_goes_while_the_daemon_runs(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    begun(kit, request_of(name, content)).__exit__()
    with begun(kit, request_of(name, content, BACKUPS)):
        kit.clock.advance_us(LIFE_US + 1_000_000)
        expiry = UploadExpiry(kit.engine.snapshots.uploads, every_seconds=0.01)
        thread = threading.Thread(target=expiry.run)
        thread.start()
        until(lambda: not parts(kit))
        # Somebody has this one open.
        assert len(parts(kit, BACKUPS)) == 1
        expiry.stop()
        thread.join()


def test_a_daemon_removes_what_is_old_by_itself(
    kit: SnapshotKit, file: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = threading.Event()
    monkeypatch.setattr(kit.engine._upload_expiry, "_every_seconds", 0.01)
    monkeypatch.setattr(kit.engine.snapshots.uploads, "forget_old", removed.set)
    kit.engine.start()
    try:
        assert removed.wait(60)
    finally:
        kit.engine.stop()
    assert not any(thread.name == "uploads" for thread in kit.engine._threads if thread.is_alive())


def test_a_disk_that_does_not_answer_while_old_ones_are_removed_holds_up_nobody_else(
    kit: SnapshotKit, file: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = file
    begun(kit, request_of(name, content, BACKUPS)).__exit__()
    kit.clock.advance_us(LIFE_US + 1_000_000)
    stuck, answers = threading.Event(), threading.Event()
    unlink = kit.fs.unlink

    def hang(path: str) -> None:
        if path.startswith(BACKUPS):
            stuck.set()
            answers.wait(60)
        unlink(path)

    monkeypatch.setattr(kit.fs, "unlink", hang)
    remover = threading.Thread(target=kit.engine.snapshots.uploads.forget_old)
    remover.start()
    try:
        assert stuck.wait(60)
        other = threading.Thread(target=bring, args=(kit, name, content), daemon=True)
        other.start()
        other.join(20)
        assert not other.is_alive()
    finally:
        answers.set()
        remover.join()
    assert (parts(kit, BACKUPS), kit.fs.exists(f"{SNAPSHOTS_DIR}/{name}")) == ([], True)
    assert kit.engine.snapshots.uploads._open == {}


def test_what_a_newer_daemon_wrote_is_not_kept(
    kit: SnapshotKit, file: tuple[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, content = file

    def newer(*_: object) -> None:
        raise UnsupportedFormat("format version 9")

    monkeypatch.setattr(snapshot_upload, "ArchiveReader", newer)
    with pytest.raises(UnsupportedFormat):
        bring(kit, name, content)
    with begun(kit, request_of(name, content)) as upload:
        send(kit, upload, content[:-1] + b"x", 500)
        with pytest.raises(Corruption, match="SHA-256 that the upload began with"):
            kit.engine.snapshots.uploads.publish(upload)
    assert kit.fs.listdir(SNAPSHOTS_DIR) == []


def test_the_very_file_is_no_success_where_it_is_damaged(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 1
    kit.put(f"{SNAPSHOTS_DIR}/{name}", bytes(damaged))
    with pytest.raises(Corruption):
        kit.engine.snapshots.uploads.begin(request_of(name, bytes(damaged)))


def test_digits_of_other_alphabets_make_no_name(kit: SnapshotKit) -> None:
    with pytest.raises(InvalidArgument, match="no name of a snapshot"):
        kit.engine.snapshots.uploads.begin(request_of("snap-٢٠٢٦-01-20-103045.snap", b"x"))


# A daemon that stops --------------------------------------------------------------------------------------------------


def stop() -> None:
    raise Unavailable("the daemon is stopping", reason="STOPPING")


def test_a_daemon_that_stops_reads_no_file_to_its_end(kit: SnapshotKit, file: tuple[str, bytes]) -> None:
    name, content = file
    with begun(kit, request_of(name, content)) as upload:
        send(kit, upload, content, 500)
        with pytest.raises(Unavailable):
            kit.engine.snapshots.uploads.publish(upload, stop)
    kit.reopen()
    with begun(kit, request_of(name, content)) as upload:
        assert upload.complete
        kit.engine.snapshots.uploads.publish(upload)
    for asked in (request_of(name, content), request_of(name, b"x" * len(content))):
        with pytest.raises(Unavailable):
            kit.engine.snapshots.uploads.begin(asked, stop)
