"""Collections and aliases by command: create, drop, list, describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import Aborted, InvalidArgument, NotFound
from ..format.payload_schema import parse_schema
from ..model import CollectionSpec, CollectionStats, Digest, Metric, Sequence64, StorageKind
from ..storage.clock import Randomness
from ..storage.names import check_alias_name, check_collection_name
from . import writer
from .apply import Applier
from .changes import Change, CreateCollection, DeleteAlias, DropCollection, PutAlias
from .collection import Collection
from .committer import Committer
from .meters import Meters
from .payload_check import problem_of
from .quarantine import quarantined_parts
from .tickets import Caller, Outcome

MAX_DIMENSIONS = 65_536
MAX_SCHEMA_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Dropped:
    """What a drop did, or would do (then ``outcome.sequence`` is 0). ``outcome.count``: points that went with it.

    ``aliases``: those that went with it.
    """

    outcome: Outcome
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AliasChanged:
    """What a change of an alias did."""

    outcome: Outcome

    @property
    def before(self) -> str:
        """The collection that it stood for until then, "" for none."""
        return self.outcome.names[0] if self.outcome.names else ""


@dataclass(frozen=True, slots=True)
class Collections:
    """See the module. Thread-safe; writes block until acknowledged."""

    applier: Applier
    committer: Committer
    randomness: Randomness
    meters: Meters
    on_catalog_changed: Callable[[Change, Sequence64], None]
    settle_catalog: Callable[[Sequence64], None]

    def create(
        self,
        name: str,
        dimensions: int,
        *,
        metric: Metric = Metric.COSINE,
        storage: StorageKind = StorageKind.DISK,
        hot_tier_bytes: int = 0,
        quantization: str = "none",
        schema_json: str = "",
        caller: Caller,
        validate_only: bool = False,
    ) -> CollectionStats:
        """Create an empty collection, or describe what would be created. Raises InvalidArgument or AlreadyExists."""
        check_collection_name(name, field="name")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise InvalidArgument(
                f"{dimensions} dimensions are not possible; a collection has 1 to {MAX_DIMENSIONS}", field="dimensions"
            )
        if len(schema_json) > MAX_SCHEMA_BYTES:
            raise InvalidArgument(f"the schema has more than {MAX_SCHEMA_BYTES} bytes", field="schema")
        if schema_json:
            parse_schema(schema_json)
        spec = CollectionSpec(
            id=self.randomness.uuid4(),
            name=name,
            dimensions=dimensions,
            metric=metric,
            storage=storage,
            hot_tier_bytes=hot_tier_bytes,
            quantization=quantization,
            schema_json=schema_json,
        )
        settings = (dimensions, metric.value, storage.value, hot_tier_bytes, quantization, schema_json)
        caller = caller.asking("create collection", name, *settings)
        earlier = self.committer.earlier(caller) if validate_only else self._earlier(caller)
        if earlier is not None:
            return self._created(name, earlier)
        change = CreateCollection(spec)
        outcome = self._commit(change, caller, lambda: self.applier.catalog.check_free(name), validate_only)
        return _described_ahead(spec) if validate_only else self._created(name, outcome)

    def drop(
        self, name: str, *, caller: Caller, validate_only: bool = False, expected_id: str | None = None
    ) -> Dropped:
        """Remove a collection. Its snapshots stay. ``expected_id``: the uuid that the name must stand for.

        Raises NotFound, or Aborted when the name stands for another collection than expected.
        """
        caller = caller.asking("drop collection", name, expected_id)
        earlier = self._earlier(caller, validate_only)
        if earlier is not None:
            return Dropped(earlier, earlier.names)
        collection = self._named(name)
        if expected_id is not None and expected_id != str(collection.spec.id):
            raise Aborted(
                f"{name!r} stands for the collection {collection.spec.id} by now, not for {expected_id}",
                reason="COLLECTION_REPLACED",
                hint="look at it again, and repeat the command if it is still wanted",
            )
        change = DropCollection(collection.spec.id, collection.spec.name)
        outcome = self._commit(change, caller, lambda: self._check_same(collection), validate_only)
        return Dropped(outcome, outcome.names)

    def list(self) -> list[CollectionStats]:
        """Every collection, by name."""
        catalog = self.applier.catalog
        return [self._describe(catalog.collections[catalog.names[name]]) for name in sorted(catalog.names)]

    def stats(self, name: str) -> CollectionStats:
        """One collection, by name or alias. Raises NotFound."""
        return self._describe(self.applier.catalog.resolve(name))

    def create_alias(self, alias: str, collection: str, *, caller: Caller) -> AliasChanged:
        """Make ``alias`` stand for a collection. Raises InvalidArgument, NotFound or AlreadyExists."""
        check_alias_name(alias)
        caller = caller.asking("create alias", alias, collection)
        earlier = self._earlier(caller)
        if earlier is not None:
            return AliasChanged(earlier)
        target = self._named(collection)

        def check() -> None:
            self._check_same(target)
            self.applier.catalog.check_free(alias)

        return AliasChanged(self._commit(PutAlias(alias, target.spec.id), caller, check))

    def switch_alias(self, alias: str, collection: str, *, caller: Caller, validate_only: bool = False) -> AliasChanged:
        """Point an existing alias elsewhere, or say where it points. Raises InvalidArgument or NotFound."""
        caller = caller.asking("switch alias", alias, collection)
        earlier = self._earlier(caller, validate_only)
        if earlier is not None:
            return AliasChanged(earlier)
        self._check_alias(alias)
        target = self._named(collection)

        def check() -> None:
            self._check_same(target)
            self._check_alias(alias)

        return AliasChanged(self._commit(PutAlias(alias, target.spec.id), caller, check, validate_only))

    def delete_alias(self, alias: str, *, caller: Caller, validate_only: bool = False) -> AliasChanged:
        """Remove an alias, or say where it points; the collection stays. Raises NotFound."""
        caller = caller.asking("delete alias", alias)
        earlier = self._earlier(caller, validate_only)
        if earlier is not None:
            return AliasChanged(earlier)
        return AliasChanged(self._commit(DeleteAlias(alias), caller, lambda: self._check_alias(alias), validate_only))

    def aliases(self) -> Sequence[tuple[str, str]]:
        """Every alias and the name of its collection, by alias."""
        catalog = self.applier.catalog
        return [(alias, catalog.collections[catalog.aliases[alias]].spec.name) for alias in sorted(catalog.aliases)]

    def _commit(
        self, change: Change, caller: Caller, check: Callable[[], None], validate_only: bool = False
    ) -> Outcome:
        submission = writer.make_submission(change, caller, barrier=True, check=check)
        outcome = writer.commit(self.committer, submission, validate_only=validate_only)
        if not validate_only:
            self.on_catalog_changed(change, outcome.sequence)
        return outcome

    def _earlier(self, caller: Caller, validate_only: bool = False) -> Outcome | None:
        """What this very request was told before, if it was carried out, and is as durable as it was to be."""
        outcome = self.committer.earlier(caller, validate_only=validate_only)
        if outcome is not None and not validate_only:
            self.settle_catalog(outcome.sequence)
        return outcome

    def _named(self, name: str) -> Collection:
        """A collection by its own name: what destroys or redirects must not be fooled by an alias."""
        catalog = self.applier.catalog
        if name not in catalog.names and name in catalog.aliases:
            target = catalog.collections[catalog.aliases[name]].spec.name
            raise InvalidArgument(
                f"{name!r} is an alias of {target!r}", field="collection", hint=f"name the collection itself: {target}"
            )
        return catalog.resolve(name)

    def _check_same(self, collection: Collection) -> None:
        """Raise NotFound unless the collection still exists (on the committing thread)."""
        if self.applier.catalog.get(collection.spec.id) is not collection:
            self.applier.catalog.resolve(collection.spec.name)
            raise NotFound(
                f"the collection {collection.spec.name!r} was replaced meanwhile",
                reason="COLLECTION_NOT_FOUND",
                hint="look at it again, and repeat the command if it is still wanted",
            )

    def _created(self, name: str, outcome: Outcome) -> CollectionStats:
        """What this very request has created. Raises NotFound where a request sent again finds it gone."""
        catalog = self.applier.catalog
        found = catalog.names.get(name)
        if found is None or catalog.collections[found].spec.created_sequence != outcome.sequence:
            raise NotFound(
                f"the collection {name!r} that this request created at sequence {outcome.sequence} was dropped or "
                "replaced since",
                reason="COLLECTION_NOT_FOUND",
                hint="to create it anew, send the request with another request_id",
                collection=name,
                sequence=outcome.sequence,
            )
        return self._describe(catalog.collections[found])

    def _check_alias(self, alias: str) -> None:
        """Raise NotFound unless there is such an alias."""
        if alias not in self.applier.catalog.aliases:
            raise NotFound(
                f"there is no alias {alias!r}",
                reason="ALIAS_NOT_FOUND",
                hint="list them with `holdfast collection alias list`",
            )

    def _describe(self, collection: Collection) -> CollectionStats:
        view = collection.view
        total = sum(segment.rows_count for segment in view.segments)
        total += sum(segment.rows_count for segment in view.quarantined)
        total += sum(part.length for part in view.memtables)
        memory = sum(part.table.bytes for part in view.memtables)
        meter = self.meters.of(collection.spec.id)
        return CollectionStats(
            spec=view.spec,
            vectors=view.count,
            size_bytes=sum(segment.size_bytes for segment in view.segments) + memory,
            digest=view.digest,
            sequence=view.sequence,
            segments=len(view.segments),
            garbage_percent=max(0.0, 100.0 * (total - view.count) / total) if total else 0.0,
            updated_us=view.updated_us,
            memory_bytes=memory,
            avg_insert_ms=meter.insert.mean_ms,
            avg_search_ms=meter.search.mean_ms,
            qps=meter.search.per_second,
            aliases=self.applier.catalog.aliases_of(collection.spec.id),
            quarantined=quarantined_parts(view.quarantined),
            schema_problem=problem_of(view.spec.schema_json) if collection.payload_check is None else "",
        )


def _described_ahead(spec: CollectionSpec) -> CollectionStats:
    """What a collection would be like that is not there yet."""
    return CollectionStats(
        spec=spec, vectors=0, size_bytes=0, digest=Digest(), sequence=0, segments=0, garbage_percent=0.0, updated_us=0
    )
