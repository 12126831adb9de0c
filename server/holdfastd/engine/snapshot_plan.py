"""What a restore will do: which collections of an archive become what, decided before anything is touched."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import AlreadyExists, InvalidArgument, NotFound
from ..format.snapshot import SnapshotManifest
from ..model import CollectionSpec, Origin
from ..storage.names import check_collection_name
from .catalog import Catalog
from .history import Ending
from .left_out import Ranges


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """What to restore. ``snapshot``: an id, ``latest`` or a path; ``collection``: the name to restore to.

    ``ending``: the moment of the history that is wanted, behind the snapshot; None: the snapshot's own.
    ``wal_path``: the directory or archive of the log that leads there; None: the store's own log.
    ``implied``: nobody said ``from_collection``; it is the only one that there seems to be. ``left_out``: operations of
    the history that are to be left out, by sequence, ``left_out_requests`` by request id.
    """

    snapshot: str
    collection: str | None = None
    from_collection: str | None = None
    overwrite: bool = False
    verify: bool = False
    validate_only: bool = False
    base_path: str | None = None
    ending: Ending | None = None
    wal_path: str | None = None
    implied: bool = False
    left_out: Ranges = ()
    left_out_requests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """One collection to be: its number in the archive, its spec, what it replaces, the aliases that it brings."""

    number: int
    spec: CollectionSpec
    replaces: uuid.UUID | None
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore will do. ``untouched``: names that a restore of everything leaves alone.

    ``whole``: a store is restored, every collection under its own name.
    """

    manifest: SnapshotManifest
    targets: tuple[Target, ...]
    untouched: tuple[str, ...]
    warnings: tuple[str, ...]
    whole: bool

    @property
    def names(self) -> list[str]:
        """The names that the collections will have, sorted."""
        return sorted(target.spec.name for target in self.targets)

    @property
    def sources(self) -> set[uuid.UUID]:
        """The ids, in the archive, of the collections that are restored."""
        return {self.manifest.collections[target.number].spec.id for target in self.targets}

    @property
    def source_names(self) -> frozenset[str]:
        """The names, in the archive, of the collections that are restored."""
        return frozenset(self.manifest.collections[target.number].spec.name for target in self.targets)

    @property
    def vectors(self) -> int:
        """Live points that will be there."""
        return sum(self.manifest.collections[target.number].count for target in self.targets)


def plan_restore(
    request: RestoreRequest,
    manifest: SnapshotManifest,
    catalog: Catalog,
    new_id: Callable[[uuid.UUID], uuid.UUID],
    *,
    begins: bool = False,
) -> RestorePlan:
    """Decide what becomes what. Raises InvalidArgument, NotFound or AlreadyExists; changes nothing.

    ``manifest``: of the snapshot itself, the last link of its chain; ``new_id``: the id for a collection of it.
    ``begins``: it is only where a history begins, which may create what is wanted where it holds all there was.
    """
    wanted = request.from_collection
    comes_later = begins and manifest.everything and wanted not in {each.spec.name for each in manifest.collections}
    if wanted is not None and comes_later:
        replaced_by(request.collection or wanted, catalog, request)
        return RestorePlan(manifest, (), (), (), whole=False)
    chosen = _chosen(request, manifest)
    as_it_was = request.collection is None and request.from_collection is None
    targets, warnings = [], []
    for number in chosen:
        source = manifest.collections[number].spec
        name = request.collection or source.name
        replaces = replaced_by(name, catalog, request)
        aliases: tuple[str, ...] = ()
        if as_it_was:
            aliases, more = _aliases(manifest, source.id, name, catalog, replaces)
            warnings += more
        origin = Origin(manifest.store_id, manifest.timeline, source.id, manifest.sequence)
        targets.append(
            Target(number, replace(source, id=new_id(source.id), name=name, origin=origin), replaces, aliases)
        )
    touched = {target.spec.name for target in targets}
    whole = as_it_was and manifest.everything
    untouched = tuple(sorted(catalog.names.keys() - touched)) if whole else ()
    return RestorePlan(manifest, tuple(targets), untouched, tuple(warnings), whole)


def _chosen(request: RestoreRequest, manifest: SnapshotManifest) -> list[int]:
    names = [collection.spec.name for collection in manifest.collections]
    if request.collection is not None:
        check_collection_name(request.collection)
    if request.from_collection is not None:
        if request.from_collection not in names:
            raise NotFound(
                f"{manifest.id} holds no collection {request.from_collection!r}",
                reason="COLLECTION_NOT_FOUND",
                hint=f"it holds {', '.join(sorted(names)) or 'none'}",
                collection=request.from_collection,
            )
        return [names.index(request.from_collection)]
    if request.collection is not None and len(names) != 1:
        if request.collection in names:
            return [names.index(request.collection)]
        raise InvalidArgument(
            f"{manifest.id} holds {len(names)} collections, and --collection {request.collection} names one target",
            field="from_collection",
            hint=f"say which with --from-collection: {', '.join(sorted(names)) or 'it is empty'}",
        )
    return list(range(len(names)))


def replaced_by(name: str, catalog: Catalog, request: RestoreRequest) -> uuid.UUID | None:
    """The collection that has to make room for ``name``, or None. Raises AlreadyExists."""
    existing = catalog.names.get(name)
    catalog.check_free(name, except_id=existing)
    if existing is not None and not request.overwrite:
        raise AlreadyExists(
            f"a collection named {name!r} already exists",
            reason="COLLECTION_EXISTS",
            hint="replace it with --overwrite, or restore under another name with --collection",
            collection=name,
        )
    return existing


def _aliases(
    manifest: SnapshotManifest, source: uuid.UUID, name: str, catalog: Catalog, replaces: uuid.UUID | None
) -> tuple[tuple[str, ...], list[str]]:
    """The aliases of a collection that are free or point to it already, and what is to be said of the others."""
    wanted = [alias for alias, target in sorted(manifest.aliases.items()) if target == source]
    free, warnings = [], []
    for alias in wanted:
        holder = catalog.aliases.get(alias)
        if alias in catalog.names:
            warnings.append(f"the alias {alias} was not restored: a collection has that name")
        elif holder is None:
            free.append(alias)
        elif holder != replaces:
            other = catalog.collections[holder].spec.name
            warnings.append(f"the alias {alias} was left pointing to {other}, not to {name}")
    return tuple(free), warnings
