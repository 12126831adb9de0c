"""Snapshots by command: what is listed, found, verified and deleted, wherever the files lie."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfastd.errors import Corruption, FailedPrecondition, HoldfastError, InvalidArgument, NotFound
from holdfastd.storage.registry import PendingSnapshot, Registry
from tests.support.engines import CALLER, Fatal
from tests.support.snapshots import SECOND_US, SNAPSHOTS_DIR, Archive, SnapshotKit, two_points


@pytest.fixture
def kit() -> SnapshotKit:
    return two_points()


# Listing --------------------------------------------------------------------------------------------------------------


def test_the_newest_comes_first_and_a_restart_forgets_nothing(kit: SnapshotKit) -> None:
    ids = [kit.later().id, kit.later(compress=True).id, kit.later(path="/backups").id]
    listed = kit.engine.snapshots.list()
    assert [info.id for info in listed] == ids[::-1]
    kit.reopen()
    assert kit.engine.snapshots.list() == listed
    info = listed[0]
    assert (info.state, info.collections, info.path) == ("ready", ("c",), f"/backups/{info.id}.snap")
    record = info.record
    assert (record.type, record.vectors, record.compressed, record.size_bytes) == (
        "full",
        2,
        False,
        kit.fs.size(info.path),
    )
    assert record.members[0].digest == kit.engine.collections.stats("c").digest.hex()


def test_more_than_nine_in_one_second_keep_their_order(kit: SnapshotKit) -> None:
    kit.clock.step_us = 0
    ids = [kit.snapshot()["snapshot_id"] for _ in range(12)]
    assert kit.ids() == ids[::-1]


def test_a_collection_filters(kit: SnapshotKit) -> None:
    kit.create("d")
    first, second, both = kit.later(collection="c").id, kit.later(collection="d").id, kit.later().id
    listed = kit.engine.snapshots.list
    assert [info.id for info in listed(collection="c")] == [both, first]
    assert [info.id for info in listed(collection="d")] == [both, second]
    assert listed(collection="e") == []


def test_a_directory_shows_what_is_in_it_known_or_not(kit: SnapshotKit) -> None:
    inside, outside = kit.later().id, kit.later(path="/backups").id
    foreign = SnapshotKit(seed=9)
    foreign.create("other", dimensions=3)
    foreign.clock.advance_us(10 * SECOND_US)
    made = foreign.snapshot(compress=True)
    kit.put(f"/backups/{made['snapshot_id']}.gz", foreign.fs.read(made["path"]))
    kit.put("/backups/notes.txt", b"x")
    kit.put("/backups/snap-2020-01-01-000000.snap", b"not a tar")
    listing = kit.engine.snapshots.listing("/backups")
    assert [info.id for info in listing.snapshots] == [made["snapshot_id"], outside]
    assert len(listing.warnings) == 1
    assert listing.warnings[0].startswith("/backups/snap-2020-01-01-000000.snap")
    theirs = listing.snapshots[0].record
    assert (theirs.store_id, theirs.compressed, theirs.members[0].dimensions) == (str(foreign.engine.store_id), True, 3)
    assert theirs.uncompressed_bytes == made["uncompressed_bytes"]
    assert kit.ids() == [made["snapshot_id"], outside, inside], "what was found is known"


def test_files_put_into_the_default_directory_are_found(kit: SnapshotKit) -> None:
    foreign = SnapshotKit(seed=9)
    made = foreign.snapshot()
    kit.put(f"{SNAPSHOTS_DIR}/{made['snapshot_id']}.snap", foreign.fs.read(made["path"]))
    assert kit.ids() == [made["snapshot_id"]]
    assert kit.engine.snapshots.get(made["snapshot_id"]).state == "ready"
    assert kit.later().id != made["snapshot_id"]


def test_a_file_that_is_gone_is_said_and_not_hidden(kit: SnapshotKit) -> None:
    old, new = kit.later().id, kit.later().id
    kit.fs.unlink(kit.engine.snapshots.get(new).path)
    assert [(info.id, info.state) for info in kit.engine.snapshots.list()] == [(new, "missing"), (old, "ready")]
    with pytest.raises(NotFound, match="there is no snapshot file /data/snapshots/"):
        kit.restore(new, collection="x")
    assert kit.engine.snapshots.delete(new).state == "missing"
    assert kit.ids() == [old]


def test_a_directory_that_is_not_there(kit: SnapshotKit) -> None:
    with pytest.raises(NotFound, match="there is no directory /nowhere"):
        kit.engine.snapshots.list("/nowhere")


def test_a_damaged_registry_loses_nothing_in_the_default_directory(kit: SnapshotKit) -> None:
    id = kit.later().id
    kit.fs.damage("/data/REGISTRY.json", 100, b"zz")
    kit.reopen()
    listing = kit.engine.snapshots.listing()
    assert [info.id for info in listing.snapshots] == [id]
    assert "REGISTRY.json was damaged" in listing.warnings[0]


# Finding --------------------------------------------------------------------------------------------------------------


def test_an_id_a_path_and_latest_find_the_same(kit: SnapshotKit) -> None:
    id = kit.later().id
    get = kit.engine.snapshots.get
    assert get(id) == get("latest") == get(f"snapshots/{id}.snap") == get(f"/data/snapshots/{id}.snap")


def flip(kit: SnapshotKit, id: str) -> None:
    """Damage the ids of a snapshot and let a verification find it."""
    path = kit.engine.snapshots.get(id).path
    kit.fs.damage(path, kit.fs.read(path).index(b"ab", kit.fs.read(path).index(b"ids.npy")), b"A")
    assert not kit.verify(id)["valid"]


def cut(kit: SnapshotKit, id: str) -> None:
    path = kit.engine.snapshots.get(id).path
    kit.put(path, kit.fs.read(path)[:-512])


def lose(kit: SnapshotKit, id: str) -> None:
    kit.fs.unlink(kit.engine.snapshots.get(id).path)


UNUSABLE = [
    (flip, Corruption, "is damaged: .*does not match its SHA-256"),
    (cut, Corruption, "is damaged: has [0-9]+ bytes, it had [0-9]+ when it was written"),
    (lose, NotFound, "is missing: its file is not to be found: /data/snapshots/snap-.*.snap: [^\\[]*$"),
]


@pytest.mark.parametrize(("harm", "error", "says"), UNUSABLE)
def test_latest_is_the_newest_and_no_older_one_stands_in_for_it(
    kit: SnapshotKit, harm: Callable[[SnapshotKit, str], None], error: type[HoldfastError], says: str
) -> None:
    oldest, old, new = kit.later().id, kit.later().id, kit.later().id
    harm(kit, new)
    before = kit.engine.collections.stats("c").digest
    for refused in (
        kit.engine.snapshots.get,
        kit.verify,
        lambda latest: kit.restore(latest, overwrite=True),
    ):
        with pytest.raises(error, match=f"the newest snapshot, {new}, {says}") as caught:
            refused("latest")
        assert f"`holdfast storage snapshot restore {old}`" in str(caught.value.hint)
        assert f"`holdfast storage snapshot delete {new}`" in str(caught.value.hint)
        assert (error is NotFound) == str(caught.value.hint).startswith("mount its disk, or bring its file back; ")
    assert kit.engine.collections.stats("c").digest == before
    harm(kit, old)
    with pytest.raises(error) as caught:
        kit.engine.snapshots.get("latest")
    assert f"`holdfast storage snapshot restore {oldest}`" in str(caught.value.hint)
    kit.engine.snapshots.delete(new)
    kit.engine.snapshots.delete(old)
    assert kit.engine.snapshots.get("latest").id == oldest
    harm(kit, oldest)
    with pytest.raises(error) as caught:
        kit.engine.snapshots.get("latest")
    assert "no older one is whole" in str(caught.value.hint)


def test_what_is_named_instead_of_the_newest_was_made_of_as_much_if_there_is_any(kit: SnapshotKit) -> None:
    kit.create("d")
    everything, of_c, of_d, new = (
        kit.later().id,
        kit.later(collection="c").id,
        kit.later(collection="d").id,
        kit.later().id,
    )
    hints = []
    for harmed in (new, everything):
        flip(kit, harmed)
        with pytest.raises(Corruption) as caught:
            kit.engine.snapshots.get("latest")
        hints.append(str(caught.value.hint))
    assert f"the newest whole one before it: `holdfast storage snapshot restore {everything}`" in hints[0]
    assert f"the newest whole one before it holds d alone: `holdfast storage snapshot restore {of_d}`" in hints[1]
    kit.engine.snapshots.delete(new)
    newest = kit.later(collection="c").id
    flip(kit, newest)
    with pytest.raises(Corruption) as caught:
        kit.engine.snapshots.get("latest")
    assert f"before it holds c alone: `holdfast storage snapshot restore {of_c}`" in str(caught.value.hint)


def test_latest_holds_the_latest_moment_though_the_clock_was_set_back(kit: SnapshotKit) -> None:
    before = kit.later().id
    kit.clock.jump_us(-3_600_000_000)
    kit.upsert(["since"])
    after = kit.later().id
    assert kit.ids()[0] == before, "by their dates"
    assert kit.engine.snapshots.get("latest").id == after
    kit.fs.unlink(kit.engine.snapshots.get(after).path)
    with pytest.raises(NotFound) as caught:
        kit.engine.snapshots.get("latest")
    assert before in str(caught.value.hint)


def test_a_newer_file_that_cannot_be_read_is_not_passed_over_by_latest(kit: SnapshotKit) -> None:
    old = kit.later().id
    kit.put(f"{SNAPSHOTS_DIR}/snap-2020-01-01-000000.snap", b"not a tar")
    assert kit.engine.snapshots.get("latest").id == old, "one that is older is of no concern"
    path = kit.put(f"{SNAPSHOTS_DIR}/{old}-2.snap", b"not a tar")
    with pytest.raises(Corruption, match=f"the newest snapshot, {old}-2, is damaged: ") as caught:
        kit.engine.snapshots.get("latest")
    assert caught.value.message.count(path) == 1
    assert f"`holdfast storage snapshot restore {old}`; to give {old}-2 up: move {path} away" in str(caught.value.hint)


def test_what_the_disk_says_of_a_file_in_the_way_names_that_file(kit: SnapshotKit) -> None:
    made = kit.later()
    path = kit.put(f"{SNAPSHOTS_DIR}/snap-2020-01-01-000000.snap", b"not a tar")
    kit.fs.fail_on("read", path, errno.EISDIR)
    listing = kit.engine.snapshots.listing()
    assert ([each.id for each in listing.snapshots], len(listing.warnings)) == ([made.id], 1)
    assert listing.warnings[0].startswith(f"{path} cannot be read as a snapshot: ")


def test_a_snapshot_written_anew_by_hand_and_verified_is_whole(kit: SnapshotKit) -> None:
    made = kit.snapshot(compress=True)
    kit.put(made["path"], Archive.of(kit.fs.read(made["path"])).gz())
    assert kit.engine.snapshots.list()[0].state == "damaged"
    assert kit.verify(made["snapshot_id"])["valid"]
    assert kit.engine.snapshots.list()[0].state == "ready"


def test_a_file_of_any_name_can_be_named_by_its_path(kit: SnapshotKit) -> None:
    made = kit.snapshot()
    kit.put("/backups.snap", kit.fs.read(made["path"]))
    info = kit.engine.snapshots.get("/backups.snap")
    assert (info.id, info.path) == (made["snapshot_id"], "/backups.snap")
    kit.restore("/backups.snap", collection="copy")


NOT_FOUND = [
    ("snap-2020-01-01-000000", NotFound, "there is no snapshot snap-2020-01-01-000000"),
    ("latest", NotFound, "there is no snapshot yet"),
    ("/nowhere/x.snap", NotFound, "there is no snapshot file /nowhere/x.snap"),
    ("snapshots/", NotFound, "there is no snapshot file /data/snapshots"),
    ("yesterday", InvalidArgument, "'yesterday' is not a snapshot id"),
    ("../../etc", NotFound, "there is no snapshot file /etc"),
]


@pytest.mark.parametrize(("reference", "error", "message"), NOT_FOUND)
def test_what_stands_for_nothing(kit: SnapshotKit, reference: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        kit.engine.snapshots.get(reference)


def test_a_file_that_says_it_is_another_one_is_refused(kit: SnapshotKit) -> None:
    made = kit.snapshot()
    kit.put("/backups-snap-2020-01-01-000000.snap", b"")
    path = kit.put("/snap-2020-01-01-000000.snap", kit.fs.read(made["path"]))
    with pytest.raises(Corruption, match=f"says that it is {made['snapshot_id']}"):
        kit.engine.snapshots.get(path)


# Verifying ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
def test_a_whole_snapshot_verifies(kit: SnapshotKit, compress: bool) -> None:
    made = kit.snapshot(compress=compress)
    result = kit.verify(made["snapshot_id"])
    assert (
        result
        | {
            "valid": True,
            "problems": [],
            "snapshot_id": made["snapshot_id"],
            "path": made["path"],
            "chain": [made["snapshot_id"]],
            "files": 8,
            "vectors": 2,
            "size_bytes": made["size_bytes"],
            "last_sequence": made["sequence"],
            "status": "completed",
        }
        == result
    )
    assert kit.engine.snapshots.get("latest").record.verified_us > 0


def test_damage_is_a_result_with_its_place_and_is_remembered_until_it_is_gone(kit: SnapshotKit) -> None:
    made = kit.snapshot()
    good = kit.fs.read(made["path"])
    at = good.index(b"ab", good.index(b"ids.npy"))
    kit.fs.damage(made["path"], at, b"A")
    result = kit.verify(made["snapshot_id"])
    (problem,) = result["problems"]
    assert not result["valid"]
    assert problem["path"].endswith("/0/ids.npy")
    assert "does not match its SHA-256" in problem["message"]
    assert kit.engine.snapshots.list()[0].state == "damaged"
    kit.fs.damage(made["path"], at, b"a")
    assert kit.verify(made["snapshot_id"])["valid"]
    assert kit.engine.snapshots.list()[0].state == "ready"


def test_a_digest_that_the_rows_do_not_have_is_found(kit: SnapshotKit) -> None:
    archive = Archive.of(kit.fs.read(kit.snapshot()["path"]))
    archive.set_collection(lambda collection: replace(collection, digest=collection.digest.plus(0, 1)))
    result = kit.verify(kit.put("/wrong.snap", archive.tar()))
    assert not result["valid"]
    assert "the rows of c have digest" in result["problems"][0]["message"]


def test_damage_that_is_found_before_a_restore_begins_is_remembered_too(kit: SnapshotKit) -> None:
    older, newer = kit.later().id, kit.later().id
    path = kit.engine.snapshots.get(newer).path
    kit.fs.damage(path, kit.fs.read(path).index(b'"collections"'), b"#")
    with pytest.raises(Corruption, match=r"MANIFEST\.json") as caught:
        kit.restore("latest", collection="copy")
    assert f"{older} holds the same moment: holdfast storage snapshot restore {older}" in str(caught.value.hint)
    assert [info.state for info in kit.engine.snapshots.list()] == ["damaged", "ready"]


def test_a_base_that_is_found_damaged_is_passed_over_the_next_time(kit: SnapshotKit) -> None:
    older, newer = kit.later().id, kit.later().id
    path = kit.engine.snapshots.get(newer).path
    kit.fs.damage(path, kit.fs.read(path).index(b'"collections"'), b"#")
    kit.clock.advance_us(2_000_000)
    with pytest.raises(Corruption):
        kit.snapshot(incremental=True)
    assert kit.engine.snapshots.get(newer).state == "damaged"
    assert kit.snapshot(incremental=True)["base_id"] == older


# Deleting -------------------------------------------------------------------------------------------------------------


def high_water(kit: SnapshotKit) -> int:
    return kit.engine._keeper.current.collections[0].high_water


def test_a_deleted_snapshot_is_gone_and_its_history_is_kept_no_longer(kit: SnapshotKit) -> None:
    old, new = kit.later().id, kit.later().id
    assert high_water(kit) > 0
    deleted = kit.engine.snapshots.delete(new)
    assert not kit.fs.exists(deleted.path)
    assert kit.ids() == [old]
    assert high_water(kit) > 0, "the older one still covers the collection"
    kit.engine.snapshots.delete(old)
    assert high_water(kit) == 0
    kit.reopen()
    assert kit.ids() == []
    with pytest.raises(NotFound):
        kit.engine.snapshots.delete(old)


def test_a_plan_deletes_nothing(kit: SnapshotKit) -> None:
    id = kit.later().id
    assert kit.engine.snapshots.delete(id, validate_only=True).id == id
    assert kit.ids() == [id]


def test_latest_is_never_deleted(kit: SnapshotKit) -> None:
    kit.later()
    with pytest.raises(InvalidArgument, match="may mean another snapshot"):
        kit.engine.snapshots.delete("latest")


def test_only_snapshots_are_deleted(kit: SnapshotKit) -> None:
    path = kit.put("/etc.snap", b"root:x:0:0")
    with pytest.raises(Corruption):
        kit.engine.snapshots.delete(path)
    assert kit.fs.exists(path)


def test_a_base_is_not_deleted(kit: SnapshotKit) -> None:
    base, child = kit.later().id, kit.later(incremental=True).id
    assert kit.engine.snapshots.get(base).dependents == (child,)
    with pytest.raises(FailedPrecondition, match=f"{base} is the base of {child}"):
        kit.engine.snapshots.delete(base)
    kit.engine.snapshots.delete(child)
    kit.engine.snapshots.delete(base)
    assert kit.ids() == []


def test_a_snapshot_that_is_being_read_is_not_deleted(kit: SnapshotKit) -> None:
    id = kit.later().id
    refused: list[str] = []
    creating = kit.fs.create

    def create(path: str, size: int = 0, *, direct: bool = False) -> Any:
        if path.endswith("staged.json"):
            with pytest.raises(FailedPrecondition) as caught:
                kit.engine.snapshots.delete(id)
            refused.append(caught.value.reason)
        return creating(path, size, direct=direct)

    kit.fs.create = create  # type: ignore[method-assign]
    kit.restore(id, collection="copy")
    assert refused == ["SNAPSHOT_IN_USE"]
    kit.engine.snapshots.delete(id)


def test_dropping_a_collection_never_deletes_snapshots(kit: SnapshotKit) -> None:
    id = kit.later().id
    kit.engine.collections.drop("c", caller=CALLER)
    kit.engine.checkpoint()
    kit.reopen()
    kit.restore(id)
    assert kit.values() == {"a": 1.0, "b": 2.0}


def test_a_file_that_cannot_be_deleted_is_still_known(kit: SnapshotKit) -> None:
    id = kit.later().id
    kit.fs.fail_on("unlink", "*.snap", errno.EIO)
    with pytest.raises(FailedPrecondition, match=f"deleting {id} failed: .*/snapshots/{id}.snap"):
        kit.engine.snapshots.delete(id)
    assert kit.ids() == [id]


# After a crash --------------------------------------------------------------------------------------------------------


def test_what_a_crash_left_half_written_is_removed_wherever_it_lies(kit: SnapshotKit) -> None:
    registry = kit.engine.snapshots._catalog._registry
    assert registry is not None
    kit.later(path="/backups")
    registry.begin(PendingSnapshot("snap-2020-01-01-000000", "/backups/snap-2020-01-01-000000.snap"))
    registry.begin(PendingSnapshot("snap-2020-01-02-000000", "/gone/snap-2020-01-02-000000.snap"))
    kit.put("/backups/snap-2020-01-01-000000.snap.part", b"half")
    kit.put(f"{SNAPSHOTS_DIR}/snap-2020-01-03-000000.gz.part", b"half")
    kit.put("/backups/other.part", b"not ours")
    kit.reopen()
    assert [name for name in kit.fs.listdir("/backups") if name.endswith(".part")] == ["other.part"]
    assert kit.fs.listdir(SNAPSHOTS_DIR) == []
    assert len(kit.ids()) == 1


def test_what_was_whole_when_the_power_went_is_known_afterwards(kit: SnapshotKit) -> None:
    made = kit.snapshot(path="/backups")
    registry = kit.engine.snapshots._catalog._registry
    assert registry is not None
    registry.remove(made["snapshot_id"])
    registry.begin(PendingSnapshot(made["snapshot_id"], made["path"]))
    kit.reopen()
    assert kit.ids() == [made["snapshot_id"]]


def test_a_kill_while_one_is_deleted_leaves_all_of_it_or_nothing(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the newest one: what is missing would stand in the way of `restore latest`."""
    older = kit.later(path="/backups")
    newest = kit.later(path="/backups")

    def killed(self: Registry, snapshot_id: str, unverified_since_us: int) -> None:
        raise Fatal

    with monkeypatch.context() as patched:
        patched.setattr(Registry, "remove", killed)
        with pytest.raises(Fatal):
            kit.engine.snapshots.delete(newest.id)
    assert [info.state for info in kit.engine.snapshots.list()] == ["missing", "ready"]
    kit.reopen()
    assert kit.ids() == [older.id]
    assert kit.restore("latest", collection="copy")["snapshot_id"] == older.id
    kit.fs.fail_on("unlink", "*.snap", errno.EIO)
    with pytest.raises(FailedPrecondition):
        kit.engine.snapshots.delete(older.id)
    kit.reopen()
    assert [info.state for info in kit.engine.snapshots.list()] == ["ready"]
    kit.engine.snapshots.delete(older.id)
    assert high_water(kit) == 0, "what the newest one kept as well"


def test_a_registry_without_room_stands_in_the_way_of_no_deletion(kit: SnapshotKit) -> None:
    id = kit.later().id
    kit.fs.fail_on("write", "*REGISTRY*", errno.ENOSPC)
    kit.engine.snapshots.delete(id)
    kit.reopen()
    assert kit.ids() == []


def test_a_registry_that_cannot_be_written_leaves_what_was_to_be_deleted(kit: SnapshotKit) -> None:
    id = kit.later().id
    kit.fs.fail_on("write", "*REGISTRY*", errno.EIO)
    with pytest.raises(FailedPrecondition, match=f"deleting {id} failed"):
        kit.engine.snapshots.delete(id)
    assert [info.state for info in kit.engine.snapshots.list()] == ["ready"]
    kit.engine.snapshots.delete(id)
    assert kit.ids() == []
