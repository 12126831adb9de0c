"""Deleting what increments build on: they stand alone afterwards, and hold what they held."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.engine import snapshot_rewrite
from holdfastd.engine.meter import Meter
from holdfastd.engine.operations import Work
from holdfastd.engine.snapshot_chain import ChainFinder
from holdfastd.engine.snapshot_context import SnapshotContext
from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.engine.snapshot_rewrite import Rewriter, Rewriting
from holdfastd.engine.snapshot_rows import take
from holdfastd.engine.snapshot_write import write_archive
from holdfastd.errors import Corruption, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from holdfastd.model import StorageKind
from holdfastd.storage.archive_reader import ArchiveReader
from holdfastd.storage.registry import PendingSnapshot, SnapshotRecord
from tests.support.chains import HOURLY, chained, filled, info, restored, untouched
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.snapshot_sweeps import assert_tidy
from tests.support.snapshots import SNAPSHOTS_DIR, Archive, SnapshotKit, raise_failure


@pytest.fixture
def kit() -> SnapshotKit:
    return filled()


# What comes of it -----------------------------------------------------------------------------------------------------


def test_what_was_written_and_read_back_is_verified_until_somebody_writes_to_it(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    kit.consolidate(full.id)
    found = info(kit, one)
    assert found.standing is not None
    assert [(each.level, each.source) for each in found.record.receipts] == [(2, "consolidate")]
    data = kit.fs.read(one.path)
    at = data.index(b"README.txt")
    kit.put(one.path, data[:at] + b"READMF" + data[at + 6 :])
    assert info(kit, one).standing is None


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gz"])
def test_what_built_on_it_stands_alone_and_holds_what_it_held(kit: SnapshotKit, compress: bool) -> None:
    full, one, two = chained(kit, compress=compress)
    held = {each.id: restored(kit, each) for each in (one, two)}
    digests = [member.digest for member in one.record.members]
    result = kit.consolidate(full.id)
    assert (result["snapshot_id"], result["status"]) == (full.id, "completed")
    (rewritten,) = result["rewritten"]
    assert (rewritten["snapshot_id"], rewritten["path"]) == (one.id, one.path)
    assert rewritten["chain"] == [full.id, one.id]
    assert not kit.fs.exists(full.path)
    assert kit.ids() == [two.id, one.id]
    now = info(kit, one)
    assert (now.record.type, now.state, now.record.base_id, now.dependents) == ("full", "ready", "", (two.id,))
    assert (now.path, now.record.created_us, now.record.compressed) == (one.path, one.record.created_us, compress)
    assert [member.digest for member in now.record.members] == digests
    assert rewritten["size_bytes"] == now.record.size_bytes == kit.fs.size(one.path)
    assert result["freed_bytes"] == full.exclusive_bytes + one.exclusive_bytes
    for _ in range(2):
        assert {each.id: restored(kit, each) for each in (one, two)} == held
        assert kit.verify(two.id)["chain"] == [one.id, two.id]
        assert_tidy(kit)
        kit.reopen()


def test_the_links_behind_name_it_by_what_it_was(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    before = kit.fs.read(two.path)
    sums = one.record.sha256
    kit.consolidate(full.id)
    assert kit.fs.read(two.path) == before
    archive = ArchiveReader(kit.fs, one.path)
    assert (archive.manifest.stands_for, archive.manifest.base) == (sums, None)
    kit.upsert(["later"], 9)
    three = kit.later(incremental=True, base_id=one.id)
    assert three.record.base_id == one.id, "a new link names it by what it is"
    assert info(kit, one).dependents == (two.id, three.id)
    held = restored(kit, three)
    kit.consolidate(one.id)
    assert [info(kit, each).record.type for each in (two, three)] == ["full", "full"]
    assert restored(kit, three) == held
    assert kit.ids() == [three.id, two.id]


def test_a_link_in_the_middle_goes_and_the_full_one_stays(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    held = restored(kit, two)
    result = kit.consolidate(one.id)
    assert [each["snapshot_id"] for each in result["rewritten"]] == [two.id]
    assert result["rewritten"][0]["chain"] == [full.id, one.id, two.id]
    assert (kit.ids(), info(kit, full).dependents) == ([two.id, full.id], ())
    assert restored(kit, two) == held


def test_it_is_worth_a_warning_where_more_is_taken_than_freed(kit: SnapshotKit) -> None:
    kit.upsert([f"row {n}" for n in range(3000)])
    full = kit.later()
    kit.upsert(["one"], 1)
    one = kit.later(incremental=True)
    kit.upsert(["two"], 2)
    kit.later(incremental=True)
    planned = kit.consolidate(one.id, validate_only=True)
    assert "bytes more than those that go" in planned["warnings"][0]
    assert kit.consolidate(one.id)["warnings"] != []
    assert full.id in kit.ids()


def test_one_that_nobody_needs_is_just_deleted(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    full, one, two = chained(kit)
    monkeypatch.setattr(SnapshotContext, "check_space", no_room)
    result = kit.consolidate(two.id)
    assert (result["rewritten"], result["written_bytes"], result["freed_bytes"]) == ([], 0, two.exclusive_bytes)
    assert kit.ids() == [one.id, full.id]


def no_room(*arguments: object) -> None:
    raise AssertionError("what is only deleted takes no room")


def test_whatever_the_chain_has_seen(kit: SnapshotKit) -> None:
    """Aliases that moved, collections dropped and made again, one restored since, one in memory, empty ones."""
    collections = kit.engine.collections
    kit.create("m", storage=StorageKind.MEMORY)
    kit.create("gone")
    kit.create("empty")
    kit.upsert(["x"], 1, name="m")
    kit.upsert(["y"], 1, name="gone")
    collections.create_alias("alias", "gone", caller=CALLER)
    full = kit.later()
    collections.switch_alias("alias", "c", caller=CALLER)
    collections.drop("gone", caller=CALLER)
    kit.create("gone", dimensions=3)
    kit.upsert(["z"], 7, name="gone")
    kit.engine.checkpoint()
    kit.restore(full.id, collection="again", from_collection="c")
    kit.upsert(["c"], 30)
    one = kit.later(incremental=True, compress=True)
    kit.engine.points.truncate("gone", caller=CALLER)
    kit.upsert(["w"], 8, name="m")
    kit.create("new")
    two = kit.later(incremental=True)
    expected = {}
    for each in (one, two):
        kit.restore(each.id, overwrite=True)
        expected[each.id] = observe(kit.engine)
    kit.consolidate(full.id)
    kit.consolidate(one.id)
    assert info(kit, two).record.type == "full"
    kit.restore(two.id, overwrite=True)
    assert observe(kit.engine) == expected[two.id]


def test_an_increment_whose_base_it_did_not_need_stands_alone_without_that(kit: SnapshotKit) -> None:
    full = kit.later()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create("d")
    kit.upsert(["x"], 1, name="d")
    whole = kit.later(incremental=True)
    kit.fs.unlink(full.path)
    result = kit.consolidate(full.id)
    assert [each["snapshot_id"] for each in result["rewritten"]] == [whole.id]
    assert (kit.ids(), info(kit, whole).record.type) == ([whole.id], "full")


def off_site(kit: SnapshotKit, *links: SnapshotInfo) -> SnapshotKit:
    """Another store that knows copies of these archives, in /mnt."""
    other = SnapshotKit(seed=99)
    for each in links:
        other.put(f"/mnt/{each.path.rpartition('/')[2]}", kit.fs.read(each.path))
    other.engine.snapshots.list("/mnt")
    return other


def test_a_chain_of_another_store_is_consolidated_like_any_other(kit: SnapshotKit) -> None:
    full, one, two = chained(kit, path="/backups")
    held = restored(kit, two)
    other = off_site(kit, full, one, two)
    other.consolidate(full.id)
    assert (info(other, one).record.type, info(other, one).foreign) == ("full", True)
    assert restored(other, two) == held
    kit.put(one.path, other.fs.read(f"/mnt/{one.path.rpartition('/')[2]}"))
    kit.fs.unlink(full.path)
    kit.fs.unlink("/data/REGISTRY.json")
    kit.reopen()
    kit.engine.snapshots.list("/backups")
    kit.engine.snapshots.list(HOURLY)
    assert restored(kit, two) == held, "the one that was rewritten elsewhere is a link here, too"


def test_a_copy_that_is_brought_up_to_date_is_known_for_what_it_is(kit: SnapshotKit) -> None:
    """An off-site store knows the chain as it was; then the new file is copied over the old one."""
    full, one, two = chained(kit, path="/backups")
    held = restored(kit, two)
    other = off_site(kit, full, one, two)
    kit.consolidate(full.id)
    place = f"/mnt/{one.path.rpartition('/')[2]}"
    other.put(place, kit.fs.read(one.path))
    other.engine.snapshots.list("/mnt")
    now = info(other, one)
    assert (now.path, now.state, now.record.type, now.dependents) == (place, "ready", "full", (two.id,))
    assert info(other, full).dependents == ()
    other.engine.snapshots.delete(full.id)
    assert restored(other, two) == held


@pytest.mark.parametrize("by_path", [False, True], ids=["by its id", "by its path"])
def test_what_another_daemon_consolidates_in_a_directory_that_both_know_is_not_damaged(
    kit: SnapshotKit, by_path: bool
) -> None:
    full, one, two = chained(kit, path="/backups")
    held = restored(kit, two)
    other = off_site(kit, full, one, two)
    kit.consolidate(full.id)
    place = other.put(f"/mnt/{one.path.rpartition('/')[2]}", kit.fs.read(one.path))
    other.fs.unlink(f"/mnt/{full.path.rpartition('/')[2]}")
    now = other.engine.snapshots.get(place if by_path else one.id)
    assert (now.path, now.state, now.record.type) == (place, "ready", "full")
    assert restored(other, two) == held


def test_what_is_a_full_one_already_is_not_made_one_again(kit: SnapshotKit) -> None:
    """Another daemon did it, and by chance its file has the size that it had: links behind name it by what it was."""
    full, one, two = chained(kit, path="/backups")
    held = restored(kit, two)
    other = off_site(kit, full, one, two)
    kit.consolidate(full.id)
    place = other.put(f"/mnt/{one.path.rpartition('/')[2]}", kit.fs.read(one.path))
    known = replace(one.record, path=place, size_bytes=other.fs.size(place))
    other.engine.snapshots._catalog.put(known)
    assert info(other, full).dependents == (one.id,)
    with pytest.raises(FailedPrecondition, match="is a full snapshot by now"):
        rewritten_blindly(other, known)
    assert other.consolidate(full.id)["rewritten"] == []
    assert other.fs.read(place) == kit.fs.read(one.path)
    assert restored(other, two) == held


def rewritten_blindly(kit: SnapshotKit, record: SnapshotRecord) -> None:
    """A consolidation's work on one increment, which was one a moment ago."""
    snapshots, operations = kit.engine.snapshots, kit.engine.operations

    def run(work: Work) -> dict[str, Any]:
        each = SnapshotInfo(record, record.path, "ready")
        rewriting = Rewriting(each, ChainFinder(kit.fs, snapshots._catalog).find(each))
        return {
            "record": Rewriter(snapshots._context, rewriting, Meter(work)).write(PendingSnapshot(each.id, each.path))
        }

    raise_failure(operations.wait(operations.start("consolidate", run, request={}).id))


def test_another_full_one_in_its_place_is_not_believed(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    twin = filled()
    chained(twin)
    twin.consolidate(full.id)
    archive = Archive.of(twin.fs.read(one.path))
    archive.set_manifest(lambda manifest: replace(manifest, stands_for="ab" * 32))
    kit.put(one.path, archive.tar())
    kit.engine.snapshots.list()
    assert (info(kit, one).state, info(kit, one).record.type) == ("damaged", "incremental")


def test_what_it_was_elsewhere_is_a_link_as_well(kit: SnapshotKit) -> None:
    """An older copy of both files, from before, is as good as ever; it is told apart from what took its place."""
    full, one, two = chained(kit)
    copies = {path: kit.fs.read(path) for path in (full.path, one.path)}
    held = restored(kit, two)
    kit.consolidate(full.id)
    kit.fs.unlink(one.path)
    for path, content in copies.items():
        kit.put(f"/old/{path.rpartition('/')[2]}", content)
    kit.engine.snapshots.list("/old")
    back = info(kit, one)
    assert (back.record.type, back.record.base_id, back.state) == ("incremental", full.id, "ready")
    assert restored(kit, two) == held


@pytest.mark.parametrize("where", ["*.part", "/data/collections/*"])
def test_a_disk_that_fills_up_half_way_is_cleared_and_told(kit: SnapshotKit, where: str) -> None:
    full, _, _ = chained(kit)
    kit.fs.fail_on("write", where, errno.ENOSPC)
    error = untouched(kit, lambda: kit.consolidate(full.id))
    assert isinstance(error, ResourceExhausted)
    assert f"{full.id} was not deleted: the disk of " in error.message
    assert "what had been written was removed" in error.message
    assert "no snapshot was touched" in error.hint
    kit.fs.heal()
    kit.consolidate(full.id)


def test_a_disk_that_fills_up_while_files_are_replaced_is_told_so(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    held = restored(kit, two)
    renaming = kit.fs.rename

    def rename(source: str, target: str) -> None:
        renaming(source, target)
        if target == one.path:
            kit.fs.fail_on("write", "*REGISTRY*", errno.ENOSPC, forever=True)

    kit.fs.rename = rename  # type: ignore[method-assign]
    with pytest.raises(ResourceExhausted) as caught:
        kit.consolidate(full.id)
    assert f"{full.id} was not deleted, and what builds on it may stand alone by now" in caught.value.message
    assert "no snapshot was touched" not in caught.value.hint
    assert "send the command again" in caught.value.hint
    kit.fs.heal()
    assert kit.consolidate(full.id)["rewritten"] == []
    assert restored(kit, two) == held
    assert_tidy(kit)


def test_what_was_recompressed_by_hand_stays_readable(kit: SnapshotKit) -> None:
    full, one, two = chained(kit, compress=True)
    plain = one.path.replace(".gz", ".snap")
    kit.put(plain, Archive.of(kit.fs.read(one.path)).tar(seal=False))
    kit.fs.unlink(one.path)
    held = restored(kit, two)
    kit.consolidate(full.id)
    now = info(kit, one)
    assert (now.path, now.record.compressed, now.record.type) == (plain, False, "full")
    assert restored(kit, two) == held


# What is said beforehand ----------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_it_would_take_and_touches_nothing(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    kit.engine.snapshots.list()
    before = kit.fs.ops
    planned = kit.consolidate(full.id, validate_only=True)
    assert kit.fs.ops == before
    assert planned["status"] == "planned"
    done = kit.consolidate(full.id)
    assert [each["snapshot_id"] for each in planned["rewritten"]] == [one.id]
    assert planned["freed_bytes"] == done["freed_bytes"]
    assert done["written_bytes"] <= planned["written_bytes"] <= 8 * done["written_bytes"]


@pytest.mark.parametrize("reference", ["latest", "snap-2001-01-01-000000", "/nowhere/x.snap"])
def test_what_cannot_be_meant_is_refused(kit: SnapshotKit, reference: str) -> None:
    chained(kit)
    with pytest.raises((InvalidArgument, NotFound)):
        kit.consolidate(reference)
    assert len(kit.ids()) == 3


@pytest.mark.parametrize("damaged", [0, 1])
@pytest.mark.parametrize("verified", [False, True])
def test_a_damaged_link_is_named_and_nothing_is_touched(kit: SnapshotKit, damaged: int, verified: bool) -> None:
    snapshots = chained(kit)
    path = snapshots[damaged].path
    kit.fs.damage(path, kit.fs.size(path) // 2, b"#" * 600)
    if verified:
        kit.verify(path)
    begun, at_once = len(kit.engine.operations.list()), verified and damaged == 1
    error = untouched(kit, lambda: kit.consolidate(snapshots[0].id))
    assert isinstance(error, Corruption)
    assert path in error.message
    assert error.hint
    assert at_once or f"{snapshots[0].id} was not deleted, and no file was changed" in error.message
    assert (len(kit.engine.operations.list()) == begun) == at_once, "what is known is told before anything is begun"


@pytest.mark.parametrize("gone", [0, 1])
def test_a_missing_link_is_named_and_nothing_is_touched(kit: SnapshotKit, gone: int) -> None:
    snapshots = chained(kit)
    kit.fs.unlink(snapshots[gone].path)
    error = untouched(kit, lambda: kit.consolidate(snapshots[0].id))
    assert isinstance(error, FailedPrecondition)
    assert snapshots[gone].id in error.message
    assert error.hint
    assert "--base-path" not in error.hint, "this command has none"


def test_a_link_elsewhere_is_found_once_its_directory_was_looked_into(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    kit.put(f"/elsewhere/{full.path.rpartition('/')[2]}", kit.fs.read(full.path))
    kit.fs.unlink(full.path)
    error = untouched(kit, lambda: kit.consolidate(full.id))
    assert error.hint.endswith("let the daemon look there: holdfast storage snapshot list --path DIR")
    kit.engine.snapshots.list("/elsewhere")
    assert [each["snapshot_id"] for each in kit.consolidate(full.id)["rewritten"]] == [one.id]
    assert kit.fs.listdir("/elsewhere") == []


def test_of_several_none_is_touched_where_one_is_damaged(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    kit.upsert(["x"], 1)
    other = kit.later(incremental=True, base_id=full.id)
    assert info(kit, full).dependents == (one.id, other.id)
    held = restored(kit, other)
    content = kit.fs.read(other.path)
    kit.fs.damage(other.path, len(content) // 2, b"#" * 600)
    assert isinstance(untouched(kit, lambda: kit.consolidate(full.id)), Corruption)
    kit.put(other.path, content)
    assert kit.verify(other.id)["valid"]
    assert [each["snapshot_id"] for each in kit.consolidate(full.id)["rewritten"]] == [one.id, other.id]
    assert restored(kit, other) == held


def test_what_the_disk_made_of_it_is_read_before_anything_is_replaced(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, one, _ = chained(kit)

    def forgetful(context: Any, plan: Any, path: str, *arguments: Any, **more: Any) -> Any:
        written = write_archive(context, plan, path, *arguments, **more)
        kit.fs.damage(path, kit.fs.size(path) // 2, b"#")
        return written

    monkeypatch.setattr(snapshot_rewrite, "write_archive", forgetful)
    error = untouched(kit, lambda: kit.consolidate(full.id))
    assert isinstance(error, Corruption)
    assert f"{one.path}.part" in error.message
    assert [each.state for each in kit.engine.snapshots.list()] == ["ready"] * 3


def test_what_does_not_hold_what_it_should_is_never_published(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, _, _ = chained(kit)
    monkeypatch.setattr(snapshot_rewrite, "take", lambda *arguments, **more: take(*arguments, **more)[1:])
    error = untouched(kit, lambda: kit.consolidate(full.id))
    assert isinstance(error, Corruption)
    assert error.reason == "DIGEST_MISMATCH"


def test_one_that_stands_for_another_is_no_link(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    kit.consolidate(full.id)
    archive = Archive.of(kit.fs.read(one.path))
    archive.set_manifest(lambda manifest: replace(manifest, stands_for="ab" * 32))
    kit.put(one.path, archive.tar())
    with pytest.raises(FailedPrecondition) as caught:
        kit.restore(two.id, collection="copy")
    assert caught.value.reason == "SNAPSHOT_LINK_FOREIGN"


def test_a_copy_that_needs_it_is_named(kit: SnapshotKit) -> None:
    """It lies beside what is to be deleted, and the id stands for the one elsewhere."""
    full, one, _ = chained(kit)
    copy = f"{SNAPSHOTS_DIR}/{one.path.rpartition('/')[2]}"
    moved = kit.put(f"/elsewhere/{one.path.rpartition('/')[2]}", kit.fs.read(one.path))
    kit.fs.unlink(copy)
    kit.engine.snapshots.list("/elsewhere")
    kit.put(copy, kit.fs.read(moved))
    error = untouched(kit, lambda: kit.consolidate(full.id))
    assert isinstance(error, FailedPrecondition)
    assert copy in error.message
    kit.fs.unlink(copy)
    kit.consolidate(full.id)
    kit.put(copy, b"")


def test_room_is_asked_for_before_anything_is_written(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    full, _, _ = chained(kit)
    need = kit.consolidate(full.id, validate_only=True)["written_bytes"]
    monkeypatch.setattr(kit.fs, "free_bytes", lambda path: need)
    for dry in (False, True):
        error = untouched(kit, lambda dry=dry: kit.consolidate(full.id, validate_only=dry))
        assert isinstance(error, ResourceExhausted)
        assert "no snapshot was touched" in error.hint
    monkeypatch.setattr(kit.fs, "free_bytes", lambda path: 4 * need)
    kit.consolidate(full.id)
