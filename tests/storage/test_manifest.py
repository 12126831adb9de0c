"""The manifest is replaced as a whole: a crash, a damaged file or a full disk leaves one that can be read."""

from __future__ import annotations

import errno
import random
import uuid
from dataclasses import replace

import pytest

from holdfastd.errors import Corruption, EngineFailed, ResourceExhausted, UnsupportedFormat
from holdfastd.format.document import encode_document
from holdfastd.format.manifest import MANIFEST_VERSION, Manifest
from holdfastd.storage import manifest as store
from holdfastd.storage.files import make_dirs
from holdfastd.storage.names import Layout
from tests.support.memdisk import DirectoryModel
from tests.support.memfs import MemFileSystem

LAYOUT = Layout("/data")
FIRST = Manifest(store_id=uuid.UUID(int=1), timeline=1, generation=1, sequence=0, last_timestamp_us=0)


def generation(number: int) -> Manifest:
    return replace(FIRST, generation=number, sequence=10 * number)


def store_with(count: int) -> MemFileSystem:
    fs = MemFileSystem()
    make_dirs(fs, "/data")
    for number in range(1, count + 1):
        store.commit(fs, LAYOUT, generation(number))
    return fs


def test_an_empty_directory_has_none() -> None:
    assert store.load(store_with(0), LAYOUT) is None


def test_the_last_commit_is_loaded_and_the_one_before_is_kept() -> None:
    fs = store_with(3)
    assert store.load(fs, LAYOUT) == store.LoadedManifest(generation(3), LAYOUT.manifest)
    assert fs.listdir("/data") == ["MANIFEST.json", "MANIFEST.prev.json"]
    fs.unlink(LAYOUT.manifest)
    loaded = store.load(fs, LAYOUT)
    assert loaded is not None
    assert loaded.manifest == generation(2)
    assert loaded.problem == "/data/MANIFEST.json: missing"


def test_a_damaged_manifest_is_named_and_never_pushes_out_the_good_one() -> None:
    fs = store_with(3)
    fs.damage(LAYOUT.manifest, 200, b"\xff")
    loaded = store.load(fs, LAYOUT)
    assert loaded is not None
    assert (loaded.manifest, loaded.path) == (generation(2), LAYOUT.manifest_prev)
    assert "SHA-256" in (loaded.problem or "")
    store.commit(fs, LAYOUT, generation(4))
    fs.unlink(LAYOUT.manifest)
    loaded = store.load(fs, LAYOUT)
    assert loaded is not None
    assert loaded.manifest == generation(2)


def test_an_unreadable_manifest_counts_as_damaged() -> None:
    fs = store_with(2)
    fs.fail_on("read", LAYOUT.manifest)
    loaded = store.load(fs, LAYOUT)
    assert loaded is not None
    assert loaded.manifest == generation(1)


def test_two_damaged_ones_are_corruption() -> None:
    fs = store_with(2)
    fs.damage(LAYOUT.manifest, 200, b"\xff")
    fs.damage(LAYOUT.manifest_prev, 0, b"\xff")
    with pytest.raises(Corruption) as caught:
        store.load(fs, LAYOUT)
    assert caught.value.path == LAYOUT.manifest


def test_a_newer_manifest_is_refused_instead_of_going_back_to_the_previous_one() -> None:
    fs = store_with(2)
    newer = replace(generation(9), format_version=MANIFEST_VERSION + 1)
    fs.damage(LAYOUT.manifest, 0, encode_document("manifest", newer).ljust(fs.size(LAYOUT.manifest)))
    fs.open(LAYOUT.manifest).truncate(len(encode_document("manifest", newer)))
    with pytest.raises(UnsupportedFormat) as caught:
        store.load(fs, LAYOUT)
    assert caught.value.metadata["path"] == LAYOUT.manifest


def test_a_generation_must_advance() -> None:
    fs = store_with(2)
    with pytest.raises(ValueError, match="generation 2 after 2"):
        store.commit(fs, LAYOUT, generation(2))


@pytest.mark.parametrize("model", ["prefix", "subset"])
def test_a_power_cut_at_any_moment_leaves_the_last_commit_or_the_one_under_way(model: DirectoryModel) -> None:
    fs = MemFileSystem()
    make_dirs(fs, "/data")
    done = [fs.ops]
    for number in range(1, 5):
        store.commit(fs, LAYOUT, generation(number))
        done.append(fs.ops)
    rng = random.Random(11)
    states: set[int] = set()
    for index in range(done[0], fs.ops + 1):
        acknowledged = sum(1 for at in done[1:] if at <= index)
        for _ in range(100):
            after = fs.crash_at(index, rng, model)
            states.add(after.state_digest())
            loaded = store.load(after, LAYOUT)
            found = loaded.manifest.generation if loaded else 0
            assert found in (acknowledged, acknowledged + 1), (index, found)
            store.commit(after, LAYOUT, generation(found + 1))
            again = store.load(after.crash(rng, model), LAYOUT)
            assert again is not None
            assert again.manifest == generation(found + 1)
    assert len(states) > 25


def test_without_space_the_old_one_stands_and_the_store_goes_on() -> None:
    fs = store_with(2)
    fs.fail_on("resize", "*.tmp", errno.ENOSPC)
    with pytest.raises(ResourceExhausted) as caught:
        store.commit(fs, LAYOUT, generation(3))
    assert caught.value.reason == "DISK_FULL"
    assert fs.listdir("/data") == ["MANIFEST.json", "MANIFEST.prev.json"]
    store.commit(fs, LAYOUT, generation(3))


@pytest.mark.parametrize("kind", ["sync", "rename", "sync_dir", "write"])
def test_any_other_failure_is_final(kind: str) -> None:
    fs = store_with(2)
    fs.fail_on(kind)
    with pytest.raises(EngineFailed) as caught:
        store.commit(fs, LAYOUT, generation(3))
    assert caught.value.metadata["errno"] == str(errno.EIO)
    loaded = store.load(fs, LAYOUT)
    assert loaded is not None
    assert loaded.manifest in (generation(2), generation(3))
