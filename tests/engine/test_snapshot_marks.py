"""Pins and descriptions: said at the beginning or later, and kept whatever becomes of the file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfastd.engine.description import MAX_BYTES, is_description
from holdfastd.engine.keeping import RetentionPolicy
from holdfastd.engine.snapshots import Marks, PruneRequest, SnapshotInfo
from holdfastd.engine.tickets import Caller
from holdfastd.errors import FailedPrecondition, HoldfastError, InvalidArgument, NotFound
from holdfastd.storage.archive_reader import ArchiveReader
from tests.support.chains import chained, filled, info
from tests.support.engines import CALLER
from tests.support.snapshots import SNAPSHOTS_DIR, Archive, SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return filled()


def said(kit: SnapshotKit, snapshot: SnapshotInfo) -> tuple[bool, str]:
    record = info(kit, snapshot).record
    return record.pinned, record.description


def pin(kit: SnapshotKit, snapshot: SnapshotInfo, pinned: bool = True) -> SnapshotInfo:
    return kit.engine.snapshots.mark(snapshot.id, Marks(pinned=pinned), caller=CALLER)


def test_what_is_said_at_the_beginning_is_kept_and_in_the_file(kit: SnapshotKit) -> None:
    made = kit.later(description="before the migration", pinned=True)
    assert said(kit, made) == (True, "before the migration")
    assert ArchiveReader(kit.fs, made.path).manifest.description == "before the migration"
    kit.reopen()
    assert said(kit, made) == (True, "before the migration")
    kit.fs.unlink("/data/REGISTRY.json")
    kit.reopen()
    assert said(kit, made) == (False, "before the migration"), "the file tells what it can"


def test_what_is_said_later_takes_the_place_of_what_was_said(kit: SnapshotKit) -> None:
    made = kit.later()
    assert said(kit, made) == (False, "")
    marked = kit.engine.snapshots.mark(made.path, Marks(pinned=True, description="one"), caller=CALLER)
    assert (marked.record.pinned, marked.record.description) == (True, "one")
    kit.engine.snapshots.mark(made.id, Marks(description="two"), caller=CALLER)
    kit.reopen()
    assert said(kit, made) == (True, "two")
    kit.engine.snapshots.mark(made.id, Marks(description=""), caller=CALLER)
    pin(kit, made, False)
    assert said(kit, made) == (False, "")


def test_a_pinned_one_is_not_deleted_until_it_is_unpinned(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    pin(kit, full)
    for refused in (
        lambda: kit.engine.snapshots.delete(full.id),
        lambda: kit.engine.snapshots.delete(full.id, validate_only=True),
        lambda: kit.consolidate(full.id),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            refused()
        assert caught.value.reason == "SNAPSHOT_PINNED"
        assert f"holdfast storage snapshot unpin {full.id}" in str(caught.value.hint)
    kit.fs.unlink(full.path)
    with pytest.raises(FailedPrecondition):
        kit.engine.snapshots.delete(full.id)
    pin(kit, full, False)
    pin(kit, one)
    kit.engine.snapshots.mark(one.id, Marks(description="a link"), caller=CALLER)
    with pytest.raises(FailedPrecondition, match="a link"):
        kit.engine.snapshots.delete(one.id)


def test_a_prune_leaves_it_and_what_it_builds_on(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    new = kit.later()
    pin(kit, one)
    pruned = kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=1)), caller=CALLER)
    reasons = {each.info.id: each.reasons for each in pruned.decisions}
    assert reasons == {new.id: ("last",), two.id: (), one.id: ("pinned",), full.id: (f"base of {one.id}",)}


def test_one_that_is_pinned_between_look_and_deletion_stays(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = kit.later(), kit.later()
    prune = kit.engine.snapshots._carry_out

    def late(pruned: object) -> object:
        pin(kit, old)
        return prune(pruned)  # type: ignore[arg-type]

    monkeypatch.setattr(kit.engine.snapshots, "_carry_out", late)
    pruned = kit.engine.snapshots.prune(PruneRequest(RetentionPolicy(last=1)), caller=CALLER)
    assert {each.info.id: each.reasons for each in pruned.decisions} == {new.id: ("last",), old.id: ("pinned",)}
    assert kit.ids() == [new.id, old.id]


def test_one_that_is_pinned_while_it_is_being_deleted_stays(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    made, catalog = kit.later(), kit.engine.snapshots._catalog
    get = catalog.get_named

    def late(reference: str) -> SnapshotInfo:
        found = get(reference)
        catalog.mark(found, Marks(pinned=True))
        return found

    monkeypatch.setattr(catalog, "get_named", late)
    with pytest.raises(FailedPrecondition) as caught:
        catalog.delete(made.id)
    assert caught.value.reason == "SNAPSHOT_PINNED"
    assert kit.fs.exists(made.path)


def test_it_outlives_moving_rewriting_and_verifying(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    for each in (one, two):
        kit.engine.snapshots.mark(each.id, Marks(pinned=True, description=each.id), caller=CALLER)
    kit.consolidate(full.id)
    kit.verify(two.id)
    moved = f"/moved/{two.path.rpartition('/')[2]}"
    kit.put(moved, kit.fs.read(two.path))
    kit.fs.unlink(two.path)
    kit.engine.snapshots.list("/moved")
    assert info(kit, two).path == moved
    for _ in range(2):
        assert [said(kit, each) for each in (one, two)] == [(True, one.id), (True, two.id)]
        kit.reopen()


def test_an_increment_is_described_as_well(kit: SnapshotKit) -> None:
    kit.later()
    made = kit.later(incremental=True, description="größer als 💾 früher")
    assert said(kit, made) == (False, "größer als 💾 früher")


def test_a_request_sent_again_gets_the_first_answer(kit: SnapshotKit) -> None:
    made = kit.later()
    caller = Caller(actor="test", request_id="p")
    first = kit.engine.snapshots.mark(made.id, Marks(pinned=True), caller=caller)
    pin(kit, made, False)
    assert kit.engine.snapshots.mark(made.id, Marks(pinned=True), caller=caller) == first
    assert said(kit, made) == (False, "")


# Bad input ------------------------------------------------------------------------------------------------------------


TOO_LONG = ["x" * (MAX_BYTES + 1), "é" * 600]


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "\x1b[31mred", "\x7f", "\u2028", "\u202egnp.exe", "  ", *TOO_LONG])
def test_what_is_no_line_is_refused(kit: SnapshotKit, text: str) -> None:
    made = kit.later()
    for call in (
        lambda: kit.engine.snapshots.mark(made.id, Marks(description=text), caller=CALLER),
        lambda: kit.snapshot(description=text),
    ):
        with pytest.raises(InvalidArgument) as caught:
            call()
        assert caught.value.reason == "INVALID_DESCRIPTION"
    assert (kit.ids(), said(kit, made)) == ([made.id], (False, ""))


@pytest.mark.parametrize("text", ["", "x" * MAX_BYTES, "é" * (MAX_BYTES // 2), "a\u200db", "日本語 (2)"])
def test_what_is_a_line_is_not(text: str) -> None:
    assert is_description(text)


@pytest.mark.parametrize("reference", ["latest", "snap-2001-01-01-000000", "/nowhere/x.snap", "x"])
def test_what_stands_for_no_snapshot_is_refused(kit: SnapshotKit, reference: str) -> None:
    kit.later()
    with pytest.raises((InvalidArgument, NotFound)):
        kit.engine.snapshots.mark(reference, Marks(pinned=True), caller=CALLER)
    with pytest.raises(InvalidArgument):
        kit.engine.snapshots.mark(kit.ids()[0], Marks(), caller=CALLER)


def test_a_copy_has_nothing_said_of_it(kit: SnapshotKit) -> None:
    made = kit.later()
    copy = kit.put(f"/copies/{made.id}.snap", kit.fs.read(made.path))
    with pytest.raises(FailedPrecondition) as caught:
        kit.engine.snapshots.mark(copy, Marks(pinned=True), caller=CALLER)
    assert caught.value.reason == "SNAPSHOT_NOT_KNOWN"


def test_what_a_foreign_file_says_of_itself_is_not_believed_blindly(kit: SnapshotKit) -> None:
    made = kit.later(description="fine")
    archive = Archive.of(kit.fs.read(made.path))
    archive.set_manifest(lambda manifest: replace(manifest, description="\x1b[2Jbad"))
    other = SnapshotKit(seed=99)
    other.put(f"{SNAPSHOTS_DIR}/{made.id}.snap", archive.tar())
    assert [each.record.description for each in other.engine.snapshots.list()] == [""]
    assert other.verify(made.id)["valid"]


def test_a_failed_write_leaves_what_was_said(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.fs.fail_on("write", "/data/REGISTRY*", 5)
    with pytest.raises(HoldfastError):
        pin(kit, made)
    kit.fs.heal()
    assert said(kit, made) == (False, "")
    kit.reopen()
    assert said(kit, made) == (False, "")
