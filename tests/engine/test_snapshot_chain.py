"""The links of a chain: found wherever they lie, and named before anything is touched where one is not right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from holdfastd.engine.snapshot_chain import ChainFinder
from holdfastd.errors import Corruption, FailedPrecondition, HoldfastError
from holdfastd.format.segment import TOMBSTONE_DTYPE
from holdfastd.format.snapshot import SnapshotCollection
from tests.support.oracle import observe
from tests.support.snapshots import COLLECTIONS_DIR, ROOT, SNAPSHOTS_DIR, Archive, SnapshotKit

FULL, FIRST, SECOND = "/full", "/first", "/second"


@pytest.fixture
def kit() -> SnapshotKit:
    """A full snapshot and two increments, each in a directory of its own; the last one removes ids."""
    return chained()


def chained(seed: int = 7) -> SnapshotKit:
    kit = SnapshotKit(seed=seed)
    kit.create("c")
    kit.upsert(list("abcd"), payloads=[b'{"n":1}', None, None, None])
    kit.snapshot(path=FULL)
    for directory, step in ((FIRST, lambda: kit.upsert(["b", "e"], 20, 5)), (SECOND, lambda: kit.delete("a", "c"))):
        step()
        kit.clock.advance_us(2_000_000)
        kit.snapshot(incremental=True, path=directory)
    return kit


def the_file(kit: SnapshotKit, directory: str) -> str:
    (name,) = kit.fs.listdir(directory)
    return f"{directory}/{name}"


def assert_refused(kit: SnapshotKit, error: type[HoldfastError], *said: str, **request: Any) -> HoldfastError:
    """A restore of the last link is refused in these words, and the store is as it was."""
    before, files = observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR)
    with pytest.raises(error) as caught:
        kit.restore(the_file(kit, SECOND), collection="copy", **request)
    for text in said:
        assert text in caught.value.message
    assert caught.value.hint
    assert (observe(kit.engine), kit.fs.listdir(COLLECTIONS_DIR)) == (before, files)
    return caught.value


def assert_restored(kit: SnapshotKit, **request: Any) -> None:
    result = kit.restore(the_file(kit, SECOND), collection="copy", **request)
    assert len(result["chain"]) == 3
    assert kit.values("copy") == {"b": 20.0, "d": 4.0, "e": 5.0}


# Where links lie ------------------------------------------------------------------------------------------------------


def test_the_registry_knows_where_they_are(kit: SnapshotKit) -> None:
    assert_restored(kit)


def test_without_the_registry_they_are_where_they_were(kit: SnapshotKit) -> None:
    kit.fs.unlink(f"{ROOT}/REGISTRY.json")
    kit.reopen()
    assert_restored(kit)


def test_a_link_beside_the_increment_is_found(kit: SnapshotKit) -> None:
    for directory in (FULL, FIRST):
        path = the_file(kit, directory)
        kit.fs.rename(path, path.replace(directory, SECOND))
    (last,) = [name for name in kit.fs.listdir(SECOND) if kit.ids()[0] in name]
    assert len(kit.restore(f"{SECOND}/{last}", collection="copy")["chain"]) == 3


def test_a_link_in_a_directory_that_is_named_is_found(kit: SnapshotKit) -> None:
    kit.fs.mkdir("/mnt")
    for directory in (FULL, FIRST):
        path = the_file(kit, directory)
        kit.fs.rename(path, path.replace(directory, "/mnt"))
    assert_refused(kit, FailedPrecondition, "is missing")
    assert_restored(kit, base_path="/mnt")
    assert kit.verify(the_file(kit, SECOND))["valid"] is False


def test_another_store_restores_the_chain(kit: SnapshotKit) -> None:
    other = SnapshotKit(seed=99)
    for directory in (FULL, FIRST, SECOND):
        path = the_file(kit, directory)
        other.fs.mkdir(directory)
        other.put(path, kit.fs.read(path))
    assert_restored(other)


# Links that are not what they should be ------------------------------------------------------------------------------


@pytest.mark.parametrize("directory", [FULL, FIRST])
def test_a_missing_link_is_named_with_the_places(kit: SnapshotKit, directory: str) -> None:
    path = the_file(kit, directory)
    kit.fs.rename(path, "/gone")
    id = path.rsplit("/", 1)[1].removesuffix(".snap")
    error = assert_refused(kit, FailedPrecondition, f"{id} is missing", path)
    assert error.reason == "SNAPSHOT_LINK_MISSING"
    assert "--base-path" in error.hint
    result = kit.verify(the_file(kit, SECOND))
    assert (result["valid"], f"{id} is missing" in result["problems"][0]["message"]) == (False, True)
    kit.fs.rename("/gone", path)
    assert_restored(kit)


@pytest.mark.parametrize("directory", [FULL, FIRST])
def test_a_link_of_the_same_name_that_is_another_is_told_so(kit: SnapshotKit, directory: str) -> None:
    path = the_file(kit, directory)
    other = the_file(chained(seed=99), directory)
    assert other == path
    kit.put(path, chained(seed=99).fs.read(path))
    error = assert_refused(kit, FailedPrecondition, f"{path} is not the ")
    assert error.reason == "SNAPSHOT_LINK_FOREIGN"


DAMAGES: dict[str, Callable[[SnapshotKit, str, int], object]] = {
    "manifest": lambda kit, path, size: kit.fs.damage(path, 700, b"#"),
    "sums": lambda kit, path, size: kit.fs.damage(path, size - 1024 - 1000, b"#"),
    "cut short": lambda kit, path, size: kit.put(path, kit.fs.read(path)[:-512]),
    "longer": lambda kit, path, size: kit.put(path, kit.fs.read(path) + b"x"),
    "empty": lambda kit, path, size: kit.put(path, b""),
    "rows": lambda kit, path, size: kit.fs.damage(path, size // 2, b"#" * 600),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("directory", [FULL, FIRST, SECOND])
@pytest.mark.parametrize("verify", [False, True])
def test_a_damaged_link_is_named_and_nothing_is_left(
    kit: SnapshotKit, directory: str, damage: Callable[[SnapshotKit, str, int], object], verify: bool
) -> None:
    path = the_file(kit, directory)
    damage(kit, path, kit.fs.size(path))
    assert_refused(kit, HoldfastError, path, verify=verify)


def test_a_collection_that_is_whole_in_the_last_link_needs_no_other(kit: SnapshotKit) -> None:
    kit.create("new")
    kit.upsert(["p"], 1, name="new")
    kit.clock.advance_us(2_000_000)
    kit.snapshot(incremental=True, path="/third")
    for directory in (FULL, FIRST, SECOND):
        kit.fs.unlink(the_file(kit, directory))
    result = kit.restore(the_file(kit, "/third"), collection="copy", from_collection="new")
    assert (len(result["chain"]), kit.values("copy")) == (1, {"p": 1.0})


def test_a_link_that_is_read_is_not_deleted(kit: SnapshotKit) -> None:
    with pytest.raises(FailedPrecondition, match="is the base of"):
        kit.engine.snapshots.delete(the_file(kit, FIRST))


# Links that were made up ----------------------------------------------------------------------------------------------


def changed_delta(**changes: Any) -> Callable[[Archive], None]:
    def change(archive: Archive) -> None:
        def collection(value: SnapshotCollection) -> SnapshotCollection:
            assert value.delta is not msgspec.UNSET
            return replace(value, delta=replace(value.delta, **changes))

        archive.set_collection(collection)

    return change


def with_tombstones(change: Callable[[np.ndarray], None]) -> Callable[[Archive], None]:
    def changed(archive: Archive) -> None:
        piece = archive.find("tombstones.npy")
        head = len(piece.data) - 2 * TOMBSTONE_DTYPE.itemsize
        facts = np.frombuffer(piece.data[head:], TOMBSTONE_DTYPE).copy()
        change(facts)
        piece.data = piece.data[:head] + facts.tobytes()

    return changed


def with_ids(data: bytes) -> Callable[[Archive], None]:
    def changed(archive: Archive) -> None:
        piece = archive.find("tombstone-ids.npy")
        piece.data = piece.data[:-2] + data

    return changed


def put(field: str, at: int, value: int) -> Callable[[np.ndarray], None]:
    def change(facts: np.ndarray) -> None:
        facts[field][at] = value

    return change


def counted(count: int) -> Callable[[Archive], None]:
    return lambda archive: archive.set_collection(lambda value: replace(value, count=count))


HOSTILE: dict[str, tuple[Callable[[Archive], None], str]] = {
    "another id": (with_ids(b"aX"), "a hash that is not the one of its id"),
    "half a character": (with_ids(b"\xc3\xa4"), "begins inside a character"),
    "no text": (with_ids(b"a\xff"), "is no UTF-8"),
    "an id elsewhere": (with_tombstones(put("id_offset", 1, 7)), "entry 1 has an id that stands elsewhere"),
    "no id": (with_tombstones(put("id_length", 1, 0)), "entry 1"),
    "a long id": (with_tombstones(put("id_length", 1, 600)), "entry 1"),
    "killed before the base": (with_tombstones(put("sequence", 0, 1)), "entry 0 was removed before the base"),
    "killed after it": (with_tombstones(put("sequence", 0, 99)), "entry 0 was removed after the snapshot"),
    "reserved": (with_tombstones(put("reserved", 0, 1)), "entry 0 uses a reserved field"),
    "another count": (counted(2), "have the number 3, the manifest says 2"),
    "another digest": (
        lambda archive: archive.set_collection(lambda value: replace(value, digest=replace(value.digest, low=1))),
        "digest",
    ),
}


@pytest.mark.parametrize(("change", "said"), HOSTILE.values(), ids=HOSTILE)
def test_an_increment_that_says_what_cannot_be_is_refused(
    kit: SnapshotKit, change: Callable[[Archive], None], said: str
) -> None:
    path = the_file(kit, SECOND)
    archive = Archive.of(kit.fs.read(path))
    change(archive)
    kit.put(path, archive.tar())
    assert_refused(kit, Corruption, path, said)


def test_an_id_that_is_removed_twice_or_never_was_is_refused(kit: SnapshotKit) -> None:
    path = the_file(kit, SECOND)
    archive = Archive.of(kit.fs.read(path))
    piece = archive.find("tombstones.npy")
    size = TOMBSTONE_DTYPE.itemsize
    facts = np.frombuffer(piece.data[-2 * size :], TOMBSTONE_DTYPE).copy()
    facts["id_hash"][1] = facts["id_hash"][0]
    piece.data = piece.data[: -2 * size] + facts.tobytes()
    with_ids(b"aa")(archive)
    kit.put(path, archive.tar())
    assert_refused(kit, Corruption, "an id that its base does not hold")


def test_rows_from_before_the_base_are_refused(kit: SnapshotKit) -> None:
    path = the_file(kit, FIRST)
    archive = Archive.of(kit.fs.read(path))
    archive.set_manifest(
        lambda manifest: replace(manifest, base=replace(manifest.base, sequence=manifest.sequence))  # type: ignore[type-var]
    )
    kit.put(path, archive.tar())
    with pytest.raises(HoldfastError):
        kit.restore(path, collection="copy")


def test_a_chain_without_end_is_refused(kit: SnapshotKit) -> None:
    """A link cannot name itself, nor one that is younger: its manifest would say what cannot be."""
    path = the_file(kit, FIRST)
    archive = Archive.of(kit.fs.read(path))
    archive.set_manifest(lambda manifest: replace(manifest, base=replace(manifest.base, id=manifest.id)))  # type: ignore[type-var]
    kit.put(path, archive.tar())
    with pytest.raises(Corruption, match="its base is named by no snapshot id"):
        kit.restore(path, collection="copy")


def test_it_is_the_directory_of_the_store_that_new_ones_go_to(kit: SnapshotKit) -> None:
    kit.clock.advance_us(2_000_000)
    made = kit.snapshot(incremental=True)
    assert made["path"].startswith(SNAPSHOTS_DIR)
    assert len(kit.verify("latest")["chain"]) == 4


@pytest.mark.parametrize("gone", [FULL, FIRST, SECOND])
def test_a_link_that_is_deleted_between_being_found_and_being_held_is_missing_and_no_fault_of_the_disk(
    kit: SnapshotKit, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    path, find = the_file(kit, gone), ChainFinder.find

    def late(self: ChainFinder, *arguments: Any) -> Any:
        found = find(self, *arguments)
        kit.fs.unlink(path)
        return found

    catalog = kit.engine.snapshots._catalog
    last = catalog.get("latest")
    monkeypatch.setattr(ChainFinder, "find", late)
    with pytest.raises(HoldfastError) as caught, ChainFinder(kit.fs, catalog).hold(last):
        pytest.fail("it was held")
    assert caught.value.reason in ("SNAPSHOT_NOT_FOUND", "SNAPSHOT_LINK_MISSING")
