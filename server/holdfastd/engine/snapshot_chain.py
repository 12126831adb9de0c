"""The chain of a snapshot: the archives that it is made of, base first, found and proven to be the ones that are meant.

An increment names its base by id, place in history and the SHA-256 of its sums. The base is looked for where the
registry knows it, beside the increment, where it lay when the increment was made, and in a directory that the caller
names; a file of the right name that is another one is passed over, and said so where nothing better is found.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..errors import Corruption, FailedPrecondition, HoldfastError, UnsupportedFormat
from ..format.snapshot import SnapshotBase, SnapshotCollection, SnapshotManifest, data_members
from ..format.urls import is_object_url
from ..storage.archive_reader import ArchiveReader
from ..storage.archive_sums import read_sums_sha256
from ..storage.files import FileSystem
from ..storage.store_errors import StoreError
from .snapshot_catalog import SnapshotCatalog
from .snapshot_info import SnapshotInfo
from .snapshot_lineage import named_in, places_of

MAX_LINKS = 10_000


@dataclass(frozen=True, slots=True)
class Link:
    """One archive of a chain. ``sums_sha256``: what the link after it calls it by; "" for the last."""

    path: str
    manifest: SnapshotManifest
    size: int
    sums_sha256: str = ""

    def collection(self, collection_id: uuid.UUID) -> SnapshotCollection | None:
        """What the archive says of a collection, or None."""
        return next((each for each in self.manifest.collections if each.spec.id == collection_id), None)

    def said(self, collection_id: uuid.UUID) -> SnapshotCollection:
        """The same of one that is known to be in it."""
        found = self.collection(collection_id)
        assert found is not None, "a chain is resolved as far as its collections need it"
        return found


@dataclass(frozen=True, slots=True)
class Chain:
    """Archives, base first; the last is the snapshot that was asked for. A full one is alone."""

    links: tuple[Link, ...]

    @property
    def last(self) -> Link:
        """The snapshot itself."""
        return self.links[-1]

    @property
    def ids(self) -> list[str]:
        """The ids of the snapshots, base first."""
        return [link.manifest.id for link in self.links]

    @property
    def member_bytes(self) -> int:
        """Bytes of the data members of all archives together: what reading them takes."""
        return sum(member.size for link in self.links for member in data_members(link.manifest))

    def links_of(self, collection_id: uuid.UUID) -> tuple[Link, ...]:
        """The links that a collection of the last one is made of, the one that has it whole first."""
        found = []
        for link in reversed(self.links):
            found.append(link)
            if link.said(collection_id).whole:
                break
        return tuple(reversed(found))


class ChainFinder:
    """Finds chains. Any thread; blocks: reads the manifest and the sums of each link.

    ``elsewhere``: what the caller can do about a link that lies where nobody looks, as errors say it.
    """

    def __init__(
        self,
        fs: FileSystem,
        catalog: SnapshotCatalog,
        base_path: str | None = None,
        *,
        elsewhere: str = "name its directory with --base-path",
    ) -> None:
        self._fs = fs
        self._catalog = catalog
        self._base_path = base_path
        self._elsewhere = elsewhere

    def find(self, info: SnapshotInfo, wanted: set[uuid.UUID] | None = None) -> Chain:
        """The chain of a snapshot, as far as the ``wanted`` collections (None: all of them) are made of it.

        Raises FailedPrecondition where a link is missing or another one, Corruption where it is damaged: in every case
        before anything else is looked at, with the link's name and where it was looked for.
        """
        archive = self._catalog.open(info)
        archive.check_size()
        links = [Link(archive.path, archive.manifest, archive.size)]
        if wanted is None:
            wanted = {each.spec.id for each in archive.manifest.collections}
        open_ = _not_whole(links[0], wanted)
        while open_:
            base = links[0].manifest.base
            assert base is not None, "what is not whole has a base: the manifest was checked"
            links.insert(0, self._base_of(links[0], base))
            if len(links) > MAX_LINKS:
                raise Corruption(f"its chain has over {MAX_LINKS} links", path=info.path, reason="SNAPSHOT_DAMAGED")
            open_ = _not_whole(links[0], open_)
        return Chain(tuple(links))

    @contextmanager
    def hold(self, info: SnapshotInfo, wanted: set[uuid.UUID] | None = None) -> Iterator[Chain]:
        """As ``find``; while the block reads its links, nobody deletes or replaces them."""
        while True:
            seen = self._catalog.replaced
            try:
                chain = self.find(info, wanted)
            except HoldfastError:
                if seen == self._catalog.replaced:
                    raise
                continue
            with self._catalog.in_use(*(link.path for link in chain.links)):
                # What was found before one of its links was replaced may be of two minds, or deleted.
                if seen == self._catalog.replaced and all(map(self._is_there, chain.links)):
                    yield chain
                    return

    def _is_there(self, link: Link) -> bool:
        """Whether nobody has deleted it; no network is asked."""
        return is_object_url(link.path) or self._fs.exists(link.path)

    def _base_of(self, link: Link, base: SnapshotBase) -> Link:
        problems: list[HoldfastError | StoreError] = []
        looked: list[str] = []
        for path in self._places(link, base):
            if path in looked:
                continue
            looked.append(path)
            try:
                return self._open(link, base, path)
            except FileNotFoundError:
                continue
            except StoreError as error:
                problems.append(error)
            except OSError as error:
                problems.append(Corruption(f"cannot be read: {error.strerror or error}", path=path))
            except (Corruption, FailedPrecondition, UnsupportedFormat) as error:
                problems.append(error)
        if problems:
            raise problems[0]
        raise FailedPrecondition(
            f"{base.id} is missing: {link.manifest.id} holds only what changed since it; looked for "
            f"{', '.join(looked)}",
            reason="SNAPSHOT_LINK_MISSING",
            hint=f"bring its file back to one of these places, or {self._elsewhere}",
            snapshot=base.id,
        )

    def _places(self, link: Link, base: SnapshotBase) -> Iterator[str]:
        yield from places_of(base.id, self._catalog.paths_of(base.id), link.path, base.path)
        if self._base_path is not None:
            yield from named_in(self._base_path, base.id)

    def _open(self, link: Link, base: SnapshotBase, path: str) -> Link:
        archive = ArchiveReader(self._fs, path)
        archive.check_size()
        manifest = archive.manifest
        sums = read_sums_sha256(self._fs, archive)
        found = (manifest.id, manifest.store_id, manifest.timeline, manifest.sequence)
        is_meant = found == (base.id, base.store_id, base.timeline, base.sequence)
        if not is_meant or base.sums_sha256 not in (sums, manifest.stands_for):
            raise FailedPrecondition(
                f"{path} is not the {base.id} that {link.manifest.id} builds on: it has sequence {manifest.sequence} "
                f"and the sums {sums[:16]}…, not {base.sequence} and {base.sums_sha256[:16]}…",
                reason="SNAPSHOT_LINK_FOREIGN",
                hint=f"put the right one in its place, or move this one away and {self._elsewhere}",
                snapshot=base.id,
                path=path,
            )
        return Link(path, manifest, archive.size, sums)


def open_link(fs: FileSystem, link: Link) -> ArchiveReader:
    """Open the archive of a link again. Raises Corruption where it is another one by now, OSError."""
    archive = ArchiveReader(fs, link.path)
    if archive.manifest != link.manifest:
        raise Corruption(
            "is another snapshot than a moment ago",
            path=link.path,
            reason="SNAPSHOT_CHANGED",
            hint="let nobody write to it meanwhile, and try again",
        )
    return archive


def _not_whole(link: Link, wanted: set[uuid.UUID]) -> set[uuid.UUID]:
    """Of the wanted collections those for which the link's base is needed. Raises Corruption where one is not there."""
    needed = set()
    for collection_id in wanted:
        collection = link.collection(collection_id)
        if collection is None:
            raise Corruption(
                f"does not hold the collection {collection_id}, which a later link of its chain builds on",
                path=link.path,
                reason="SNAPSHOT_DAMAGED",
                hint="this archive was not written by holdfastd; take another one",
            )
        if not collection.whole:
            needed.add(collection_id)
    return needed
