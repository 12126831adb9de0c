"""How a real daemon reads its segments, as the kernel tells it: which files it maps, and which it holds open."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast
from tests.rpc.process import Daemon

pytestmark = [pytest.mark.e2e]

ROWS = 500


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """One whose points are in segments."""
    daemon = first = Daemon(tmp_path).started()
    try:
        with holdfast.connect(daemon.address) as db:
            for name in ("a", "b"):
                points = db.collections.create(name, 8)
                ids = [f"{name}{number}" for number in range(ROWS)]
                vectors = [[float((number * at) % 17 - 8) for at in range(8)] for number in range(ROWS)]
                points.upsert(ids, vectors, [{"n": number % 7} for number in range(ROWS)])
        assert first.stop() == 0
        daemon = Daemon(tmp_path).started()
        yield daemon
    finally:
        daemon.kill()


def mapped(daemon: Daemon, name: str = "") -> dict[str, int]:
    """The files of collections that the process maps, and their sizes."""
    lines = Path(f"/proc/{daemon.process.pid}/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if f"{daemon.data}/collections" in line}
    return {path: Path(path).stat().st_size for path in paths if name in path}


def held(daemon: Daemon) -> list[str]:
    """The files of collections that the process has open."""
    links = Path(f"/proc/{daemon.process.pid}/fd").iterdir()
    return [path for path in map(os.path.realpath, links) if path.startswith(f"{daemon.data}/collections")]


def answers(db: holdfast.Client) -> list[object]:
    found: list[object] = []
    for name in ("a", "b"):
        points = db.collection(name)
        hits = points.search([1.0, -2.0, 3.0, 0.5, 0.0, 1.0, 2.0, -1.0], k=9, filter="n >= 2")
        found.append([(hit.id, hit.score) for hit in hits])
        found.append([(each.id, each.version, list(each.vector or ())) for each in points.scroll(include_vector=True)])
        found.append(points.get([f"{name}7", "none", f"{name}499"]))
    return found


def test_the_figures_are_those_of_the_kernel(daemon: Daemon) -> None:
    with holdfast.connect(daemon.address) as db:
        shown = db.storage.mmap(populate=True)
        files = mapped(daemon)
        assert len(files) == 2 * (5 + 3)
        assert shown.total_mapped_bytes == shown.resident_bytes == shown.populated_bytes == sum(files.values())
        each = db.storage.status().mmap.collections
        assert [row.collection for row in each] == ["a", "b"]
        assert sum(row.mapped_bytes for row in each) == shown.total_mapped_bytes
        assert held(daemon) == []


def test_without_maps_nothing_is_mapped_and_the_answers_are_the_same(daemon: Daemon, tmp_path: Path) -> None:
    with holdfast.connect(daemon.address) as db:
        before, files = answers(db), mapped(daemon)
        alone = db.storage.mmap(enable=False, collection="a")
        assert (alone.mmap_enabled, alone.total_mapped_bytes) == (False, 0)
        assert len(mapped(daemon)) == len(held(daemon)) == len(files) // 2
        assert answers(db) == before
        assert db.storage.mmap(enable=False).total_mapped_bytes == 0
        assert mapped(daemon) == {}
        assert sorted(held(daemon)) == sorted(files)
        assert answers(db) == before
    daemon.kill()
    daemon = Daemon(tmp_path).started()
    try:
        with holdfast.connect(daemon.address) as db:
            assert (mapped(daemon), len(held(daemon))) == ({}, len(files))
            assert answers(db) == before
            db.storage.mmap(enable=True, advise="sequential")
            assert (mapped(daemon), held(daemon)) == (files, [])
            assert answers(db) == before
        assert daemon.stop() == 0
    finally:
        daemon.kill()


def test_a_stream_that_has_begun_ends_as_it_would_have(daemon: Daemon) -> None:
    with holdfast.connect(daemon.address) as db:
        expected = [each.id for each in db.collection("a").scroll()]
        rest = iter(db.collection("a").scroll(limit=None, page_size=10))
        first = next(rest)
        db.storage.mmap(enable=False)
        assert [first.id, *(each.id for each in rest)] == expected


def test_the_process_may_have_as_many_open_files_as_it_is_allowed(daemon: Daemon) -> None:
    [line] = [
        line for line in Path(f"/proc/{daemon.process.pid}/limits").read_text().splitlines() if "open files" in line
    ]
    soft, hard = line.split()[3:5]
    assert soft == hard
