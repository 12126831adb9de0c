"""How sealed segments are read, by command: through maps or by reads, how far ahead, read in before or not.

The store has settings for all collections, and a collection may have its own. The manifest is replaced before a change
takes effect, with the new maps or descriptors open already: a crash leaves either the old settings or the new ones, and
a change that cannot be made changes nothing. Readers never wait: whoever reads goes on with what it has.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import msgspec

from ..errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from ..format.manifest import Manifest
from ..model import Advice, MmapSettings
from ..storage.column import Residence
from ..storage.sealed import OpenFiles, total
from .apply import Applier
from .checkpoint import Checkpointer
from .collection import Collection
from .committer import Committer
from .disk_errors import disk_errors_of
from .manifest_keeper import ManifestKeeper
from .populating import files_of, populate
from .tickets import Caller


@dataclass(frozen=True, slots=True)
class MmapChanges:
    """What to change; None keeps its value."""

    enabled: bool | None = None
    advise: Advice | None = None
    populate: bool | None = None

    @property
    def given(self) -> dict[str, bool | Advice]:
        """The settings to change, by name."""
        named = {"enabled": self.enabled, "advise": self.advise, "populate": self.populate}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class CollectionMmap:
    """How the sealed files of one collection are read, and where they are. ``own``: by settings of its own."""

    name: str
    settings: MmapSettings
    own: bool
    residence: Residence


@dataclass(frozen=True, slots=True)
class MmapStatus:
    """``settings`` and ``residence`` of what was asked about: the store, or one collection.

    ``collections``: those that have sealed files or settings of their own, by name. ``populated_bytes``: what was read
    in for the command.
    """

    settings: MmapSettings
    residence: Residence
    collections: tuple[CollectionMmap, ...]
    populated_bytes: int = 0


class MmapControl:
    """See the module. Thread-safe."""

    def __init__(
        self, applier: Applier, committer: Committer, keeper: ManifestKeeper, checkpointer: Checkpointer
    ) -> None:
        self._applier = applier
        self._committer = committer
        self._keeper = keeper
        self._checkpointer = checkpointer

    def status(self, collection: str | None = None) -> MmapStatus:
        """How the store, or one collection, is read now. Asks the kernel what is resident. Raises NotFound."""
        return self._status(
            self._keeper.current, None if collection is None else self._applier.catalog.resolve(collection)
        )

    def configure(
        self,
        changes: MmapChanges,
        *,
        collection: str | None = None,
        caller: Caller,
        validate_only: bool = False,
        go_on: Callable[[], bool] = lambda: True,
    ) -> MmapStatus:
        """Change the settings of the whole store, or of one collection. Durable on return; blocks.

        A change for the whole store holds for every collection: settings of their own end where it names others.
        ``populate`` reads the maps in before it returns, until ``go_on`` says no. With ``validate_only`` nothing is
        changed, and the status has the settings that there would be.

        Raises NotFound, InvalidArgument for options that contradict one another, ResourceExhausted or
        FailedPrecondition where files cannot be opened, Corruption where one is damaged, and EngineFailed; nothing is
        changed then.
        """
        one = None if collection is None else self._applier.catalog.resolve(collection)
        if not changes.given:
            return self._status(self._keeper.current, one)
        if self._committer.failure is not None:
            raise self._committer.failure
        with self._checkpointer.exclusive():
            planned = self._planned(self._keeper.current, changes, one, caller)
            _check(changes, planned.mmap_default if one is None else planned.mmap_of(one.spec.id))
            if not validate_only:
                self._change(planned)
        status = self._status(planned, one)
        if validate_only or not status.settings.populate or (changes.populate is None and changes.enabled is None):
            return status
        done = populate([each for c in self._concerned(one) for each in _files(c)], go_on)
        return replace(self._status(planned, one), populated_bytes=done)

    # Changing -------------------------------------------------------------------------------------------------------

    def _planned(self, manifest: Manifest, changes: MmapChanges, one: Collection | None, caller: Caller) -> Manifest:
        """The manifest with the change. Of collections that are gone it keeps nothing."""
        given, default = changes.given, manifest.mmap_default
        known = self._applier.catalog.collections
        own = {id: settings for id, settings in (manifest.collection_mmap or {}).items() if id in known}
        if one is None:
            default = replace(default, **given)  # type: ignore[arg-type]  # by name, each of its type
            own = {id: replace(settings, **given) for id, settings in own.items()}  # type: ignore[arg-type]
        else:
            own[one.spec.id] = replace(manifest.mmap_of(one.spec.id), **given)  # type: ignore[arg-type]
        own = {id: settings for id, settings in own.items() if settings != default}
        origin = dict(manifest.settings_origin)
        if one is None:
            origin |= {f"mmap.{name}": caller.origin for name in given}
        return replace(manifest, mmap_settings=default, collection_mmap=own or msgspec.UNSET, settings_origin=origin)

    def _change(self, planned: Manifest) -> None:
        """With checkpoints held off, so that nobody opens, replaces or removes a segment meanwhile."""
        with _enough_descriptors(), disk_errors_of("opening the segments' files"):
            prepared = [
                (files, settings, files.prepare(settings))
                for collection in self._concerned(None)
                for settings in [planned.mmap_of(collection.spec.id)]
                for files in _files(collection)
                if files.settings != settings
            ]
        with disk_errors_of("replacing the manifest"):
            self._keeper.update(
                lambda manifest: replace(
                    manifest,
                    mmap_settings=planned.mmap_settings,
                    collection_mmap=planned.collection_mmap,
                    settings_origin=planned.settings_origin,
                )
            )
        for files, settings, columns in prepared:
            files.adopt(settings, columns)

    # Showing --------------------------------------------------------------------------------------------------------

    def _status(self, manifest: Manifest, one: Collection | None) -> MmapStatus:
        rows = [
            CollectionMmap(
                collection.spec.name,
                manifest.mmap_of(collection.spec.id),
                collection.spec.id in (manifest.collection_mmap or {}),
                total(files.residence() for files in _files(collection)),
            )
            for collection in self._concerned(one)
            if one is not None or _files(collection) or collection.spec.id in (manifest.collection_mmap or {})
        ]
        rows.sort(key=lambda row: row.name)
        settings = manifest.mmap_default if one is None else manifest.mmap_of(one.spec.id)
        return MmapStatus(settings, total(row.residence for row in rows), tuple(rows))

    def _concerned(self, one: Collection | None) -> list[Collection]:
        return list(self._applier.catalog.collections.values()) if one is None else [one]


def _files(collection: Collection) -> list[OpenFiles]:
    return files_of(collection.view.segments, collection.view.index)


def _check(changes: MmapChanges, wanted: MmapSettings) -> None:
    if changes.populate and not wanted.enabled:
        raise InvalidArgument(
            "--populate reads memory maps in, and with mmap disabled there are none",
            field="populate",
            hint="leave --populate out, or map the segments: holdfast storage mmap --enable --populate",
        )


@contextmanager
def _enough_descriptors() -> Iterator[None]:
    """Say what to do where the process has no descriptors left: maps take none, reads one for each file."""
    try:
        yield
    except FailedPrecondition as error:
        cause = error.__cause__
        if not isinstance(cause, OSError) or cause.errno not in (errno.EMFILE, errno.ENFILE):
            raise
        raise ResourceExhausted(
            "--disable keeps each file of a segment open, and the process may not have so many open files",
            reason="TOO_MANY_OPEN_FILES",
            hint="allow it more (LimitNOFILE of the unit, ulimit -n), or have fewer segments with `holdfast storage "
            "compact`; with mmap enabled none stays open",
        ) from error
