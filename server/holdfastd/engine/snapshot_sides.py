"""The two sides of a comparison: what a snapshot, or the live store at one moment, says that it holds.

Nothing of what it holds is read for it: the manifest of a snapshot and the counters of the live store have the count
and the digest of every collection.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..format.snapshot import SnapshotManifest
from ..model import CollectionSpec, Digest, Sequence64
from .snapshot_context import SnapshotContext
from .snapshot_info import SnapshotInfo
from .view import View

LIVE = "live"
"""What stands for the store as it is now, where a snapshot is named otherwise."""


@dataclass(frozen=True, slots=True)
class Held:
    """A collection as one side has it."""

    spec: CollectionSpec
    count: int
    digest: Digest

    @property
    def content(self) -> tuple[int, Digest]:
        """Equal where the rows are."""
        return self.count, self.digest


@dataclass(frozen=True, slots=True)
class Side:
    """One of two states. ``collections`` and ``aliases``: by name; ``everything``: of the whole store.

    ``info``, ``manifest``: of a snapshot; ``views``: of the live store, pinned.
    """

    name: str
    store_id: uuid.UUID
    sequence: Sequence64
    time_us: int
    everything: bool
    collections: Mapping[str, Held]
    aliases: Mapping[str, str]
    info: SnapshotInfo | None = None
    manifest: SnapshotManifest | None = None
    views: Mapping[uuid.UUID, View] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether it is the live store."""
        return self.info is None

    def covers(self, collection: str) -> bool:
        """Whether it tells if there was a collection of this name."""
        return self.everything or collection in self.collections


def snapshot_side(info: SnapshotInfo, manifest: SnapshotManifest) -> Side:
    """What a snapshot holds, by its manifest."""
    names = {each.spec.id: each.spec.name for each in manifest.collections}
    return Side(
        name=manifest.id,
        store_id=manifest.store_id,
        sequence=manifest.sequence,
        time_us=manifest.time_us,
        everything=manifest.everything,
        collections={each.spec.name: Held(each.spec, each.count, each.digest) for each in manifest.collections},
        aliases={alias: names[target] for alias, target in manifest.aliases.items()},
        info=info,
        manifest=manifest,
    )


def live_side(context: SnapshotContext) -> Side:
    """The store as it is now: all collections at one sequence. Waits for its turn between two groups."""
    side: Side = context.committer.between_groups(lambda: _pinned(context))
    return side


def _pinned(context: SnapshotContext) -> Side:
    """On the committing thread."""
    applier = context.applier
    catalog = applier.catalog
    views = {id: collection.view for id, collection in catalog.collections.items()}
    return Side(
        name=LIVE,
        store_id=context.keeper.current.store_id,
        sequence=applier.sequence,
        time_us=applier.time_us,
        everything=True,
        collections={view.spec.name: Held(view.spec, view.count, view.digest) for view in views.values()},
        aliases={alias: views[target].spec.name for alias, target in catalog.aliases.items()},
        views=views,
    )
