"""What the state machine of a store may do at any time: have its segments read in another way."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfastd.engine.mmap_control import MmapChanges
from holdfastd.errors import NotFound
from holdfastd.model import Advice, MmapSettings
from tests.support.engines import CALLER
from tests.support.snapshots import SnapshotKit

names = st.none() | st.sampled_from(["one", "two", "copy"])


class MmapRules(RuleBasedStateMachine):
    """A store whose settings of memory mapping are what it was told, whatever else happens to it."""

    kit: SnapshotKit

    def __init__(self, tally: Counter[str]) -> None:
        super().__init__()
        self.tally = tally
        """How often what matters has happened, in all sequences together."""
        self.mmap = MmapSettings()

    @rule(name=names, mapped=st.booleans(), advise=st.none() | st.sampled_from(Advice))
    def read_otherwise(self, name: str | None, mapped: bool, advise: Advice | None) -> None:
        changes, engine = MmapChanges(enabled=mapped, advise=advise), self.kit.engine
        if name is not None and name not in {stats.spec.name for stats in engine.collections.list()}:
            with pytest.raises(NotFound):
                engine.mmap.configure(changes, collection=name, caller=CALLER)
            return
        status = engine.mmap.configure(changes, collection=name, caller=CALLER)
        assert status.settings.enabled is mapped
        assert mapped or not status.residence.mapped
        self.tally["read without maps"] += not mapped
        if name is None:
            self.mmap = status.settings

    @invariant()
    def reads_as_it_was_told(self) -> None:
        status = self.kit.engine.mmap.status()
        assert status.settings == self.mmap
        assert all(row.own or row.settings == self.mmap for row in status.collections)
        assert all(row.settings.enabled or not row.residence.mapped for row in status.collections)
