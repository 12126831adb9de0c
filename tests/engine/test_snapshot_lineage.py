"""What a snapshot builds on and what builds on it, told without opening more archives than it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.engine.snapshot_lineage import Lineage
from holdfastd.errors import FailedPrecondition, InvalidArgument
from holdfastd.model import StorageKind
from holdfastd.storage.registry import SnapshotRecord
from tests.support.engines import CALLER
from tests.support.snapshots import Archive, SnapshotKit, two_points


@pytest.fixture
def kit() -> SnapshotKit:
    return two_points()


def increment(kit: SnapshotKit, directory: str) -> SnapshotInfo:
    """An increment with one more vector."""
    kit.upsert([f"in {directory}"], 3)
    return kit.later(path=directory, incremental=True)


def state(kit: SnapshotKit, snapshot: SnapshotInfo) -> str:
    return kit.engine.snapshots.get(snapshot.id).state


def chain(kit: SnapshotKit, snapshot: SnapshotInfo) -> list[tuple[str, str]]:
    """The links below a snapshot: their paths and states."""
    info = kit.engine.snapshots.get(snapshot.path)
    return [(link.path, link.state) for link in kit.engine.snapshots.chain(info)]


def test_a_chain_is_told_base_first_with_what_each_file_takes(kit: SnapshotKit) -> None:
    full = kit.later(path="/daily")
    one, two = increment(kit, "/hourly"), increment(kit, "/hourly")
    assert chain(kit, full) == []
    assert chain(kit, two) == [(full.path, "ready"), (one.path, "ready")]
    bottom, middle, top = (kit.engine.snapshots.get(each.id) for each in (full, one, two))
    assert (bottom.dependents, middle.dependents, top.dependents) == ((one.id,), (two.id,), ())
    assert (top.record.base_sequence, middle.record.base_sequence) == (one.record.sequence, full.record.sequence)
    for each in (bottom, middle, top):
        assert each.exclusive_bytes == kit.fs.size(each.path) > 0
    assert (bottom.freeable_bytes, middle.freeable_bytes, top.freeable_bytes) == (0, 0, top.exclusive_bytes)
    kit.fs.unlink(top.path)
    gone = kit.engine.snapshots.get(two.id)
    assert (gone.state, gone.exclusive_bytes, gone.freeable_bytes) == ("missing", 0, 0)


def test_a_missing_link_is_told_of_all_that_build_on_it(kit: SnapshotKit) -> None:
    full = kit.later(path="/daily")
    one, two = increment(kit, "/hourly"), increment(kit, "/elsewhere")
    other = kit.later()
    content = kit.fs.read(full.path)
    kit.fs.unlink(full.path)
    assert [(each.id, each.state) for each in kit.engine.snapshots.list()] == [
        (other.id, "ready"),
        (two.id, "base_missing"),
        (one.id, "base_missing"),
        (full.id, "missing"),
    ]
    assert chain(kit, two) == [(full.path, "missing"), (one.path, "base_missing")]
    assert kit.engine.snapshots.get(two.id).problem == f"it builds on {full.id}, which is missing"
    with pytest.raises(FailedPrecondition) as caught:
        kit.restore(two.id, collection="copy")
    assert caught.value.reason == "SNAPSHOT_LINK_MISSING"
    kit.put(f"/hourly/{full.id}.snap", content)
    assert (state(kit, one), state(kit, two)) == ("ready", "ready"), "it lies beside the first increment now"
    assert chain(kit, two) == [(f"/hourly/{full.id}.snap", "ready"), (one.path, "ready")]
    kit.restore(two.id, collection="copy")


def test_what_nobody_knows_is_found_where_it_was_and_read_only_to_be_shown(kit: SnapshotKit) -> None:
    full = kit.later(path="/daily")
    one, two = increment(kit, "/hourly"), increment(kit, "/hourly")
    kit.fs.unlink("/data/REGISTRY.json")
    kit.reopen()
    kit.engine.snapshots.list("/hourly")
    opened: list[str] = []
    reading = kit.fs.read

    def read(path: str, *arguments: Any) -> bytes:
        opened.append(path)
        return reading(path, *arguments)

    kit.fs.read = read  # type: ignore[method-assign]
    assert [each.state for each in kit.engine.snapshots.list()] == ["ready", "ready"]
    assert [path for path in opened if path.endswith(".snap")] == [], "a list opens no archive that it knows"
    assert chain(kit, two) == [(full.path, "ready"), (one.path, "ready")]
    kit.fs.unlink(full.path)
    assert [each.state for each in kit.engine.snapshots.list()] == ["base_missing", "base_missing"]
    (missing, _) = kit.engine.snapshots.chain(kit.engine.snapshots.get(two.id))
    said = missing.record
    assert (said.id, said.sequence, missing.path) == (full.id, full.record.sequence, full.path)
    assert (missing.state, missing.exclusive_bytes, missing.collections) == ("missing", 0, ())


def test_an_increment_that_is_whole_needs_nothing(kit: SnapshotKit) -> None:
    """All that is left of the base's collections was made since."""
    full = kit.later()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("d")
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["x"], 1, name="d")
    whole = kit.later(incremental=True)
    assert whole.record.base_id == full.id
    kit.fs.unlink(full.path)
    assert state(kit, whole) == "ready"
    assert chain(kit, whole) == []
    kit.restore(whole.id, overwrite=True)


def test_no_increment_is_made_on_a_broken_chain(kit: SnapshotKit) -> None:
    full = kit.later(path="/daily")
    broken, whole = increment(kit, "/hourly"), kit.later(path="/weekly")
    kit.upsert(["later"], 4)
    newest = kit.later(path="/hourly", incremental=True, base_id=broken.id)
    kit.fs.unlink(full.path)
    made = kit.later(incremental=True)
    assert made.record.base_id == whole.id, f"{newest.id} is newer, and cannot be restored"
    with pytest.raises(InvalidArgument, match=f"{broken.id} cannot be the base .*: it builds on {full.id}"):
        kit.later(incremental=True, base_id=broken.id)


def test_snapshots_that_claim_to_build_on_each_other_are_shown_as_they_are(kit: SnapshotKit) -> None:
    """No daemon writes such files; nobody hangs because of them."""
    kit.later()
    one = kit.later(incremental=True, path="/hourly")
    two = kit.later(incremental=True, path="/hourly")
    archive = Archive.of(kit.fs.read(one.path))
    base = archive.manifest.base
    assert base is not None
    turned = replace(base, id=two.id, sequence=two.record.sequence, path=two.path)
    archive.set_manifest(lambda manifest: replace(manifest, base=turned))
    kit.put(one.path, archive.tar())
    kit.fs.unlink("/data/REGISTRY.json")
    kit.reopen()
    kit.engine.snapshots.list("/hourly")
    assert [path for path, _ in chain(kit, two)][-1] == one.path
    assert state(kit, one) == state(kit, two) == "ready"


def test_the_work_of_a_list_grows_with_its_length_alone(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each link of a chain asks for those below it; twice as many links are not four times the work."""
    known_base = Lineage._known_base
    asked: list[str] = []

    def counted(self: Lineage, record: SnapshotRecord) -> SnapshotRecord | None:
        asked.append(record.id)
        return known_base(self, record)

    monkeypatch.setattr(Lineage, "_known_base", counted)
    work = []
    last = kit.later()
    for _ in range(2):
        for _ in range(12):
            last = increment(kit, "/hourly")
        asked.clear()
        assert {info.state for info in kit.engine.snapshots.list()} == {"ready"}
        assert len(kit.engine.snapshots.chain(last)) == len(kit.ids()) - 1
        work.append(len(asked))
    assert work[1] < 3 * work[0]


# What `latest` says of a chain that lacks a link ----------------------------------------------------------------------


def test_where_the_newest_lacks_a_link_it_is_said_how_its_moment_comes_back_before_an_older_one_is(
    kit: SnapshotKit,
) -> None:
    older = kit.later()
    full = kit.later(path="/daily")
    one = increment(kit, "/hourly")
    of_c = kit.later(collection="c", path="/hourly", incremental=True)
    kit.fs.unlink(full.path)
    hints = []
    for newest in (of_c, one):
        with pytest.raises(FailedPrecondition, match=f"{newest.id}, is incomplete: it builds on {full.id}") as caught:
            kit.engine.snapshots.get("latest")
        hints.append(str(caught.value.hint).split("; "))
        kit.engine.snapshots.delete(newest.id)
    to = one.record.sequence
    assert "`holdfast storage snapshot list --path DIR|URL`" in hints[0][0]
    assert hints[0][1].endswith(f"`holdfast storage snapshot restore latest --to {to} --from-collection c`")
    assert hints[1][1].endswith(f"`holdfast storage snapshot restore latest --to {to}`")
    assert f"`holdfast storage snapshot restore {older.id}`" in hints[1][2]


def test_latest_with_the_directory_of_its_links_is_the_newest_that_they_make_whole(kit: SnapshotKit) -> None:
    kit.later()
    full = kit.later(path="/daily")
    two = increment(kit, "/hourly")
    kit.put(f"/usb/{full.id}.snap", kit.fs.read(full.path))
    kit.fs.unlink(full.path)
    live = kit.engine.collections.stats("c").digest
    assert kit.restore("latest", collection="copy", base_path="/usb")["snapshot_id"] == two.id
    assert kit.engine.collections.stats("copy").digest == live
    assert kit.verify("latest", base_path="/usb")["valid"]
    assert kit.diff("latest", base_path="/usb", collection="c")["identical"]
    with pytest.raises(FailedPrecondition, match=f"{full.id} is missing: .*/elsewhere/{full.id}.snap"):
        kit.restore("latest", collection="another", base_path="/elsewhere")
