"""Clients that load a daemon until it dies, each with an oracle of its own: what was acknowledged, what is pending.

A client notes what it is about to ask for before it asks, and what was acknowledged after the reply. After the next
start the store shows, for each client, what was acknowledged or that and what was in flight; ``check`` says so and goes
on from what is there.
"""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TypeAlias

import holdfast
from holdfast.address import find_address
from holdfast.client import Client
from holdfast.connection import Connection

Row: TypeAlias = tuple[float, int]
"""The value of a point, and how often it was written since it last came into being."""

WIDE = 256
STREAMED_ROWS = 100
STREAMED_IDS = 700


class Impatient:
    """A clock for clients that are not to wait for the daemon's return: whenever they look, a minute has passed."""

    def __init__(self) -> None:
        self._minutes = itertools.count()

    def monotonic(self) -> float:
        return 60.0 * next(self._minutes)

    def sleep(self, seconds: float, /) -> None:
        """Return at once."""


class Tormentor(ABC):
    """One client. ``run`` belongs to its thread, ``check`` to the test's when that thread has ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rng = random.Random(name)
        self.acknowledgements = 0
        self.sequence = 0
        self.busy = False
        """Whether a call is under way."""
        self.interrupted = False
        """Whether the last round ended in the midst of a call."""
        self.problem: str | None = None

    def run(self, address: str) -> None:
        """Load the daemon until it is gone."""
        self.interrupted = False
        with Client(Connection(find_address(address), clock=Impatient())) as db:
            try:
                while True:
                    self.busy = True
                    self.step(db)
                    self.busy = False
            except (holdfast.Unavailable, holdfast.Cancelled):
                self.interrupted = True
            except Exception as error:
                self.problem = f"{self.name}: {type(error).__name__}: {error}"
            self.busy = False

    def acknowledge(self, sequence: int) -> None:
        """Note that an operation was acknowledged: with a sequence beyond all that this client has seen."""
        if sequence <= self.sequence:
            self.problem = f"{self.name}: sequence {sequence} was acknowledged after {self.sequence}"
        self.sequence = sequence
        self.acknowledgements += 1

    @abstractmethod
    def step(self, db: Client) -> None:
        """Ask for something, note it before and after."""

    @abstractmethod
    def check(self, db: Client) -> None:
        """Hold the store to what was acknowledged, and go on from what it shows."""


class PointWriter(Tormentor):
    """Small upserts, deletes by id and deletes by filter, one after the other, on ids that nobody else touches."""

    def __init__(self, name: str, ids: int = 8) -> None:
        super().__init__(name)
        self.acknowledged: dict[str, Row] = {}
        self.pending: dict[str, Row] = {}
        self.ids = [f"{name}-{number}" for number in range(ids)]
        self.value = 0.0

    def step(self, db: Client) -> None:
        points = db.collection("points")
        ids = self.rng.sample(self.ids, k=self.rng.randint(1, 3))
        kind = self.rng.choice(("upsert", "upsert", "upsert", "delete", "filter"))
        self.value += 1.0
        if kind == "upsert":
            written = {id: (self.value, self.acknowledged.get(id, (0.0, 0))[1] + 1) for id in ids}
            self.pending = {**self.acknowledged, **written}
            payload = {"owner": self.name, "value": self.value}
            result = points.upsert(ids, [[self.value, 1.0]] * len(ids), [payload] * len(ids))
            self.acknowledge(result.sequence)
        else:
            gone = set(ids) if kind == "delete" else {id for id, row in self.acknowledged.items() if row[0] % 2}
            self.pending = {id: row for id, row in self.acknowledged.items() if id not in gone}
            expected = len(self.acknowledged) - len(self.pending)
            done = points.delete(ids) if kind == "delete" else points.delete(filter=self._odd())
            if done.count != expected:
                self.problem = f"{self.name}: {done.count} points were deleted, there were {expected}"
            # A deletion that found nothing to delete is no operation and may have no sequence.
            if done.sequence or done.count:
                self.acknowledge(done.sequence)
        self.acknowledged = self.pending

    def _odd(self) -> str:
        odd = sorted({int(row[0]) for row in self.acknowledged.values() if row[0] % 2})
        return f"owner = '{self.name}' AND value IN ({', '.join(map(str, odd or [-1]))})"

    def check(self, db: Client) -> None:
        found: dict[str, Row] = {}
        for record in db.collection("points").get(self.ids):
            assert record.vector is not None
            value = record.vector[0]
            assert record.payload == {"owner": self.name, "value": value}, "vector and payload of different writes"
            found[record.id] = (value, record.version)
        assert found in (self.acknowledged, self.pending), (
            f"{self.name}: {found} is neither {self.acknowledged} nor, with the write in flight, {self.pending}"
        )
        self.acknowledged = self.pending = found


class Streamer(Tormentor):
    """Batches on a stream, several in flight, of rows so wide that memtables fill and checkpoints run all the time."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.state: dict[str, float] = {}
        self.sent: list[float] = []
        self.answered = 0
        self.number = 0

    def step(self, db: Client) -> None:
        for result in db.collection("bulk").upsert_stream(self._batches(), max_in_flight=6):
            self.answered += 1
            self.acknowledge(result.sequence)

    def _batches(self) -> Iterator[tuple[list[str], list[list[float]], None]]:
        while True:
            self.number += 1
            self.sent.append(float(self.number))
            yield self._ids(self.number), [[float(self.number)] * WIDE] * STREAMED_ROWS, None

    def _ids(self, number: int) -> list[str]:
        start = number * 37
        return [f"{self.name}-{(start + row) % STREAMED_IDS}" for row in range(STREAMED_ROWS)]

    def check(self, db: Client) -> None:
        records = db.collection("bulk").export()
        found = {record.id: record.vector[0] for record in records if record.vector is not None}
        state, agrees = dict(self.state), not self.answered and found == self.state
        for count, number in enumerate(self.sent, 1):
            state.update(dict.fromkeys(self._ids(int(number)), number))
            agrees = agrees or (count >= self.answered and found == state)
        assert agrees, f"{self.name}: no prefix of {len(self.sent)} batches, {self.answered} of them acknowledged"
        self.state, self.sent, self.answered = found, [], 0


class Architect(Tormentor):
    """Creates and drops collections, moves and deletes an alias."""

    NAMES = ("hall", "tower", "bridge")
    ALIAS = "favourite"

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.acknowledged: dict[str, str] = {}
        self.pending: dict[str, str] = {}

    def step(self, db: Client) -> None:
        standing = sorted(self.acknowledged.keys() & set(self.NAMES))
        free = sorted(set(self.NAMES) - set(standing))
        kind = self.rng.choice(("create", "create", "drop", "alias"))
        if kind == "create" and free:
            name = self.rng.choice(free)
            self.pending = {**self.acknowledged, name: ""}
            db.collections.create(name, 2)
        elif kind == "drop" and standing:
            name = self.rng.choice(standing)
            self.pending = {key: to for key, to in self.acknowledged.items() if name not in (key, to)}
            db.collections.delete(name)
        elif kind == "alias" and standing:
            self._alias(db, self.rng.choice(standing))
        self.acknowledged = self.pending
        self.acknowledgements += 1

    def _alias(self, db: Client, name: str) -> None:
        aliases = db.collections.aliases
        if self.ALIAS not in self.acknowledged:
            self.pending = {**self.acknowledged, self.ALIAS: name}
            aliases.create(self.ALIAS, name)
        elif self.rng.random() < 0.5:
            self.pending = {**self.acknowledged, self.ALIAS: name}
            aliases.switch(self.ALIAS, name)
        else:
            self.pending = {key: to for key, to in self.acknowledged.items() if key != self.ALIAS}
            aliases.delete(self.ALIAS)

    def check(self, db: Client) -> None:
        found = {row.name: "" for row in db.collections.list() if row.name in self.NAMES}
        found |= {row.alias: row.collection for row in db.collections.aliases.list()}
        assert found in (self.acknowledged, self.pending), f"{found}, not {self.acknowledged} or {self.pending}"
        self.acknowledged = self.pending = found


class Photographer(Tormentor):
    """Makes one snapshot after the other."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.acknowledged: list[str] = []

    def step(self, db: Client) -> None:
        made = db.snapshots.create("bulk", compress=self.rng.random() < 0.5)
        self.acknowledged.append(made.snapshot_id)
        self.acknowledgements += 1

    def check(self, db: Client) -> None:
        listed = [row.id for row in db.snapshots.list()]
        assert set(self.acknowledged) <= set(listed), f"{self.acknowledged} were made, {listed} are listed"
        assert len(listed) <= len(self.acknowledged) + 1
        self.acknowledged = listed[:1]
        for id in self.acknowledged:
            assert db.snapshots.verify(id).valid
        for id in listed[1:]:
            db.snapshots.delete(id)


class Compactor(Tormentor):
    """Has everything written anew, over and over."""

    def step(self, db: Client) -> None:
        db.storage.compact(aggressive=self.rng.random() < 0.5, threshold=0)
        self.acknowledgements += 1

    def check(self, db: Client) -> None:
        """What the others find is not changed by one more."""
        names = [row.name for row in db.collections.list()]
        before = [db.collection(name).stats().digest for name in names]
        db.storage.compact(aggressive=True)
        assert [db.collection(name).stats().digest for name in names] == before
