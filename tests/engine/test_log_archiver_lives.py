"""Lives of a store that archives its log: whatever happens to it, the archive reads as the log that it was given."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfastd.engine import log_shipping
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.model import SyncMode
from tests.support.archives import ArchiveKit, Operations
from tests.support.engines import abandon

STEPS = ("write", "write", "write", "round", "round", "sync", "checkpoint", "disable", "enable", "kill", "cut", "stop")
LIVES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Life:
    """A store, and everything that its log ever held durably, in order."""

    def __init__(self, mode: SyncMode, seed: int) -> None:
        self.rng = random.Random(seed)
        self.kit = ArchiveKit(sync_mode=mode, segment_size=512)
        self.kit.create()
        self.kit.engine.wal.enable(WalChanges(retention_us=1_000_000), caller=Caller())
        self.kit.sync_log()
        self.history: Operations = []
        self.take_note()

    def take_note(self) -> None:
        """What is durable now is history for good; nothing that was has changed."""
        if self.kit.log is None:
            return
        known = dict(self.history)
        for sequence, payload in self.kit.logged():
            assert known.get(sequence, payload) == payload
            if sequence not in known:
                self.history.append((sequence, payload))

    def step(self, name: str) -> None:
        kit = self.kit
        if name == "write":
            kit.write(self.rng.randint(1, 4))
        elif name == "round":
            kit.round()
        elif name == "sync":
            kit.sync_log()
        elif name == "checkpoint":
            kit.clock.advance_us(5_000_000)
            kit.engine.checkpoint()
        elif name == "disable":
            kit.sync_log()
            self.take_note()
            kit.engine.wal.disable(caller=Caller())
        elif name == "enable":
            path = self.rng.choice(["wal", "wal-2", "/elsewhere"])
            kit.engine.wal.enable(WalChanges(path=path), caller=Caller())
        else:
            self.end(name)
        self.take_note()

    def end(self, how: str) -> None:
        """The daemon ends, and is started again."""
        if how == "stop":
            self.kit.sync_log()
            self.take_note()
            self.kit.restart()
            return
        if how == "cut":
            self.kit.fs = self.kit.fs.crash(self.rng)
        abandon(self.kit.fs)
        self.kit.engine = self.kit._open()

    def check(self) -> None:
        """The archive is a beginning of history: of all of it, whatever the log itself has trimmed since."""
        archived = self.kit.archived()
        assert archived == self.history[: len(archived)]


@LIVES
@given(
    mode=st.sampled_from(SyncMode),
    steps=st.lists(st.sampled_from(STEPS), min_size=4, max_size=30),
    seed=st.integers(0, 1 << 30),
)
def test_the_archive_is_the_log_up_to_where_it_goes(
    monkeypatch: pytest.MonkeyPatch, mode: SyncMode, steps: list[str], seed: int
) -> None:
    monkeypatch.setattr(log_shipping, "MOST_PIECES", 3)
    life = Life(mode, seed)
    for name in steps:
        life.step(name)
        life.check()
    life.kit.round()
    assert life.kit.archived() == life.history
    assert not [name for name in life.kit.names() if name.endswith(".part")]
    assert not [code for code in life.kit.codes() if code.startswith("ARCHIVE")]
