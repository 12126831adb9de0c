"""What lies in a directory becomes known by being looked at: adopted, moved, or told apart from what it is not."""

from __future__ import annotations

import errno
import random

import pytest

from holdfastd.engine.snapshot_info import SnapshotInfo
from holdfastd.errors import FailedPrecondition, NotFound
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SECOND_US, SNAPSHOTS_DIR, SnapshotKit, two_points

REGISTRY = "/data/REGISTRY.json"
DRAWS = 4


@pytest.fixture
def kit() -> SnapshotKit:
    return two_points()


def backups(kit: SnapshotKit) -> tuple[str, str, str]:
    """A chain over three directories, each link with a change of its own; the ids, base first."""
    full = kit.later(path="/daily").id
    kit.upsert(["b", "c"], 20, 3)
    first = kit.later(path="/hourly", incremental=True).id
    kit.delete("a")
    second = kit.later(path="/quarterly", incremental=True, compress=True).id
    return full, first, second


def lose_the_registry(kit: SnapshotKit) -> None:
    """Somebody removed it while the daemon was stopped."""
    kit.fs.unlink(REGISTRY)
    kit.reopen()


def move(kit: SnapshotKit, path: str, directory: str) -> str:
    """What `mv` does; the new path."""
    moved = f"{directory}/{path.rpartition('/')[2]}"
    kit.put(moved, kit.fs.read(path))
    kit.fs.unlink(path)
    return moved


def info(kit: SnapshotKit, id: str) -> SnapshotInfo:
    return kit.engine.snapshots.get(id)


# Adopting -------------------------------------------------------------------------------------------------------------


def test_a_chain_over_directories_is_known_again_once_they_were_listed(kit: SnapshotKit) -> None:
    ids = backups(kit)
    expected = kit.values()
    before = {id: info(kit, id) for id in ids}
    lose_the_registry(kit)
    assert kit.ids() == []
    for directory, id in zip(("/daily", "/hourly", "/quarterly"), ids, strict=True):
        assert [found.id for found in kit.engine.snapshots.list(directory)] == [id]
    for _ in range(2):
        assert kit.ids() == list(ids[::-1])
        for id in ids:
            found = info(kit, id)
            assert (found.path, found.state, found.dependents) == (
                before[id].path,
                "ready",
                before[id].dependents,
            )
        kit.reopen()
    kit.restore(ids[2], collection="copy")
    assert kit.values("copy") == expected
    with pytest.raises(FailedPrecondition, match=f"{ids[0]} is the base of {ids[1]}"):
        kit.engine.snapshots.delete(ids[0])


def test_the_default_directory_needs_no_naming(kit: SnapshotKit) -> None:
    full, child = kit.later().id, kit.later(incremental=True, path="/hourly").id
    lose_the_registry(kit)
    kit.engine.snapshots.list("/hourly")
    with pytest.raises(FailedPrecondition, match=f"{full} is the base of {child}"):
        kit.engine.snapshots.delete(full)
    kit.fs.unlink(f"{SNAPSHOTS_DIR}/{full}.snap")
    assert [(found.id, found.state) for found in kit.engine.snapshots.list()] == [
        (child, "base_missing"),
        (full, "missing"),
    ]


def test_a_base_is_not_deleted_before_an_increment_that_nobody_listed_yet(kit: SnapshotKit) -> None:
    full = kit.later(path="/backups").id
    child = kit.later(path="/backups", incremental=True).id
    lose_the_registry(kit)
    with pytest.raises(FailedPrecondition, match=f"{full} is the base of {child}"):
        kit.engine.snapshots.delete(f"/backups/{full}.snap")


def test_looking_twice_writes_once(kit: SnapshotKit) -> None:
    backups(kit)
    lose_the_registry(kit)
    kit.engine.snapshots.list("/daily")
    written = kit.fs.read(REGISTRY)
    kit.fs.fail_on("create", "*REGISTRY*", errno.EIO)
    for _ in range(2):
        listing = kit.engine.snapshots.listing("/daily")
        assert listing.warnings == []
    assert kit.fs.read(REGISTRY) == written


def test_a_registry_that_cannot_be_written_hides_nothing(kit: SnapshotKit) -> None:
    full, _, _ = backups(kit)
    lose_the_registry(kit)
    kit.fs.fail_on("create", "*REGISTRY*", errno.ENOSPC)
    listing = kit.engine.snapshots.listing("/daily")
    assert [found.id for found in listing.snapshots] == [full]
    assert "what was found is not kept in it" in listing.warnings[0]
    kit.fs.heal()
    assert kit.ids() == []
    assert kit.engine.snapshots.listing("/daily").warnings == []
    assert kit.ids() == [full]


def test_one_that_is_being_written_is_not_adopted(kit: SnapshotKit) -> None:
    """Between its final name and the registry somebody lists its directory."""
    seen: list[tuple[str, ...]] = []
    renaming = kit.fs.rename

    def rename(old: str, new: str) -> None:
        renaming(old, new)
        if new.endswith(".snap"):
            seen.append(tuple(found.id for found in kit.engine.snapshots.list("/daily")))
            registry = kit.engine.snapshots._catalog._registry
            assert registry is not None
            assert (len(registry.snapshots), len(registry.pending)) == (0, 1)

    kit.fs.rename = rename  # type: ignore[method-assign]
    id = kit.later(path="/daily").id
    assert seen == [(id,)]
    assert info(kit, id).record.sha256


def test_one_that_is_deleted_while_its_directory_is_listed_stays_deleted(kit: SnapshotKit) -> None:
    id = kit.later(path="/daily").id
    lose_the_registry(kit)
    judged: list[str] = []
    asking = kit.fs.exists

    def exists(path: str) -> bool:
        """The listing has read the file and is about to adopt it."""
        if path == f"/daily/{id}.snap" and not judged:
            judged.append(path)
            kit.fs.unlink(path)
        return asking(path)

    kit.fs.exists = exists  # type: ignore[method-assign]
    (found,) = kit.engine.snapshots.list("/daily")
    assert (found.id, found.state) == (id, "missing")
    assert judged != []
    assert kit.ids() == []


# Moving ---------------------------------------------------------------------------------------------------------------


def test_one_that_moved_is_found_where_it_is(kit: SnapshotKit) -> None:
    full, first, _ = backups(kit)
    kit.verify(full)
    known = info(kit, full)
    moved = move(kit, known.path, "/archive")
    assert (info(kit, full).state, info(kit, first).state) == ("missing", "base_missing")
    assert [found.path for found in kit.engine.snapshots.list("/archive")] == [moved]
    kit.reopen()
    found = info(kit, full)
    assert (found.path, found.state, found.record.sha256) == (moved, "ready", known.record.sha256)
    assert (known.record.verified_us > 0, found.record.verified_us) == (True, 0), "nobody has read the new file yet"
    assert info(kit, first).state == "ready"
    assert kit.verify(first)["valid"]


def test_damage_is_not_forgotten_by_moving(kit: SnapshotKit) -> None:
    id = kit.later().id
    path = info(kit, id).path
    kit.fs.damage(path, kit.fs.size(path) // 2, b"\xff" * 8)
    assert not kit.verify(id)["valid"]
    move(kit, path, "/archive")
    kit.engine.snapshots.list("/archive")
    assert info(kit, id).state == "damaged"


def test_a_copy_beside_the_original_changes_nothing(kit: SnapshotKit) -> None:
    id = kit.later().id
    known = info(kit, id)
    written = kit.fs.read(REGISTRY)
    copy = kit.put(f"/copies/{id}.snap", kit.fs.read(known.path))
    listing = kit.engine.snapshots.listing("/copies")
    assert ([found.path for found in listing.snapshots], listing.warnings) == ([copy], [])
    assert info(kit, id) == known
    assert kit.fs.read(REGISTRY) == written


# Other stores ---------------------------------------------------------------------------------------------------------


def foreign_snapshot(directory: str, kit: SnapshotKit, *, seconds: int) -> str:
    """A snapshot that another store made at the ``seconds``-th second, copied to a directory; its path."""
    other = SnapshotKit(seed=99)
    other.create("c")
    other.upsert(["z"], 26)
    other.clock.advance_us(seconds * SECOND_US)
    made = other.snapshot()
    return kit.put(f"{directory}/{made['snapshot_id']}.snap", other.fs.read(made["path"]))


def test_latest_is_never_one_of_another_store(kit: SnapshotKit) -> None:
    foreign_snapshot("/theirs", kit, seconds=3600)
    (theirs,) = kit.engine.snapshots.list("/theirs")
    assert theirs.foreign
    with pytest.raises(NotFound, match="made no snapshot yet, and 1 of another store is never") as caught:
        info(kit, "latest")
    assert f"holdfast storage snapshot restore {theirs.id}" in (caught.value.hint or "")
    ours = kit.later().id
    assert kit.ids() == [theirs.id, ours]
    assert info(kit, "latest").id == ours
    assert info(kit, theirs.id).path == theirs.path
    kit.restore(theirs.id, collection="copy")
    kit.engine.snapshots.delete(ours)
    with pytest.raises(FailedPrecondition) as refused:
        kit.snapshot(incremental=True)
    assert refused.value.reason == "NO_BASE"


def test_of_another_stores_a_whole_one_is_named_to_be_restored(kit: SnapshotKit) -> None:
    older = foreign_snapshot("/theirs", kit, seconds=3600)
    newer = foreign_snapshot("/theirs", kit, seconds=7200)
    kit.engine.snapshots.list("/theirs")
    kit.put(newer, kit.fs.read(newer)[:-1])
    with pytest.raises(NotFound, match="and 2 of another store are never meant by `latest`") as caught:
        info(kit, "latest")
    older_id = older.rpartition("/")[2].removesuffix(".snap")
    assert caught.value.hint == (
        f"name it: the newest whole one of another store is {older_id}: `holdfast storage snapshot restore {older_id}`"
    )


def ours_and_theirs(kit: SnapshotKit) -> tuple[str, str]:
    """Two snapshots of one id: the paths of ours and of theirs."""
    theirs = foreign_snapshot("/theirs", kit, seconds=1)
    id = kit.later(path="/ours").id
    assert theirs == f"/theirs/{id}.snap"
    return f"/ours/{id}.snap", theirs


def test_another_store_s_snapshot_of_our_id_is_told_apart(kit: SnapshotKit) -> None:
    ours, theirs = ours_and_theirs(kit)
    id = kit.ids()[0]
    listing = kit.engine.snapshots.listing("/theirs")
    assert [(found.path, found.foreign) for found in listing.snapshots] == [(theirs, True)]
    assert listing.warnings[0].startswith(f"{theirs} is a snapshot of another store")
    assert info(kit, id).path == ours
    kit.fs.unlink(ours)
    assert kit.engine.snapshots.listing("/theirs").warnings, "not even while ours is missing"
    assert (info(kit, id).path, info(kit, id).state) == (ours, "missing")
    assert info(kit, theirs).foreign


def test_ours_takes_its_id_back_from_another_store_s(kit: SnapshotKit) -> None:
    ours, theirs = ours_and_theirs(kit)
    id = kit.ids()[0]
    lose_the_registry(kit)
    kit.engine.snapshots.list("/theirs")
    assert info(kit, id).path == theirs
    assert kit.engine.snapshots.listing("/ours").warnings == []
    assert info(kit, id).path == ours
    assert kit.engine.snapshots.listing("/theirs").warnings != []
    assert info(kit, id).path == ours


def test_a_base_of_another_store_counts_for_nothing(kit: SnapshotKit) -> None:
    """Theirs has the id of our base: it neither holds that base's place nor counts as what others build on."""
    ours, theirs = ours_and_theirs(kit)
    id = kit.ids()[0]
    child = kit.later(incremental=True).id
    lose_the_registry(kit)
    kit.engine.snapshots.list("/theirs")
    assert info(kit, id).dependents == ()
    assert info(kit, child).state == "ready", "its base lies where it lay"
    kit.fs.unlink(ours)
    assert info(kit, child).state == "base_missing"
    kit.engine.snapshots.delete(theirs)


# Crashes --------------------------------------------------------------------------------------------------------------


def test_a_power_cut_while_a_directory_is_listed_leaves_all_of_it_known_or_none(kit: SnapshotKit) -> None:
    full = kit.later(path="/backups").id
    kit.upsert(["d"], 4)
    child = kit.later(path="/backups", incremental=True).id
    elsewhere = kit.later().id
    gone = kit.later(path="/gone").id
    lose_the_registry(kit)
    kit.engine.snapshots.list("/gone")
    move(kit, info(kit, gone).path, "/backups")
    kit.fs.sync_dir("/backups")
    kit.fs.sync_dir("/gone")
    kit.ids()
    start = kit.fs.ops
    kit.engine.snapshots.list("/backups")
    rng, outcomes = random.Random(5), set()
    for cut in range(start, kit.fs.ops + 1):
        for draw in range(DRAWS):
            disk = kit.fs.crash_disk_at(cut, rng, "prefix" if draw % 2 else "subset")
            after = SnapshotKit(MemFileSystem(disk), seed=100 + cut)
            found = {known.id: known.path.rpartition("/")[0] for known in after.engine.snapshots.list()}
            outcomes.add(len(found))
            if cut == kit.fs.ops or len(found) > 2:
                assert found == {full: "/backups", child: "/backups", gone: "/backups", elsewhere: SNAPSHOTS_DIR}
            else:
                assert found == {gone: "/gone", elsewhere: SNAPSHOTS_DIR}
            assert after.engine.snapshots.listing("/backups").warnings == []
            assert len(after.ids()) == 4
            assert all(known.state == "ready" for known in after.engine.snapshots.list())
    assert outcomes == {2, 4}
