"""A damaged segment at start: the store serves the rest, and says of what it held that it is lost (RULES 28)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from holdfastd.engine.engine import Engine
from holdfastd.engine.replay import ReplayRequest
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import FailedPrecondition, UnsupportedFormat
from holdfastd.format.segment import SEGMENT_VERSION, decode_segment_info, encode_segment_info
from holdfastd.storage.names import Layout
from tests.support.engines import CALLER, ROOT, Kit, abandon, rows
from tests.support.logs import flip
from tests.support.memfs import MemFileSystem
from tests.support.segment_damages import file_of, ids, kit_with_two_segments, lose, refused, segment_dir, start
from tests.support.snapshots import SnapshotKit

LAYOUT = Layout(ROOT)


@pytest.fixture
def kit() -> SnapshotKit:
    return kit_with_two_segments()


def truncate(fs: MemFileSystem, path: str) -> str:
    size = fs.size(path)
    file = fs.open(path)
    file.truncate(size - 1)
    file.sync()
    file.close()
    return f"{path} at offset {size - 1}: has {size - 1} bytes instead of {size}"


def spoil(fs: MemFileSystem, path: str) -> str:
    fs.fail_on("read", path, errno.EIO, forever=True)
    return f"{path}: cannot be read: "


def all_files(fs: MemFileSystem, path: str = ROOT) -> dict[str, bytes]:
    found = {}
    for name in fs.listdir(path):
        each = f"{path}/{name}"
        found |= all_files(fs, each) if fs.is_dir(each) else {each: fs.read(each)}
    return found


def cut(count: int) -> Callable[[Kit, str], None]:
    """Bytes off the end."""

    def damage(kit: Kit, path: str) -> None:
        file = kit.fs.open(path)
        file.truncate(kit.fs.size(path) - count)
        file.close()

    return damage


def at(offset: int) -> Callable[[Kit, str], None]:
    """One bit changed there, from the end if it is negative."""
    return lambda kit, path: flip(kit.fs, path, offset % kit.fs.size(path))


def gone(kit: Kit, path: str) -> None:
    kit.fs.unlink(path)


def a_directory(kit: Kit, path: str) -> None:
    kit.fs.unlink(path)
    kit.fs.mkdir(path)


def emptied(kit: Kit, path: str) -> None:
    cut(kit.fs.size(path))(kit, path)


def another_s(kit: Kit, path: str) -> None:
    """The file of the same name of the collection's other segment."""
    content = kit.fs.read(f"{segment_dir(kit, 1)}/{path.rsplit('/', 1)[1]}")
    kit.fs.damage(path, 0, content)
    cut(kit.fs.size(path) - len(content))(kit, path)


OTHER = "describes segment {other} (2 rows, number 1) of collection {collection}"
TABLE: dict[str, tuple[str, Callable[[Kit, str], None], str]] = {
    "segment.json is missing": ("segment.json", gone, "the file is missing"),
    "segment.json is a directory": ("segment.json", a_directory, "cannot be read: is a directory"),
    "segment.json is changed": ("segment.json", at(30), "the segment's SHA-256 does not match its content"),
    "segment.json is cut": ("segment.json", cut(1), "not a segment document, or cut short"),
    "segment.json is empty": ("segment.json", emptied, "not a segment document, or cut short"),
    "segment.json is that of another segment": ("segment.json", another_s, OTHER),
    "vectors.npy is missing": ("vectors.npy", gone, "the file is missing"),
    "vectors.npy is short": ("vectors.npy", cut(3), "has 4109 bytes instead of 4112"),
    "the header of vectors.npy is changed": ("vectors.npy", at(0), "not an npy file of version 1.0"),
    "the header of rows.npy is changed": ("rows.npy", at(12), "npy header is not of the form that is written here"),
    "ids.npy is short": ("ids.npy", cut(1), "has 129 bytes instead of 130"),
    "payloads.npy is missing": ("payloads.npy", gone, "the file is missing"),
    "norms.npy is missing": ("norms.npy", gone, "the file is missing"),
    "the kills are missing": ("kills", gone, "the file is missing"),
    "the kills are changed": ("kills", at(-1), "the content does not match the checksum in the file's name"),
    "the kills are cut": ("kills", cut(1), "the content does not match the checksum in the file's name"),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_table_of_damages(kit: SnapshotKit, case: str) -> None:
    """What is said of each, word for word."""
    file, damage, problem = TABLE[case]
    path, stats = file_of(kit, file), kit.engine.collections.stats("c")
    first, other = (segment_dir(kit, number).rsplit("/", 1)[1] for number in range(2))
    damage(kit, path)
    engine = start(kit)
    expected = problem.format(other=other, collection=stats.spec.id)
    (part,) = engine.collections.stats("c").quarantined
    assert (part.segment_id, part.path, part.rows) == (first, path, 2)
    assert part.problem == expected
    assert ids(engine.points.get("c", ["b", "d"])) == ["b", "d"]
    refused(lambda: engine.points.get("c", ["a"]))


READERS: dict[str, Callable[[Engine], Any]] = {
    "search": lambda engine: engine.points.search("c", rows(1.0), k=1),
    "scroll": lambda engine: engine.points.reading("c").scroll(limit=10),
    "scroll by id": lambda engine: engine.points.reading("c").scroll(order="id", limit=10),
    "export": lambda engine: list(engine.points.export("c")),
    "count": lambda engine: engine.points.count("c"),
    "count where": lambda engine: engine.points.count("c", "n = 1"),
}
WRITERS: dict[str, Callable[[Engine], Any]] = {
    "upsert": lambda engine: engine.points.upsert("c", ["new"], rows(1.0), b"", caller=CALLER),
    "update": lambda engine: engine.points.update(
        "c", ["d"], vectors=rows(1.0), payload_block=b"", merge=False, caller=CALLER
    ),
    "delete": lambda engine: engine.points.delete_ids("c", ["d"], caller=CALLER),
    "delete where": lambda engine: engine.points.delete_where("c", "n = 1", caller=CALLER),
    "truncate": lambda engine: engine.points.truncate("c", caller=CALLER),
}


@pytest.mark.parametrize("damage", [lose, truncate, spoil])
@pytest.mark.parametrize("file", ["segment.json", "vectors.npy", "rows.npy", "ids.npy", "kills"])
def test_a_damaged_segment_is_set_aside_and_the_rest_is_served(
    kit: SnapshotKit, file: str, damage: Callable[[MemFileSystem, str], str]
) -> None:
    path, segment = file_of(kit, file), segment_dir(kit).rsplit("/", 1)[1]
    what = damage(kit.fs, path)
    if damage is truncate and file in ("segment.json", "kills"):
        what = path
    for _ in range(2):
        engine = start(kit)
        assert engine.points.count("other") == 1
        assert ids(engine.points.get("c", ["b", "d"])) == ["b", "d"]
        error = refused(partial(engine.points.get, "c", ["d", "a"]))
        assert error.message.startswith(what), (error.message, what)
        assert f"segment {segment} of 'c' with 2 rows is quarantined" in error.message
        assert "nothing certain can be said of 1 of the points asked for: 'a'" in error.message
        assert error.metadata["collection"] == "c"
        assert error.metadata["segment"] == segment
        assert error.metadata["path"] == path
        assert error.metadata["rows"] == "2"
        (part,) = engine.collections.stats("c").quarantined
        assert (part.segment_id, part.path, part.rows) == (segment, path, 2)
        assert engine.collections.stats("other").quarantined == ()
        assert any("is quarantined" in warning for warning in engine.recovery.warnings)


@pytest.mark.parametrize("reader", READERS)
def test_what_needs_all_points_is_refused(kit: SnapshotKit, reader: str) -> None:
    lose(kit.fs, file_of(kit, "vectors.npy"))
    engine = start(kit)
    error = refused(lambda: READERS[reader](engine))
    assert error.hint is not None
    assert "holdfast storage snapshot restore latest --from-collection c --collection c-restored" in error.hint
    assert "holdfast storage snapshot restore latest --from-collection c --overwrite" in error.hint
    assert "holdfast collection delete c --confirm" in error.hint


@pytest.mark.parametrize("writer", WRITERS)
def test_no_write_is_taken(kit: SnapshotKit, writer: str) -> None:
    lose(kit.fs, file_of(kit, "vectors.npy"))
    engine = start(kit)
    before = engine.sequence
    refused(lambda: WRITERS[writer](engine))
    assert engine.sequence == before
    kit.upsert(["y"], name="other")


def test_snapshots_of_other_collections_go_on(kit: SnapshotKit) -> None:
    lose(kit.fs, file_of(kit, "vectors.npy"))
    start(kit)
    assert kit.snapshot(collection="other")["vectors"] == 1
    refused(lambda: kit.snapshot(collection="c"))
    error = refused(lambda: kit.snapshot())
    assert "others can, by name: holdfast storage snapshot create NAME" in error.message
    assert len(kit.ids()) == 1


def test_an_id_that_no_row_of_the_segment_had_does_not_exist(kit: SnapshotKit) -> None:
    lose(kit.fs, file_of(kit, "vectors.npy"))
    assert start(kit).points.get("c", ["never", "b"])[0].id == "b"


def test_a_row_that_was_deleted_before_is_not_missed(kit: SnapshotKit) -> None:
    kit.delete("a")
    kit.engine.checkpoint()
    lose(kit.fs, file_of(kit, "vectors.npy"))
    engine = start(kit)
    assert ids(engine.points.get("c", ["a"])) == []
    assert engine.points.count("c") == 2, "every row of the segment is known to be dead"
    assert kit.values() == {"b": 3, "d": 4}
    assert kit.snapshot(collection="c")["vectors"] == 2
    assert engine.collections.stats("c").quarantined != ()
    refused(lambda: kit.upsert(["a"]))


def test_without_its_kills_nobody_can_tell_which_rows_were_dead(kit: SnapshotKit) -> None:
    kit.delete("a")
    kit.engine.checkpoint()
    lose(kit.fs, file_of(kit, "kills"))
    engine = start(kit)
    refused(lambda: engine.points.get("c", ["a"]))
    assert ids(engine.points.get("c", ["b"])) == ["b"]


def test_what_the_log_holds_after_the_checkpoint_is_read_as_far_as_it_is_certain(kit: SnapshotKit) -> None:
    kit.upsert(["new"], 7)
    kit.upsert(["a"], 8)
    kit.upsert(["d"], 9)
    kit.upsert(["a", "new"], 8, 8)
    lose(kit.fs, file_of(kit, "vectors.npy"))
    for _ in range(2):
        engine = start(kit)
        found = engine.points.get("c", ["new", "d", "b"])
        assert [(record.id, record.version) for record in found] == [("new", 2), ("d", 2), ("b", 2)]
        error = refused(partial(engine.points.get, "c", ["a"]))
        assert "'a'" in error.message, "how often it was written is not known"
        engine.checkpoint()
        engine.checkpoint()


def test_a_delete_in_the_log_settles_what_the_segment_held(kit: SnapshotKit) -> None:
    kit.delete("a")
    kit.upsert(["a"], 8)
    lose(kit.fs, file_of(kit, "vectors.npy"))
    engine = start(kit)
    (record,) = engine.points.get("c", ["a"])
    assert record.version == 1


def test_a_truncation_in_the_log_leaves_nothing_to_miss(kit: SnapshotKit) -> None:
    kit.engine.points.truncate("c", caller=CALLER)
    kit.upsert(["a"], 8)
    lose(kit.fs, file_of(kit, "kills"))
    engine = start(kit)
    assert kit.values() == {"a": 8}
    assert kit.versions() == {"a": 1}
    assert engine.collections.stats("c").vectors == 1


@pytest.mark.parametrize("file", ["vectors.npy", "kills"])
def test_a_file_that_is_put_back_brings_everything_back(kit: SnapshotKit, file: str) -> None:
    """Nothing that happened meanwhile has changed the collection: not the checkpoints, not the writes to others."""
    kit.upsert(["a", "new"], 8, 9)
    kit.delete("d")
    path = file_of(kit, file)
    content, digest = kit.fs.read(path), kit.engine.collections.stats("c").digest
    lose(kit.fs, path)
    start(kit)
    for _ in range(5):
        kit.upsert([f"x{n}" for n in range(50)], name="other")
        kit.engine.checkpoint()
    kit.restart()
    kit.engine.checkpoint()
    kit.put(path, content)
    engine = start(kit)
    assert kit.values() == {"a": 8, "b": 3, "new": 9}
    assert kit.versions() == {"a": 2, "b": 2, "new": 1}
    stats = engine.collections.stats("c")
    assert (stats.vectors, stats.digest, stats.quarantined) == (3, digest, ())
    assert engine.alarms() == []
    kit.upsert(["z"])
    engine.checkpoint()
    assert engine._keeper.current.log_start_required == engine.sequence + 1


def test_the_log_is_kept_for_it_only_where_it_is_needed(kit: SnapshotKit) -> None:
    lose(kit.fs, file_of(kit, "vectors.npy"))
    kit.upsert(["y"], name="other")
    engine = start(kit)
    engine.checkpoint()
    assert engine._keeper.current.log_start_required == engine.sequence + 1


def test_the_alarm_names_the_file_and_the_next_command_and_goes_with_the_collection(kit: SnapshotKit) -> None:
    kit.upsert(["new"])
    path = file_of(kit, "rows.npy")
    lose(kit.fs, path)
    engine = start(kit)
    (alarm,) = engine.alarms()
    assert (alarm.code, alarm.severity) == ("SEGMENT_QUARANTINED", "critical")
    assert alarm.message == (
        f"c: a segment with 2 rows cannot be read and is quarantined: {path}: the file is missing; it takes no writes, "
        "and only what is certain is read; the log is kept from sequence 6 on for it"
    )
    assert alarm.hint.startswith("restore it beside what is left: holdfast storage snapshot restore latest")
    engine.collections.drop("c", caller=CALLER)
    assert engine.alarms() == []
    engine.checkpoint()
    engine.checkpoint()
    assert kit.fs.listdir(LAYOUT.collections) == [str(engine.collections.stats("other").spec.id)]
    assert start(kit).alarms() == []


@pytest.mark.parametrize("beside", [True, False])
def test_restoring_a_snapshot_repairs_it(kit: SnapshotKit, beside: bool) -> None:
    kit.snapshot()
    lose(kit.fs, file_of(kit, "vectors.npy"))
    start(kit)
    if beside:
        kit.restore("latest", from_collection="c", collection="c-restored")
        assert kit.values("c-restored") == {"a": 1, "b": 3, "d": 4}
        refused(kit.values)
        return
    kit.restore("latest", from_collection="c", overwrite=True)
    assert kit.engine.alarms() == []
    assert kit.values() == {"a": 1, "b": 3, "d": 4}
    kit.upsert(["a"], 5)
    start(kit)
    assert kit.values() == {"a": 5, "b": 3, "d": 4}


def test_no_file_of_it_is_ever_removed_or_changed(kit: SnapshotKit) -> None:
    kit.upsert(["b", "new"])
    collection = LAYOUT.collection_dir(kit.engine.collections.stats("c").spec.id)
    kit.put(f"{segment_dir(kit)}/kills-00000000000000000001-00000000.npy", b"of an earlier checkpoint")
    lose(kit.fs, file_of(kit, "vectors.npy"))
    before = all_files(kit.fs, collection)
    for _ in range(2):
        start(kit)
        kit.upsert(["y"], name="other")
        kit.engine.checkpoint()
        kit.restart()
    assert all_files(kit.fs, collection) == before


def test_a_collection_whose_directory_is_gone(kit: SnapshotKit) -> None:
    for path in all_files(kit.fs, LAYOUT.collection_dir(kit.engine.collections.stats("c").spec.id)):
        kit.fs.unlink(path)
    engine = start(kit)
    assert engine.collections.stats("c").vectors == 3
    assert len(engine.collections.stats("c").quarantined) == 2
    refused(lambda: engine.points.get("c", ["never"]))
    assert engine.points.count("other") == 1
    kit.restart()
    refused(lambda: kit.engine.points.get("c", ["never"]))


def test_a_replay_onto_it_is_refused(kit: SnapshotKit) -> None:
    kit.snapshot(collection="c")
    kit.restore("latest", collection="copy")
    kit.upsert(["e"], 5)
    kit.fs.unlink(f"{segment_dir(kit, 0, 'copy')}/vectors.npy")
    engine = start(kit)
    request = ReplayRequest(collection="copy")
    refused(lambda: engine.replay.start(request, caller=CALLER))


def test_a_newer_format_and_a_lack_of_permission_are_no_damage(kit: SnapshotKit) -> None:
    path = file_of(kit, "segment.json")
    content = kit.fs.read(path)
    document = replace(decode_segment_info(content), format_version=SEGMENT_VERSION + 1)
    kit.put(path, encode_segment_info(document))
    abandon(kit.fs)
    with pytest.raises(UnsupportedFormat):
        kit._open()
    kit.put(path, content)
    kit.fs.fail_on("read", path, errno.EACCES)
    abandon(kit.fs)
    with pytest.raises(FailedPrecondition):
        kit._open()
    start(kit)
    assert kit.values() == {"a": 1, "b": 3, "d": 4}


# The log that is kept for it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [False, True])
def test_the_log_that_is_kept_for_it_survives_being_switched_off(kit: SnapshotKit, again: bool) -> None:
    kit.upsert(["a", "new"], 8, 9)
    path = file_of(kit, "vectors.npy")
    content = kit.fs.read(path)
    lose(kit.fs, path)
    start(kit)
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["y"], name="other")
    kit.engine.checkpoint()
    if again:
        kit.engine.wal.enable(WalChanges(), caller=CALLER)
        kit.upsert(["z"], name="other")
        kit.engine.checkpoint()
    kit.restart()
    refused(lambda: kit.engine.points.get("c", ["a"]))
    kit.put(path, content)
    start(kit)
    assert kit.values() == {"a": 8, "b": 3, "d": 4, "new": 9}
    assert len(kit.values("other")) == 2 + again


def test_a_manifest_that_is_lost_as_well(kit: SnapshotKit) -> None:
    kit.upsert(["a", "new"], 8, 9)
    path = file_of(kit, "vectors.npy")
    content = kit.fs.read(path)
    lose(kit.fs, path)
    start(kit).checkpoint()
    kit.upsert(["y"], name="other")
    flip(kit.fs, LAYOUT.manifest, 40)
    start(kit)
    refused(lambda: kit.engine.points.get("c", ["a"]))
    kit.put(path, content)
    start(kit)
    assert kit.values() == {"a": 8, "b": 3, "d": 4, "new": 9}


def test_the_points_that_the_log_brings_back_do_not_hold_writers(kit: SnapshotKit) -> None:
    """They can never become a segment; counted with the others they would stop everybody for good."""
    kit.memtable_bytes = 2000
    for number in range(40):
        kit.upsert([f"n{number}"], payloads=[b'{"t":"%s"}' % (b"x" * 200)])
    lose(kit.fs, file_of(kit, "vectors.npy"))
    engine = start(kit)
    assert engine._checkpoints.memory_is_full() is None
    kit.upsert(["y"], name="other")
