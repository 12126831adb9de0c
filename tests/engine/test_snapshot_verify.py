"""Verifications: how far they look, what they keep as receipts, and that they leave nothing else behind."""

from __future__ import annotations

import errno
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.engine import snapshot_decode, snapshot_verify
from holdfastd.engine.operations import OperationState
from holdfastd.engine.snapshot_publish import Publisher
from holdfastd.engine.snapshot_verify import VerifyRequest
from holdfastd.errors import Corruption, InvalidArgument, NotFound, ResourceExhausted
from holdfastd.format.snapshot import data_members
from holdfastd.format.subset import Subset
from holdfastd.storage import archive_bytes, hash_beside, read_ahead
from holdfastd.storage.archive_reader import FIRST_BYTES
from tests.support.chains import HOURLY, chained, filled, flip, info
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.snapshots import COLLECTIONS_DIR, Archive, SnapshotKit, raise_failure

DAY_US = 24 * 3600 * 1_000_000


@pytest.fixture
def kit() -> SnapshotKit:
    return filled()


def hints(result: dict[str, Any]) -> str:
    return " | ".join(problem["hint"] for problem in result["problems"])


# How far --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_each_level_says_how_far_it_came_and_what_it_read(kit: SnapshotKit, compress: bool) -> None:
    full, one, two = chained(kit, compress=compress)
    before, directories = observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR)
    sizes = sum(info(kit, each).record.size_bytes for each in (full, one, two))
    read = []
    for level in range(5):
        result = kit.verify(two.id, level=level)
        assert result["valid"], result["problems"]
        assert (result["level"], result["reached"], result["problem_count"]) == (level, level, 0)
        assert result["chain"] == [full.id, one.id, two.id]
        assert (result["size_bytes"], result["vectors"]) == (sizes, 8)
        assert result["rows_checked"] == (8 if level >= 2 else 0)
        read.append(result["bytes_read"])
        digests = [(each["collection"], each["equal"], each["vectors"]) for each in result["digests"]]
        assert digests == ([("c", True, 4)] if level == 4 else [])
        assert kit.fs.listdir(COLLECTIONS_DIR) == directories
    assert read == sorted(read)
    assert read[2] > read[1]
    assert observe(kit.engine) == before


def test_a_file_alone_is_verified_without_its_chain(kit: SnapshotKit) -> None:
    _, one, _ = chained(kit)
    result = kit.verify(one.id, level=3, skip_chain=True)
    assert (result["valid"], result["chain"]) == (True, [one.id])


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"level": 5}, "there is no level 5"),
    ({"level": -1}, "there is no level -1"),
    ({"level": 1, "subset": Subset(number=1, of=7)}, "a subset is of what is read at level 2 or 3"),
    ({"level": 4, "subset": Subset(percent=10)}, "a subset is of what is read at level 2 or 3"),
    ({"level": 4, "skip_chain": True}, "a restore takes the whole chain"),
]


@pytest.mark.parametrize(("request_", "says"), REFUSED)
def test_what_makes_no_sense_is_refused_before_it_begins(kit: SnapshotKit, request_: dict[str, Any], says: str) -> None:
    made, begun = kit.later(), len(kit.engine.operations.list())
    with pytest.raises(InvalidArgument, match=says) as caught:
        kit.verify(made.id, **request_)
    assert caught.value.hint
    assert len(kit.engine.operations.list()) == begun


def test_what_the_links_add_up_to_is_proven_by_the_restore_alone(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    archive = Archive.of(kit.fs.read(one.path))
    archive.set_collection(lambda each: replace(each, count=each.count, digest=each.digest.plus(0, 1)))
    path = kit.put(f"/data/snapshots/{one.id}.snap", archive.tar())
    for level in range(4):
        assert kit.verify(path, level=level)["valid"], level
    result = kit.verify(path, level=4)
    (problem,) = result["problems"]
    assert (result["reached"], problem["level"], problem["path"]) == (3, 4, path)
    assert "the rows of c have digest" in problem["message"]
    assert info(kit, one).state == "damaged"
    assert info(kit, full).state == "ready", "a link that is right is not blamed"
    again = kit.verify(path, level=2)
    assert again["valid"]
    assert f"verify {one.id} --level 4" in again["warnings"][-1], "the restore would fail all the same"
    assert info(kit, one).state == "damaged"


# The chain ------------------------------------------------------------------------------------------------------------


def test_a_missing_link_is_named_and_the_file_is_read_all_the_same(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    kit.fs.unlink(one.path)
    flip(kit, two.path)
    result = kit.verify(two.id)
    missing, damaged = result["problems"]
    assert f"{one.id} is missing: {two.id} holds only what changed since it" in missing["message"]
    assert (missing["level"], damaged["level"]) == (0, 2)
    assert "--base-path" in missing["hint"]
    assert damaged["path"].endswith("ids.npy")
    assert result["chain"] == [two.id]
    assert f"{full.id} before it is whole, and the log leads from there to the same moment" in damaged["hint"]


def test_a_foreign_link_is_named(kit: SnapshotKit) -> None:
    _, one, two = chained(kit)
    other = SnapshotKit(seed=99)
    other.create("c")
    other.upsert(list("abcd"))
    kit.put(one.path, other.fs.read(chained(other)[1].path))
    result = kit.verify(two.id)
    assert not result["valid"]
    assert result["problems"][0]["level"] == 0
    assert f"{one.path} is not the {one.id} that {two.id} builds on" in result["problems"][0]["message"]


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_a_damaged_link_is_told_and_remembered_of_that_link(kit: SnapshotKit, level: int) -> None:
    full, one, two = chained(kit)
    sums = kit.fs.read(one.path).rindex(b"rows.npy")
    kit.fs.damage(one.path, sums, b"X")
    result = kit.verify(two.id, level=level)
    assert not result["valid"]
    assert result["problems"][0]["path"].startswith(one.path)
    assert f"without it what builds on it is lost, too: {two.id}" in hints(result)
    assert [info(kit, each).state for each in (full, one, two)] == ["ready", "damaged", "base_missing"]
    assert info(kit, two).problem == f"it builds on {one.id}, which is damaged"
    assert kit.later(incremental=True).record.base_id == full.id, "no new one is built on what cannot be restored"


def test_every_link_gets_a_receipt_of_its_own(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    kit.verify(one.id, level=3)
    levels = [[each.level for each in info(kit, link).record.receipts] for link in (full, one, two)]
    assert levels == [[3], [3], []]
    assert [info(kit, link).standing is not None for link in (full, one, two)] == [True, True, False]
    kit.verify(two.id, level=2, skip_chain=True)
    standing = info(kit, two).standing
    assert standing is not None
    assert standing.level == 2
    kit.verify(two.id, level=4)
    levels = [[each.level for each in info(kit, link).record.receipts] for link in (full, one, two)]
    assert levels == [[3], [3], [4]], "a restore proves the last, and has read the others"
    assert [info(kit, link).standing.level for link in (full, one, two)] == [3, 3, 4]  # type: ignore[union-attr]


# Receipts -------------------------------------------------------------------------------------------------------------


def test_a_receipt_says_when_how_far_by_whom_and_of_which_archive(kit: SnapshotKit) -> None:
    made = kit.snapshot()
    kit.verify(made["snapshot_id"], level=3)
    (receipt,) = kit.engine.snapshots.get(made["snapshot_id"]).record.receipts
    assert (receipt.level, receipt.valid, receipt.subset, receipt.problem) == (3, True, "", "")
    assert (receipt.sums_sha256, receipt.size_bytes) == (made["sha256"], made["size_bytes"])
    assert (receipt.daemon_version, receipt.host, receipt.source) == ("0.1.0", "testhost", "verify")
    assert 0 < kit.clock.wall_us - receipt.time_us < 1_000_000
    kit.reopen()
    assert kit.engine.snapshots.get(made["snapshot_id"]).record.receipts == (receipt,)


def test_a_file_that_was_written_to_since_has_no_receipt(kit: SnapshotKit) -> None:
    id = kit.later().id
    kit.verify(id)
    found = kit.engine.snapshots.get(id)
    assert found.standing is not None
    data = kit.fs.read(found.path)
    at = data.index(b"README.txt")
    kit.put(found.path, data[:at] + b"READMF" + data[at + 6 :])
    assert kit.engine.snapshots.get(id).standing is None
    kit.put(found.path, data)
    assert kit.engine.snapshots.get(id).standing == found.standing


def test_an_archive_in_the_place_of_another_does_not_inherit_its_receipt(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.verify(made.id)
    archive = Archive.of(kit.fs.read(made.path))
    readme = archive.find("README.txt")
    readme.data = readme.data.replace(b"snapshot", b"snapshoT")
    kit.put(made.path, archive.tar())
    assert info(kit, made).state == "ready"
    assert info(kit, made).standing is None
    result = kit.verify(made.id)
    assert result["valid"]
    assert "is another archive than the one that was made under this id" in result["warnings"][0]
    assert info(kit, made).standing is None


def test_a_receipt_goes_with_its_snapshot(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.verify(made.id)
    data = kit.fs.read(made.path)
    kit.engine.snapshots.delete(made.id)
    assert b"receipts" not in kit.fs.read("/data/REGISTRY.json")
    kit.put(made.path, data)
    assert info(kit, made).standing is None


def test_a_file_that_the_store_does_not_know_is_verified_without_a_receipt(kit: SnapshotKit) -> None:
    made = kit.later()
    path = kit.put("/elsewhere/copy.snap", kit.fs.read(made.path))
    result = kit.verify(path)
    assert (result["valid"], result["receipt_kept"], result["warnings"]) == (True, False, [])
    assert info(kit, made).standing is None
    assert kit.verify(made.id)["receipt_kept"]


def test_damage_stays_until_all_of_it_was_read_as_far_as_it_takes(kit: SnapshotKit) -> None:
    made = kit.later()
    data = kit.fs.read(made.path)
    kit.verify(made.id, level=3)
    flip(kit, made.path)
    assert not kit.verify(made.id, level=3)["valid"]
    found = info(kit, made)
    assert (found.state, found.standing) == ("damaged", None)
    assert "does not match its SHA-256" in found.record.damage or "does not match its hash" in found.record.damage
    kit.put(made.path, data)
    for request in ({"level": 1}, {"subset": Subset(number=1, of=1)}):
        kit.verify(made.id, **request)
        assert info(kit, made).state == "damaged"
    kit.verify(made.id, level=3)
    assert (info(kit, made).state, info(kit, made).record.damage) == ("ready", "")


def test_a_restore_is_a_reading_of_its_whole_chain(kit: SnapshotKit) -> None:
    full, _, two = chained(kit)
    kit.restore(two.id, collection="copy", verify=True)
    standing = info(kit, two).standing
    assert standing is not None
    assert (standing.level, info(kit, full).record.receipts[0].source) == (3, "restore")


def test_a_file_that_is_written_to_behind_a_restores_reading_has_no_receipt(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = kit.later()
    commit = Publisher.commit

    def late(self: Publisher, plan: Any) -> Any:
        assert kit.engine.snapshots._catalog.is_in_use(made.path, own=0)
        flip(kit, made.path, "README.txt")
        return commit(self, plan)

    monkeypatch.setattr(Publisher, "commit", late)
    kit.restore(made.id, collection="copy", verify=True)
    assert info(kit, made).standing is None


def test_a_restore_keeps_its_receipts_before_others_may_replace_what_it_has_read(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, catalog, held = kit.later(), kit.engine.snapshots._catalog, []
    note = catalog.note

    def noted(found: Any) -> list[str]:
        held.append(catalog.is_in_use(made.path, own=0))
        return note(found)

    monkeypatch.setattr(catalog, "note", noted)
    kit.restore(made.id, collection="copy")
    assert held == [True]


def test_a_restore_of_one_collection_reads_the_others_as_well(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.upsert(["x"], name="d")
    made = kit.later()
    parts = [each.name for each in data_members(Archive.of(kit.fs.read(made.path)).manifest) if "ids" in each.name]
    flip(kit, made.path, parts[-1])
    with pytest.raises(Corruption):
        kit.restore(made.id, collection="copy", from_collection="c")
    assert info(kit, made).state == "damaged"


def test_a_restore_of_one_collection_has_read_the_rows_of_that_one_alone(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.upsert(["x"], name="d")
    made = kit.later()
    kit.restore(made.id, collection="copy", from_collection="d", verify=True)
    assert [each.level for each in info(kit, made).record.receipts] == [2]
    kit.restore(made.id, overwrite=True, verify=True)
    assert [each.level for each in info(kit, made).record.receipts] == [3]


@pytest.mark.parametrize("level", [0, 2, 4])
def test_nobody_may_replace_what_was_read_before_its_receipt_is_kept(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    """Else the receipt, and the size that it knows, would be said of the file of a consolidation."""
    full, one, two = chained(kit)
    catalog, held = kit.engine.snapshots._catalog, []
    note = catalog.note

    def noted(found: Any) -> list[str]:
        held.extend(catalog.is_in_use(each.path, own=0) for each in (full, one, two))
        return note(found)

    monkeypatch.setattr(catalog, "note", noted)
    assert kit.verify(two.id, level=level)["receipt_kept"]
    assert held == [True, True, True]


def test_much_damage_in_one_link_hides_none_in_the_next(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_verify, "MAX_FINDINGS", 1)
    full, one, two = chained(kit)
    for each in (full, one):
        flip(kit, each.path, "ids.npy")
        flip(kit, each.path, "rows.npy")
    assert not kit.verify(two.id, level=2)["valid"]
    assert [info(kit, each).state for each in (full, one, two)] == ["damaged", "damaged", "base_missing"]


def test_a_receipt_that_cannot_be_written_is_told(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.fs.fail_on("write", "*REGISTRY*", errno.EIO)
    result = kit.verify(made.id)
    assert result["valid"]
    assert not result["receipt_kept"]
    assert "the receipt could not be written" in result["warnings"][0]


# What to do -----------------------------------------------------------------------------------------------------------


def test_another_snapshot_of_the_same_moment_is_named_first(kit: SnapshotKit) -> None:
    first, second = kit.later(), kit.later()
    flip(kit, first.path)
    hint = hints(kit.verify(first.id))
    assert hint.startswith(f"{second.id} holds the same moment: holdfast storage snapshot restore {second.id}; ")


def test_then_the_one_before_with_the_log_to_the_same_moment(kit: SnapshotKit) -> None:
    first = kit.later()
    kit.upsert(["new"])
    second = kit.later()
    flip(kit, second.path)
    command = f"holdfast storage snapshot restore {first.id} --to {second.record.sequence}"
    assert command in hints(kit.verify(second.id))


def test_then_the_one_before_where_no_log_leads_on(kit: SnapshotKit) -> None:
    first = kit.later()
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["new"])
    second = kit.later()
    flip(kit, second.path)
    hint = hints(kit.verify(second.id))
    assert f"{first.id} before it is whole: holdfast storage snapshot restore {first.id};" in hint
    assert f"a good copy of the file may be put in its place: {second.path}" in hint


def test_and_a_new_one_where_there_is_nothing_else(kit: SnapshotKit) -> None:
    made = kit.later(collection="c")
    flip(kit, made.path)
    hint = hints(kit.verify(made.id))
    assert "no older snapshot is whole" in hint
    assert hint.endswith("make a new one while the store is there: holdfast storage snapshot create c")


def test_a_snapshot_that_builds_on_the_damaged_one_is_no_way_out(kit: SnapshotKit) -> None:
    full, _, _ = chained(kit)
    flip(kit, full.path)
    assert "no older snapshot is whole" in hints(kit.verify(full.id))


# Nothing else is left -------------------------------------------------------------------------------------------------


def test_there_has_to_be_room_for_the_scratch(kit: SnapshotKit) -> None:
    kit.upsert([f"row {number}" for number in range(900)])
    made = kit.later(compress=True)
    collections = kit.fs.listdir(COLLECTIONS_DIR)
    kit.fs.leave_free(40_000)
    for level, words in ((3, "--level 2"), (4, "--level 3")):
        with pytest.raises(ResourceExhausted) as caught:
            kit.verify(made.id, level=level)
        assert words in str(caught.value.hint)
        assert kit.fs.listdir(COLLECTIONS_DIR) == collections
    assert kit.verify(made.id, level=2)["valid"]


@pytest.mark.parametrize(("level", "compress"), [(2, False), (3, True), (4, False)])
def test_a_cancelled_one_leaves_no_file_and_no_receipt(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, level: int, compress: bool
) -> None:
    made = kit.later(compress=compress)
    collections, reached, go_on = kit.fs.listdir(COLLECTIONS_DIR), threading.Event(), threading.Event()
    read = kit.fs.read

    def slowly(path: str, offset: int = 0, length: int | None = None) -> bytes:
        in_the_middle = length == FIRST_BYTES if compress else offset > 4096
        if path == made.path and in_the_middle and not reached.is_set():
            reached.set()
            assert go_on.wait(10)
        return read(path, offset, length)

    monkeypatch.setattr(kit.fs, "read", slowly)
    operation = kit.engine.snapshots.start_verify(VerifyRequest(made.id, level=level), caller=CALLER)
    assert reached.wait(10)
    kit.engine.operations.cancel(operation.id)
    go_on.set()
    assert kit.engine.operations.wait(operation.id).state is OperationState.CANCELLED
    assert kit.fs.listdir(COLLECTIONS_DIR) == collections
    assert info(kit, made).record.receipts == ()


def test_a_snapshot_that_is_gone_is_not_found(kit: SnapshotKit) -> None:
    made = kit.later()
    kit.fs.unlink(made.path)
    with pytest.raises(NotFound):
        kit.verify(made.id)


def test_the_same_request_is_one_verification(kit: SnapshotKit) -> None:
    made, caller = kit.later(), replace(CALLER, request_id="once")
    start: Callable[..., Any] = kit.engine.snapshots.start_verify
    first = start(VerifyRequest(made.id, level=3), caller=caller)
    assert start(VerifyRequest(made.id, level=3), caller=caller).id == first.id
    with pytest.raises(InvalidArgument, match="once"):
        start(VerifyRequest(made.id, level=2), caller=caller)
    assert raise_failure(kit.engine.operations.wait(first.id))["valid"]


def test_progress_tells_bytes_rows_and_phases(kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = kit.later(), []
    update = kit.engine.operations.update_progress

    def noted(operation_id: str, changes: dict[str, Any], elapsed: float) -> None:
        seen.append(changes)
        update(operation_id, changes, elapsed)

    monkeypatch.setattr(kit.engine.operations, "update_progress", noted)
    kit.verify(made.id, level=4)
    phases = [each["phase"] for each in seen if "phase" in each]
    assert phases == ["verifying", "restoring", "comparing"]
    assert [each["total_vectors"] for each in seen if "phase" in each] == [4, 4, 4]
    assert {each["total_bytes"] > 0 for each in seen if each.get("phase") in ("verifying", "restoring")} == {True}


@pytest.mark.parametrize(("level", "compress"), [(2, False), (3, False), (2, True)])
def test_memory_does_not_grow_with_the_snapshot(monkeypatch: pytest.MonkeyPatch, level: int, compress: bool) -> None:
    """Windows are made small, so that a small archive is many of them; the files themselves are in memory here."""
    for module in (archive_bytes, read_ahead):
        monkeypatch.setattr(module, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(hash_beside, "AT_ONCE_BYTES", 1 << 14)
    monkeypatch.setattr(snapshot_decode, "WINDOW_ROWS", 64)
    peaks = []
    for rows in (1000, 6000):
        kit = SnapshotKit()
        kit.create("c", 64)
        for start in range(0, rows, 500):
            kit.upsert([f"{start + row}" for row in range(500)], payloads=[b'{"n":1}'] * 500)
        made = kit.snapshot(compress=compress)
        monkeypatch.setattr(kit.fs, "drop_cache", lambda *_: None)
        tracemalloc.start()
        assert kit.verify(made["snapshot_id"], level=level)["valid"]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        peaks.append(peak)
    assert peaks[1] < peaks[0] + (512 << 10), peaks


def test_links_elsewhere_are_found_where_they_are_said_to_be(kit: SnapshotKit) -> None:
    full, _, two = chained(kit)
    kit.fs.mkdir("/mnt")
    kit.fs.rename(full.path, f"/mnt/{full.id}.snap")
    assert not kit.verify(two.id)["valid"]
    found = kit.verify(two.id, base_path="/mnt")
    assert found["valid"]
    assert HOURLY in found["path"]
