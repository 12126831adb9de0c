"""From memtables to segments: what a checkpoint keeps, what it removes, and what happens meanwhile."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.errors import FailedPrecondition, ResourceExhausted
from holdfastd.model import StorageKind, SyncMode
from holdfastd.storage.names import Layout
from tests.support.engines import CALLER, ROOT, Kit
from tests.support.oracle import observe

LAYOUT = Layout(ROOT)


@pytest.fixture
def kit() -> Kit:
    kit = Kit()
    kit.create()
    return kit


def directory(kit: Kit, name: str = "c") -> str:
    return LAYOUT.collection_dir(kit.engine.collections.stats(name).spec.id)


def every_file(kit: Kit, path: str) -> list[str]:
    if not kit.fs.is_dir(path):
        return [path]
    return [file for name in kit.fs.listdir(path) for file in every_file(kit, f"{path}/{name}")]


def during(kit: Kit, pattern: str, do: Callable[[], None]) -> None:
    """Run ``do`` when the next file operation touches a path that contains ``pattern``."""

    def hook(kind: str, path: str) -> None:
        if pattern in path:
            kit.fs.on_operation = None
            do()

    kit.fs.on_operation = hook


def test_points_move_into_a_segment_and_stay_what_they_were(kit: Kit) -> None:
    kit.upsert(["a", "b"], payloads=[b'{"n":1}', None])
    kit.upsert(["a"])
    expected = observe(kit.engine)
    assert kit.engine.checkpoint() == 3
    stats = kit.engine.collections.stats("c")
    assert (stats.segments, stats.memory_bytes) == (1, 0)
    assert observe(kit.engine, ["x"]) == expected
    assert observe(kit.reopen()) == expected


def test_a_checkpoint_of_nothing_writes_no_segment(kit: Kit) -> None:
    kit.engine.checkpoint()
    kit.upsert(["a"])
    kit.delete("a")
    kit.engine.checkpoint()
    assert kit.engine.collections.stats("c").segments == 0


def test_versions_count_on_across_segments_and_begin_again_after_a_delete(kit: Kit) -> None:
    kit.upsert(["a", "b"])
    kit.engine.checkpoint()
    kit.upsert(["a"])
    kit.delete("b")
    kit.engine.checkpoint()
    kit.upsert(["a", "b"])
    assert kit.versions() == {"a": 3, "b": 1}
    kit.engine.checkpoint()
    assert (kit.reopen() and kit.versions()) == {"a": 3, "b": 1}


def test_kills_in_old_segments_are_kept_by_the_checkpoint(kit: Kit) -> None:
    kit.upsert(["a", "b", "c"])
    kit.engine.checkpoint()
    kit.upsert(["a"], 9.0)
    kit.delete("b")
    kit.engine.checkpoint()
    kit.reopen()
    assert kit.engine.recovery.records == 0
    assert kit.values() == {"a": 9.0, "c": 3.0}


@pytest.mark.parametrize("pattern", ["vectors.npy", "segment.json", "/ids/", "MANIFEST"])
def test_writes_during_a_checkpoint_survive_it_and_the_crash_after_it(kit: Kit, pattern: str) -> None:
    kit.upsert(["a", "b", "c"])
    kit.engine.checkpoint()
    kit.upsert(["b", "d"], 5.0, 6.0)

    def write() -> None:
        kit.upsert(["a", "b", "e"], 7.0, 8.0, 9.0)
        kit.delete("c", "d")

    during(kit, pattern, write)
    kit.engine.checkpoint()
    expected = observe(kit.engine)
    assert kit.values() == {"a": 7.0, "b": 8.0, "e": 9.0}
    assert kit.versions() == {"a": 2, "b": 3, "e": 1}
    assert observe(Kit(kit.fs.crash(random.Random(1))).engine) == expected
    kit.engine.checkpoint()
    assert observe(Kit(kit.fs.crash(random.Random(1))).engine) == expected


def test_a_view_from_before_a_checkpoint_still_sees_its_moment(kit: Kit) -> None:
    kit.upsert(["a", "b"])
    export = kit.engine.points.export("c")
    view = kit.engine._applier.catalog.resolve("c").view
    kit.upsert(["a"], 9.0)
    kit.delete("b")
    kit.engine.checkpoint()
    kit.engine.collections.drop("c", caller=CALLER)
    kit.engine.checkpoint()
    assert [(r.id, r.version) for batch in export for r in batch] == [("a", 1), ("b", 1)]
    assert view.count == 2


def test_a_collection_dropped_during_its_checkpoint_stays_dropped(kit: Kit) -> None:
    kit.upsert(["a"])
    during(kit, "vectors.npy", lambda: kit.engine.collections.drop("c", caller=CALLER) and None)
    kit.engine.checkpoint()
    assert kit.engine.collections.list() == []
    assert kit.reopen().collections.list() == []


# Files.


def test_a_dropped_collection_gives_its_space_back_without_a_restart(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.checkpoint()
    gone = directory(kit)
    kit.engine.collections.drop("c", caller=CALLER)
    kit.engine.checkpoint()
    assert not kit.fs.exists(gone)
    kit.fs.unlink(f"{ROOT}/MANIFEST.json")
    kit.fs.rename(f"{ROOT}/MANIFEST.prev.json", f"{ROOT}/MANIFEST.json")
    assert kit.reopen().collections.list() == [], "the manifest before names nothing that is gone"


def test_replaced_kills_and_request_tables_are_removed_one_checkpoint_later(kit: Kit) -> None:
    kit.upsert([f"p{n}" for n in range(6)])
    kit.engine.checkpoint()
    for number in range(5):
        kit.delete(f"p{number}", caller=Caller(request_id=f"r{number}"))
        kit.engine.checkpoint()
    names = [path.rsplit("/", 1)[1] for path in every_file(kit, ROOT)]
    assert len([name for name in names if name.startswith("kills-")]) <= 2
    assert len([name for name in names if name.startswith("requests-")]) <= 2


def test_the_log_is_trimmed_to_what_the_last_two_manifests_and_retention_need() -> None:
    kit = Kit(segment_size=512)
    kit.create()
    keeper = kit.engine._keeper
    settings = keeper.current.wal_settings
    keeper.update(lambda manifest: replace(manifest, wal_settings=replace(settings, retention_us=0)))
    for number in range(12):
        kit.upsert([f"p{number}"])
    before = len(kit.engine.wal.status().files)
    kit.engine.checkpoint()
    kit.clock.advance_us(1_000_000)
    kit.upsert(["last"])
    kit.engine.checkpoint()
    after = kit.engine.wal.status()
    assert before > 4
    assert len(after.files) <= 2
    assert after.first_sequence > 1
    assert observe(kit.reopen()).collections["c"].points.keys() >= {"p0", "last"}


# Failing (RULES 27).


@pytest.mark.parametrize(("code", "expected"), [(errno.ENOSPC, ResourceExhausted), (errno.EIO, FailedPrecondition)])
@pytest.mark.parametrize("kind", ["create", "write", "sync", "rename", "mkdir", "sync_dir"])
def test_a_checkpoint_that_fails_changes_nothing_and_the_next_one_takes_all_along(
    kit: Kit, kind: str, code: int, expected: type[Exception]
) -> None:
    kit.upsert(["a", "b"])
    kit.engine.checkpoint()
    kit.upsert(["a"], 5.0)
    kit.delete("b")
    before = observe(kit.engine)
    pattern = "*/collections/*"
    kit.fs.fail_on(kind, pattern, code)
    with pytest.raises(expected):
        kit.engine.checkpoint()
    kit.fs.heal()
    assert observe(kit.engine) == before
    kit.upsert(["c"], 6.0)
    after = observe(kit.engine)
    kit.engine.checkpoint()
    assert observe(kit.engine) == after
    assert kit.engine.failure is None
    kit.reopen()
    assert kit.engine.recovery.records == 0
    assert observe(kit.engine) == after


def test_the_log_is_synced_before_the_manifest_says_so() -> None:
    kit = Kit(sync_mode=SyncMode.ASYNC)
    kit.create()
    kit.upsert(["a"])
    assert kit.engine.durable_sequence < 2
    kit.engine.checkpoint()
    assert kit.engine.durable_sequence == 2


def test_memory_collections_are_left_alone() -> None:
    kit = Kit()
    kit.create("m", storage=StorageKind.MEMORY)
    kit.upsert(["a"], name="m")
    kit.engine.checkpoint()
    kit.upsert(["b"], name="m")
    assert kit.values("m") == {"a": 1.0, "b": 1.0}
    assert kit.engine.collections.stats("m").segments == 0
