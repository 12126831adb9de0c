"""Power cuts at every file operation of an upload: the snapshot is there and whole, or what is synced waits for it."""

from __future__ import annotations

import pytest

from holdfastd.engine import open_upload
from holdfastd.storage.names import Layout
from holdfastd.storage.uploads import UploadList
from tests.support.engines import ROOT
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import BACKUPS, IDS, Recorder, Sweep, assert_goes_on, assert_tidy, prepared
from tests.support.snapshots import SNAPSHOTS_DIR, SnapshotKit
from tests.support.transfers import bring, read_file

pytestmark = [pytest.mark.crash, pytest.mark.timeout(900)]


@pytest.mark.parametrize("directory", [None, BACKUPS], ids=["default directory", "elsewhere"])
def test_a_power_cut_while_a_snapshot_is_brought_here(
    directory: str | None, record_property: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_upload, "SYNC_BYTES", 4000)
    source = SnapshotKit(seed=99)
    source.create("other")
    source.clock.advance_us(3_600_000_000)
    source.upsert(["s", "t"], 1, 2, name="other")
    source.snapshot()
    name, content = read_file(source, "latest")
    place = directory or SNAPSHOTS_DIR

    def action(kit: SnapshotKit) -> dict[str, object]:
        return {"path": bring(kit, name, content, directory, piece=1500).path}

    sweep = Sweep(prepared(), action)
    assert sweep.before == sweep.after
    outcomes = [0, 0, 0]

    def check(kit: SnapshotKit, done: bool) -> None:
        assert observe(kit.engine, IDS) == sweep.before
        files = kit.fs.listdir(place) if kit.fs.exists(place) else []
        waiting = [each for each in files if each.endswith(".upload")]
        published = name in files
        assert len(waiting) + published <= 1
        assert published or not done
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
