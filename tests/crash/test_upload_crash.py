"""Power cuts at every file operation of an upload: the snapshot is there and whole, or what is synced waits for it."""

from __future__ import annotations

import random

import pytest

from holdfastd.engine import open_upload
from holdfastd.errors import Corruption, HoldfastError
from holdfastd.storage.names import Layout
from holdfastd.storage.uploads import UploadList
from tests.support.engines import ROOT
from tests.support.left_over import files_below
from tests.support.memfs import MemFileSystem
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import BACKUPS, IDS, Action, Recorder, Sweep, assert_goes_on, assert_tidy, prepared
from tests.support.snapshots import SNAPSHOTS_DIR, SnapshotKit
from tests.support.transfers import begun, bring, read_file, request_of, send

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


def another(rows: int = 2) -> tuple[str, bytes]:
    """The name and the bytes of a snapshot of another store."""
    source = SnapshotKit(seed=99)
    source.create("other")
    source.clock.advance_us(3_600_000_000)
    source.upsert(["s", "t"][:rows], *range(1, rows + 1), name="other")
    source.snapshot()
    return read_file(source, "latest")


@pytest.mark.parametrize("directory", [None, BACKUPS], ids=["default directory", "elsewhere"])
def test_a_power_cut_while_a_snapshot_is_brought_here(
    directory: str | None, record_property: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_upload, "SYNC_BYTES", 4000)
    name, content = another()
    place = directory or SNAPSHOTS_DIR

    acknowledged: list[int] = []

    def action(kit: SnapshotKit) -> dict[str, object]:
        with begun(kit, request_of(name, content, directory)) as upload:
            send(kit, upload, content, 1500, upto=4500)
            assert upload.committed_bytes == 4500
        acknowledged.append(kit.fs.ops)
        return {"path": bring(kit, name, content, directory, piece=1500).path}

    sweep = Sweep(prepared(), action)
    assert sweep.before == sweep.after
    outcomes = [0, 0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        assert {info.state for info in kit.engine.snapshots.list()} == {"ready"}
        files = kit.fs.listdir(place) if kit.fs.exists(place) else []
        waiting = [each for each in files if each.endswith(".upload")]
        published = name in files
        assert len(waiting) + published <= 1
        assert published or not done
        assert published or waiting or sweep.cut < acknowledged[0], "what was acknowledged is lost"
        outcomes[0 if published else 1 if waiting else 2] += 1
        if published:
            assert kit.fs.read(f"{place}/{name}") == content
        elif waiting:
            noted = UploadList.load(kit.fs, Layout(ROOT)).uploads
            assert [Layout(ROOT).resolve(each.part_path(kit.engine.store_id)) for each in noted] == [
                f"{place}/{waiting[0]}"
            ]
        assert bring(kit, name, content, directory, piece=1500).state == "ready"
        assert kit.fs.read(f"{place}/{name}") == content
        kit.reopen()
        kit.engine.snapshots.listing(place)
        assert_tidy(kit)
        if sweep.now_and_then:
            assert_goes_on(kit)

    sweep.run(check, 5).report(record_property)
    assert min(outcomes) > 0


def refused(kit: SnapshotKit) -> dict[str, object]:
    """One whose last byte is wrong."""
    name, content = another()
    wrong = content[:-1] + b"X"
    with pytest.raises(Corruption):
        bring(kit, name, wrong, BACKUPS)
    return {}


def given_up(kit: SnapshotKit) -> dict[str, object]:
    """One that nobody went on with for a day."""
    name, content = another()
    with begun(kit, request_of(name, content, BACKUPS)) as upload:
        send(kit, upload, content, 1500, upto=3000)
        upload.sync(kit.clock.now_us())
    kit.clock.advance_us(25 * 3_600_000_000)
    kit.engine.snapshots.uploads.forget_old()
    return {}


@pytest.mark.parametrize("action", [refused, given_up])
def test_a_power_cut_while_an_upload_is_thrown_away(action: Action) -> None:
    sweep, seen = Sweep(prepared(), action), set()

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        assert {info.state for info in kit.engine.snapshots.list()} == {"ready"}
        waiting = [each for each in files_below(kit.fs) if each.endswith(".upload")]
        noted = UploadList.load(kit.fs, Layout(ROOT)).uploads
        assert len(waiting) == len(noted)
        assert not waiting or not done
        seen.add(len(waiting))
        kit.clock.advance_us(60 * 3_600_000_000)
        kit.engine.snapshots.uploads.forget_old()
        assert_tidy(kit)

    sweep.run(check, 6)
    assert seen == {0, 1}


def test_a_name_that_could_not_be_synced_is_synced_before_the_upload_is_called_here() -> None:
    name, content = another()
    kit = prepared()
    with begun(kit, request_of(name, content, BACKUPS)) as upload:
        send(kit, upload, content, 1500)
        kit.fs.fail_on("sync_dir", BACKUPS)
        with pytest.raises(HoldfastError):
            kit.engine.snapshots.uploads.publish(upload)
    kit.fs.heal()
    assert bring(kit, name, content, BACKUPS).state == "ready"
    after = SnapshotKit(MemFileSystem(kit.fs.crash_disk_at(kit.fs.ops, random.Random(1), "nothing")), seed=5)
    assert after.fs.read(f"{BACKUPS}/{name}") == content
    assert_tidy(after)
