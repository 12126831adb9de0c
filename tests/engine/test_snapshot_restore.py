"""Restoring: what was there comes back, under which name, and a restore that fails leaves the store as it was."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfastd.engine.helpers import Helpers
from holdfastd.engine.snapshots import RestoreRequest
from holdfastd.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    CommitUnknown,
    Corruption,
    FailedPrecondition,
    HoldfastError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from holdfastd.model import StorageKind, SyncMode
from tests.support.engines import CALLER
from tests.support.oracle import observe
from tests.support.restores import assert_sound, before_the_staged_entry, directories, with_rows
from tests.support.snapshots import COLLECTIONS_DIR, SnapshotKit


@pytest.fixture
def kit() -> SnapshotKit:
    return with_rows()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("verify", [False, True])
def test_what_was_there_comes_back_under_another_name(kit: SnapshotKit, compress: bool, verify: bool) -> None:
    taken = kit.snapshot(compress=compress)
    before = observe(kit.engine)
    kit.upsert(["a", "later"], 100, 101)
    now = observe(kit.engine)
    result = kit.restore(taken["snapshot_id"], collection="copy", verify=verify)
    shown = ["snapshot_id", "collections_restored", "vectors_restored", "duration_ms", "status"]
    assert list(result)[:5] == shown
    assert (
        result
        | {
            "snapshot_id": taken["snapshot_id"],
            "collections_restored": ["copy"],
            "vectors_restored": 3,
            "status": "completed",
            "verified": verify,
            "restored_through_sequence": taken["sequence"],
            "sequence": kit.engine.sequence,
        }
        == result
    )
    assert kit.engine.collections.stats("copy").digest == before.collections["c"].digest()
    assert_sound(kit, replace(now, collections={**now.collections, "copy": before.collections["c"]}))


def test_a_restored_collection_has_a_new_id_and_remembers_its_origin(kit: SnapshotKit) -> None:
    taken = kit.snapshot()
    kit.restore("latest", collection="copy")
    original, copy = (kit.engine.collections.stats(name).spec for name in ("c", "copy"))
    assert copy.id != original.id
    assert copy.origin is not None
    assert copy.origin.collection_id == original.id
    assert (copy.origin.store_id, copy.origin.timeline, copy.origin.through) == (
        kit.engine.store_id,
        1,
        taken["sequence"],
    )
    assert original.origin is None
    kit.restore(kit.snapshot(collection="copy")["snapshot_id"], collection="third")
    third = kit.engine.collections.stats("third").spec.origin
    assert third is not None
    assert third.collection_id == copy.id


def test_rows_keep_their_sequences_times_and_versions(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.restore("latest", collection="copy")
    kept = [
        [(r.id, r.version, r.sequence, r.time_us, r.payload) for r in kit.engine.points.get(name, ["a", "b", "d"])]
        for name in ("c", "copy")
    ]
    assert kept[0] == kept[1]
    assert [version for _, version, *_ in kept[0]] == [1, 2, 1]


def test_a_restore_drill_does_not_turn_the_live_stores_sequence_back(kit: SnapshotKit) -> None:
    kit.snapshot()
    for n in range(5):
        kit.upsert(["z"], n)
    before = kit.engine.sequence
    kit.restore("latest", collection="drill")
    assert kit.engine.sequence == before + 1


def test_a_new_store_goes_on_behind_the_snapshot_of_an_old_one(kit: SnapshotKit) -> None:
    for n in range(30):
        kit.upsert(["z"], n)
    taken = kit.snapshot()
    expected = observe(kit.engine)
    other = SnapshotKit(seed=8)
    path = other.put("/copied.snap", kit.fs.read(taken["path"]))
    result = other.restore(path)
    assert result["sequence"] == taken["sequence"] + 1 == other.engine.sequence
    assert other.engine.store_id != kit.engine.store_id
    assert_sound(other, expected)


def test_a_restored_collection_takes_writes_checkpoints_and_deletes(kit: SnapshotKit) -> None:
    kit.snapshot(compress=True)
    kit.restore("latest", collection="copy")
    assert kit.upsert(["a", "e"], 7, 8, name="copy").count == 2
    assert kit.delete("b", name="copy").count == 1
    kit.engine.checkpoint()
    kit.upsert(["f"], 9, name="copy")
    kit.reopen()
    assert kit.values("copy") == {"a": 7.0, "d": 4.0, "e": 8.0, "f": 9.0}
    assert kit.versions("copy") == {"a": 2, "d": 1, "e": 1, "f": 1}
    assert kit.values("c") == {"a": 1.0, "b": 20.0, "d": 4.0}


def test_overwriting_brings_the_old_content_back_and_removes_the_newer(kit: SnapshotKit) -> None:
    taken = kit.snapshot()
    expected = observe(kit.engine)
    kit.upsert(["a", "later"], 100, 101)
    kit.engine.checkpoint()
    old = str(kit.engine.collections.stats("c").spec.id)
    with pytest.raises(AlreadyExists, match="a collection named 'c' already exists") as caught:
        kit.restore(taken["snapshot_id"])
    assert caught.value.hint == "replace it with --overwrite, or restore under another name with --collection"
    result = kit.restore(taken["snapshot_id"], overwrite=True)
    assert result["collections_overwritten"] == ["c"]
    assert old not in directories(kit)
    assert_sound(kit, expected)


def test_an_open_view_of_what_was_replaced_stays_readable(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.engine.checkpoint()
    stream = kit.engine.points.export("c")
    kit.restore("latest", overwrite=True)
    assert sorted(record.id for batch in stream for record in batch) == ["a", "b", "d"]


def test_restoring_everything_brings_aliases_and_names_what_it_left_alone(kit: SnapshotKit) -> None:
    aliases = kit.engine.collections
    kit.create("d")
    kit.create("e")
    for alias, name in (("one", "c"), ("two", "d"), ("three", "d")):
        aliases.create_alias(alias, name, caller=CALLER)
    kit.snapshot()
    aliases.delete_alias("one", caller=CALLER)
    aliases.switch_alias("two", "e", caller=CALLER)
    aliases.delete_alias("three", caller=CALLER)
    kit.create("three")
    aliases.drop("d", caller=CALLER)
    aliases.create_alias("four", "c", caller=CALLER)
    result = kit.restore("latest", overwrite=True)
    assert result["collections_restored"] == ["c", "d", "e"]
    assert result["collections_overwritten"] == ["c", "e"]
    assert result["collections_untouched"] == ["three"]
    assert result["warnings"] == [
        "the alias three was not restored: a collection has that name",
        "the alias two was left pointing to e, not to d",
    ]
    expected = [("four", "c"), ("one", "c"), ("two", "e")]
    assert kit.engine.collections.aliases() == expected
    kit.reopen()
    assert kit.engine.collections.aliases() == expected


def test_one_collection_of_several(kit: SnapshotKit) -> None:
    kit.create("d")
    kit.upsert(["q"], 5, name="d")
    kit.snapshot()
    with pytest.raises(InvalidArgument, match="holds 2 collections, and --collection x names one target") as caught:
        kit.restore("latest", collection="x")
    assert caught.value.hint == "say which with --from-collection: c, d"
    kit.restore("latest", collection="x", from_collection="d")
    assert kit.values("x") == {"q": 5.0}
    with pytest.raises(NotFound, match="holds no collection 'nope'"):
        kit.restore("latest", from_collection="nope")
    kit.engine.collections.drop("d", caller=CALLER)
    result = kit.restore("latest", from_collection="d")
    assert (result["collections_restored"], result["collections_untouched"]) == (["d"], [])


def test_names_that_are_aliases_are_never_replaced(kit: SnapshotKit) -> None:
    kit.engine.collections.create_alias("shop", "c", caller=CALLER)
    kit.snapshot()
    with pytest.raises(AlreadyExists, match="'shop' is an alias of 'c'"):
        kit.restore("latest", collection="shop", overwrite=True)
    with pytest.raises(InvalidArgument, match="is not a valid name"):
        kit.restore("latest", collection="../x")


def test_a_plan_touches_nothing(kit: SnapshotKit) -> None:
    kit.snapshot()
    before = observe(kit.engine)
    plan = kit.restore("latest", overwrite=True, validate_only=True)
    assert (plan["status"], plan["collections_overwritten"], plan["vectors_restored"]) == ("planned", ["c"], 3)
    with pytest.raises(AlreadyExists):
        kit.restore("latest", validate_only=True)
    assert_sound(kit, before)


def test_a_memory_collection_comes_back_until_the_next_start(kit: SnapshotKit) -> None:
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["x", "y"], 1, 2, name="m")
    kit.snapshot()
    kit.delete("x", "y", name="m")
    kit.restore("latest", from_collection="m", overwrite=True)
    kit.upsert(["y"], 3, name="m")
    assert kit.values("m") == {"x": 1.0, "y": 3.0}
    kit.engine.checkpoint()
    assert_sound(kit, observe(kit.engine))
    assert kit.values("m") == {}


def test_many_parts_make_one_index_run(kit: SnapshotKit) -> None:
    for n in range(12):
        kit.upsert([f"p{n}", "b"], n, n)
        kit.engine.checkpoint()
    kit.snapshot()
    kit.restore("latest", collection="copy")
    copy = kit.engine._applier.catalog.resolve("copy")
    assert len(copy.segments) > 10
    assert len(copy.index.runs) == 1
    expected = observe(kit.engine)
    assert expected.collections["copy"] == expected.collections["c"]
    assert_sound(kit, expected)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gz"])
def test_parts_are_checked_on_another_thread_while_the_next_ones_are_copied(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, compress: bool
) -> None:
    for n in range(5):
        kit.upsert([f"p{n}", "same"], n, n)
        kit.engine.checkpoint()
    kit.snapshot(compress=compress)
    monkeypatch.setattr(kit.fs, "beside", Helpers(3))
    kit.restore("latest", collection="copy", from_collection="c", verify=True)
    found = observe(kit.engine).collections
    assert found["copy"] == found["c"]
    monkeypatch.undo()
    assert_sound(kit, observe(kit.engine))


def test_a_retry_of_the_same_request_is_answered_with_the_same_operation(kit: SnapshotKit) -> None:
    kit.snapshot()
    caller = replace(CALLER, request_id="r1")
    request = RestoreRequest("latest", collection="copy")
    first = kit.engine.operations.wait(kit.engine.snapshots.start_restore(request, caller=caller).id)
    assert kit.engine.snapshots.start_restore(request, caller=caller).id == first.id


# With the log disabled, and in the looser modes -----------------------------------------------------------------------


def test_with_the_log_disabled_the_manifest_alone_holds_it(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.engine.wal.disable(caller=CALLER)
    kit.restore("latest", overwrite=True)
    expected = observe(kit.engine)
    sequence = kit.engine.sequence
    kit.reopen()
    assert observe(kit.engine) == expected
    assert kit.engine.sequence >= sequence


@pytest.mark.parametrize("mode", [SyncMode.ASYNC, SyncMode.PERIODIC])
def test_a_restore_is_durable_in_every_mode(mode: SyncMode) -> None:
    kit = SnapshotKit(sync_mode=mode)
    kit.create("c")
    kit.upsert(["a"], 1)
    kit.snapshot()
    result = kit.restore("latest", collection="copy")
    assert kit.engine.durable_sequence >= result["sequence"]


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["create", "write", "sync", "resize", "mkdir", "sync_dir"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_leaves_the_store_as_it_was(kit: SnapshotKit, kind: str, code: int) -> None:
    kit.snapshot()
    expected = observe(kit.engine)
    kit.fs.fail_on(kind, f"{COLLECTIONS_DIR}*", code)
    wanted = ResourceExhausted if code == errno.ENOSPC else FailedPrecondition
    with pytest.raises(wanted, match="nothing was restored"):
        kit.restore("latest", overwrite=True)
    kit.fs.heal()
    assert len(directories(kit)) == 1
    assert_sound(kit, expected)


def test_a_cancelled_restore_leaves_the_store_as_it_was(kit: SnapshotKit) -> None:
    kit.snapshot()
    expected = observe(kit.engine)

    def cancel() -> None:
        (running,) = [operation for operation in kit.engine.operations.list() if not operation.state.final]
        kit.engine.operations.cancel(running.id)

    before_the_staged_entry(kit, cancel)
    with pytest.raises(Cancelled):
        kit.restore("latest", overwrite=True)
    assert len(directories(kit)) == 1
    assert_sound(kit, expected)


RACES: list[tuple[str, Callable[[SnapshotKit], object], bool, type[HoldfastError]]] = [
    ("dropped", lambda kit: kit.engine.collections.drop("c", caller=CALLER), True, Aborted),
    ("created", lambda kit: kit.create("copy"), False, AlreadyExists),
    ("alias", lambda kit: kit.engine.collections.create_alias("copy", "c", caller=CALLER), False, AlreadyExists),
]


@pytest.mark.parametrize(("race", "overwrite", "error"), [row[1:] for row in RACES], ids=[row[0] for row in RACES])
def test_names_that_change_while_it_is_staged_stop_it(
    kit: SnapshotKit, race: Callable[[SnapshotKit], object], overwrite: bool, error: type[HoldfastError]
) -> None:
    kit.snapshot()
    before_the_staged_entry(kit, lambda: race(kit))
    with pytest.raises(error):
        kit.restore("latest", collection=None if overwrite else "copy", overwrite=overwrite)
    assert_sound(kit, observe(kit.engine))


def test_staging_survives_when_the_log_fails_with_the_record_in_flight(kit: SnapshotKit) -> None:
    """The record may be on the disk: then recovery needs what was staged."""
    kit.snapshot()
    before = observe(kit.engine)
    before_the_staged_entry(kit, lambda: kit.fs.fail_on("sync", "/data/wal/*", errno.EIO))
    with pytest.raises(CommitUnknown):
        kit.restore("latest", collection="copy")
    assert len(directories(kit)) == 2
    kit.fs.heal()
    kit.reopen()
    after = observe(kit.engine)
    assert after.collections["c"] == before.collections["c"]
    assert "copy" not in after.collections or after.collections["copy"] == before.collections["c"]


def test_a_full_log_refuses_and_nothing_is_left(kit: SnapshotKit) -> None:
    kit.snapshot()
    expected = observe(kit.engine)
    before_the_staged_entry(kit, lambda: kit.fs.fail_on("write", "/data/wal/*", errno.ENOSPC))
    with pytest.raises(ResourceExhausted):
        kit.restore("latest", overwrite=True)
    kit.fs.heal()
    assert len(directories(kit)) == 1
    assert_sound(kit, expected)


def test_too_little_space_is_said_before_anything_is_staged(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.fs.leave_free(1500)
    with pytest.raises(ResourceExhausted, match=r"/data/collections has \d+ bytes free"):
        kit.restore("latest", collection="copy")
    assert len(directories(kit)) == 1


def test_damage_found_by_a_restore_is_remembered(kit: SnapshotKit) -> None:
    taken = kit.snapshot()
    kit.fs.damage(taken["path"], kit.fs.size(taken["path"]) // 2, b"\xff" * 7)
    with pytest.raises(Corruption):
        kit.restore(taken["snapshot_id"], collection="copy")
    (info,) = kit.engine.snapshots.list()
    assert info.state == "damaged"
    assert info.record.damage
    with pytest.raises(Corruption, match=f"the newest snapshot, {info.id}, is damaged"):
        kit.restore("latest", collection="copy")


def test_a_success_is_a_verification(kit: SnapshotKit) -> None:
    kit.snapshot()
    assert kit.engine.snapshots.get("latest").record.verified_us == 0
    kit.restore("latest", collection="copy")
    assert kit.engine.snapshots.get("latest").record.verified_us > 0


def test_a_drop_after_a_restore_is_replayed_in_order(kit: SnapshotKit) -> None:
    kit.snapshot()
    kit.restore("latest", overwrite=True)
    kit.engine.collections.drop("c", caller=CALLER)
    kit.restore("latest")
    kit.upsert(["z"], 5)
    assert_sound(kit, observe(kit.engine))
