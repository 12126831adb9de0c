"""Random lives of a store: a search finds what was really sent, all of it and nothing else."""

from __future__ import annotations

import random
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import pytest

from holdfastd.engine.log_findings import Range, Wanted
from holdfastd.engine.log_names import LogNames
from holdfastd.engine.log_search import EVERY_POINT, LogSearch
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import NotFound
from holdfastd.model import StorageKind, family
from tests.support.snapshots import SnapshotKit

NAMES = ("alpha", "beta", "gamma")
ALIASES = ("first", "second")
IDS = ["a", "b", "17", "017", "ä", "日本", "a,b", "x\ny", "\n\x01a", *(f"p{number}" for number in range(20))]
ACTORS = ("ann", "bob", "")
DAY_US = 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class Sent:
    """One operation as it was sent. ``names``: of the collections and the alias that it is about."""

    sequence: int
    time_us: int
    kind: str
    actor: str
    request_id: str
    collections: frozenset[uuid.UUID] = frozenset()
    names: frozenset[str] = frozenset()
    ids: tuple[str, ...] = ()


@dataclass
class SearchLife:
    """One life. ``sent``: what its log must hold."""

    seed: int
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.kit = SnapshotKit(segment_size=4096)
        self.serial = 0
        self.ids_of: dict[str, set[uuid.UUID]] = {}

    def live(self, steps: int) -> SearchLife:
        """Take random steps."""
        many = [self.upsert] * 8 + [self.delete] * 4 + [self.create] * 3 + [self.alias] * 2
        some = [self.truncate, self.drop, self.mark, self.checkpoint, self.rotate, self.tick, self.kill, self.restart]
        for step in self.draw.choices(many + some + [self.move, self.off, self.restore], k=steps):
            step()
        return self

    # Steps ----------------------------------------------------------------------------------------------------------

    @property
    def _names(self) -> list[str]:
        return [each.spec.name for each in self.kit.engine.collections.list()]

    def _caller(self) -> Caller:
        self.serial += 1
        return Caller(actor=self.draw.choice(ACTORS), request_id=f"request-{self.serial}")

    def _id(self, name: str) -> uuid.UUID:
        found = self.kit.engine.collections.stats(name).spec.id
        self.ids_of.setdefault(name, set()).add(found)
        return found

    def _note(
        self, kind: str, caller: Caller, *names: str, about: set[uuid.UUID] = frozenset(), ids: tuple[str, ...] = ()
    ) -> None:  # type: ignore[assignment]
        engine = self.kit.engine
        if engine.wal.status().state != "active":
            return
        self.sent.append(
            Sent(
                engine.sequence, engine._applier.time_us, kind, caller.actor, caller.request_id, frozenset(about),
                frozenset(names), ids,
            )
        )  # fmt: skip

    def create(self) -> None:
        free = [name for name in NAMES if name not in self._names]
        if free:
            name, caller = self.draw.choice(free), self._caller()
            storage = self.draw.choice((StorageKind.DISK, StorageKind.DISK, StorageKind.MEMORY))
            self.kit.create(name, storage=storage, caller=caller)
            self._note("create_collection", caller, name, about={self._id(name)})

    def _one(self) -> str:
        while not self._names:
            self.create()
        return self.draw.choice(self._names)

    def _points(self, kind: str, name: str, caller: Caller, ids: tuple[str, ...] = ()) -> None:
        if self.kit.engine.collections.stats(name).spec.storage is not StorageKind.MEMORY:
            self._note(kind, caller, name, about={self._id(name)}, ids=ids)

    def upsert(self) -> None:
        name, caller = self._one(), self._caller()
        ids = self.draw.sample(IDS, self.draw.choice((1, 1, 2, 20)))
        self.kit.upsert(ids, name=name, caller=caller)
        self._points("upsert", name, caller, tuple(ids))

    def delete(self) -> None:
        name, caller = self._one(), self._caller()
        ids = self.draw.sample(IDS, self.draw.choice((1, 1, 2, 15)))
        self.kit.delete(*ids, name=name, caller=caller)
        self._points("delete", name, caller, tuple(ids))

    def truncate(self) -> None:
        name, caller = self._one(), self._caller()
        self.kit.engine.points.truncate(name, caller=caller)
        self._points("truncate", name, caller)

    def drop(self) -> None:
        name, caller = self._one(), self._caller()
        about = {self._id(name)}
        self.kit.engine.collections.drop(name, caller=caller)
        self._note("drop_collection", caller, name, about=about)

    def alias(self) -> None:
        name, alias, caller = self._one(), self.draw.choice(ALIASES), self._caller()
        collections, known = self.kit.engine.collections, dict(self.kit.engine.collections.aliases())
        if alias in known and self.draw.random() < 0.3:
            collections.delete_alias(alias, caller=caller)
            self._note("delete_alias", caller, alias)
            return
        put = collections.switch_alias if alias in known else collections.create_alias
        put(alias, name, caller=caller)
        self._note("put_alias", caller, alias, name, about={self._id(name)})

    def mark(self) -> None:
        caller = self._caller()
        if self.kit.engine.wal.status().state == "active":
            self.kit.engine.wal.mark(f"mark-{self.serial}", caller=caller)
            self._note("mark", caller)

    def restore(self) -> None:
        disk = [n for n in self._names if self.kit.engine.collections.stats(n).spec.storage is not StorageKind.MEMORY]
        if not disk or self.kit.engine.wal.status().state != "active":
            return
        name = self.draw.choice(disk)
        self.kit.clock.advance_us(2_000_000)
        self.kit.snapshot(collection=name)
        old = self._id(name)
        self.kit.restore("latest", collection=name, overwrite=True)
        self._note("restore", Caller(actor="test"), name, about={old, self._id(name)})

    def checkpoint(self) -> None:
        self.kit.engine.checkpoint()

    def rotate(self) -> None:
        log = self.kit.log
        if log is not None:
            self.kit.engine._committer.between_groups(log.rotate)

    def tick(self) -> None:
        self.kit.clock.advance_us(self.draw.choice((1, 1000, 60_000_000)))

    def kill(self) -> None:
        self.kit.reopen()

    def restart(self) -> None:
        self.kit.restart()

    def move(self) -> None:
        if self.kit.engine.wal.status().state == "active":
            self.kit.engine.wal.enable(WalChanges(path=self.draw.choice(("wal", "wal-2"))), caller=Caller())

    def off(self) -> None:
        self.kit.engine.wal.disable(caller=Caller())
        for step in self.draw.choices((self.upsert, self.create, self.drop, self.delete), k=self.draw.choice((0, 2))):
            step()
        self.kit.engine.wal.enable(WalChanges(), caller=Caller())

    # Asking ---------------------------------------------------------------------------------------------------------

    def ask(self) -> tuple[Wanted, Range]:
        """Any question."""
        draw = self.draw
        known = [id for ids in self.ids_of.values() for id in ids]
        kinds = sorted({each.kind for each in self.sent})
        request_ids = [*(each.request_id for each in self.sent if each.request_id), "request-1*"]
        wanted = Wanted(
            collection_id=draw.choice(known) if known and draw.random() < 0.2 else None,
            name=draw.choice(NAMES + ALIASES) if draw.random() < 0.5 else None,
            kinds=frozenset(draw.sample(kinds, min(2, len(kinds)))) if draw.random() < 0.4 else frozenset(),
            ids=tuple(draw.sample(IDS, draw.choice((1, 2, 12)))) if draw.random() < 0.5 else (),
            actors=frozenset(draw.sample(ACTORS, 2)) if draw.random() < 0.3 else frozenset(),
            request_ids=frozenset([draw.choice(request_ids)]) if draw.random() < 0.1 else frozenset(),
        )
        ends = sorted(draw.choices(self.sent, k=2), key=lambda each: each.sequence)
        way = draw.choice(("all", "sequence", "time", "since"))
        where = {
            "all": Range(),
            "sequence": Range(from_sequence=ends[0].sequence, to_sequence=ends[1].sequence),
            "time": Range(from_us=ends[0].time_us, to_us=ends[1].time_us),
            "since": Range(from_sequence=ends[0].sequence),
        }[way]
        return wanted, where

    def expected(self, wanted: Wanted, where: Range) -> list[int]:
        """What a reader of ``sent`` would find."""
        return [each.sequence for each in self.sent if _lies_in(where, each) and _matches(wanted, each)]

    def found(self, wanted: Wanted, where: Range) -> tuple[list[int], list[str]]:
        """What the search finds, and what it warns of."""
        names = LogNames(each.spec for each in self.kit.engine.collections.list())
        search = LogSearch(self.kit.engine.wal, wanted, names, look_around=True)
        found: list[int] = []
        warnings: list[str] = []
        with suppress(NotFound):
            for run in search.runs(where):
                found += [each.record.sequence for each in run.findings if each.kind != "closed"]
                warnings += run.warnings
        return found, warnings


def _lies_in(where: Range, sent: Sent) -> bool:
    if sent.sequence < where.from_sequence or (where.from_us is not None and sent.time_us < where.from_us):
        return False
    return (where.to_sequence is None or sent.sequence <= where.to_sequence) and (
        where.to_us is None or sent.time_us <= where.to_us
    )


def _matches(wanted: Wanted, sent: Sent) -> bool:
    if (wanted.kinds and sent.kind not in wanted.kinds) or (wanted.actors and sent.actor not in wanted.actors):
        return False
    if wanted.request_ids and not any(fnmatchcase(sent.request_id, word) for word in wanted.request_ids):
        return False
    if wanted.ids and sent.kind not in EVERY_POINT and set(wanted.ids).isdisjoint(sent.ids):
        return False
    families = set(map(family, sent.collections))
    about = (wanted.collection_id and family(wanted.collection_id) in families) or wanted.name in sent.names
    return bool(about) or (wanted.collection_id is None and wanted.name is None)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_found_is_what_was_sent(seed: int) -> None:
    life = SearchLife(seed).live(60)
    for _ in range(40):
        wanted, where = life.ask()
        (found, warnings), expected = life.found(wanted, where), life.expected(wanted, where)
        missing = [sequence for sequence in expected if sequence not in found]
        assert found == [sequence for sequence in expected if sequence not in missing], (wanted, where)
        told = sum(int(each.split()[0]) for each in warnings if "not known any more" in each)
        assert len(missing) <= told, (wanted, where, missing)
    life.kit.engine.stop()
