"""A replay waits for room as long as it takes, as long work does, and can be cancelled while it waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from holdfastd.engine import committer
from holdfastd.engine.operations import Operation, OperationState
from holdfastd.engine.replay import ReplayRequest
from tests.support.engines import CALLER
from tests.support.replays import ReplayKit, content, found_again, history, lost_store
from tests.support.waiting import until


class Full:
    """Why writers have to wait, for as long as it is ``full``; ``looks``: how often somebody asked."""

    def __init__(self, kit: ReplayKit) -> None:
        self.full = True
        self.looks = 0
        self.committer = kit.engine._committer
        self.committer.hold_writes_while(self)

    def __call__(self) -> str | None:
        self.looks += 1
        return "a checkpoint takes its time" if self.full else None

    def end(self) -> None:
        self.full = False
        self.committer.release_writers()


@pytest.fixture
def kit(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplayKit]:
    """A copy that has to be rolled forward, in a store of which nobody has any patience."""
    kit = history()
    kit.restore("latest", collection="copy")
    monkeypatch.setattr(committer, "QUEUE_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(committer, "LOOK_SECONDS", 0.001)
    yield kit
    kit.engine.stop()


def waiting(kit: ReplayKit, full: Full, **request: object) -> Operation:
    """A replay that waits for room."""
    operation = kit.engine.replay.start(ReplayRequest(**request), caller=CALLER)  # type: ignore[arg-type]
    until(lambda: full.looks > 3 or kit.engine.operations.get(operation.id).state.final)
    return kit.engine.operations.get(operation.id)


def test_a_replay_beside_a_checkpoint_that_takes_long_waits_for_it(kit: ReplayKit) -> None:
    full = Full(kit)
    operation = waiting(kit, full)
    assert operation.state is OperationState.RUNNING
    full.end()
    ended = kit.engine.operations.wait(operation.id)
    assert (ended.state, ended.error) == (OperationState.SUCCEEDED, None)
    assert kit.digest("copy") == kit.digest()


def test_a_replay_that_waits_can_be_cancelled_and_goes_on_later(kit: ReplayKit) -> None:
    full = Full(kit)
    operation = waiting(kit, full)
    kit.engine.operations.cancel(operation.id)
    assert kit.engine.operations.wait(operation.id).state is OperationState.CANCELLED
    full.end()
    assert kit.replay()["operations_replayed"] == 4
    assert kit.digest("copy") == kit.digest()


def resumed(found: ReplayKit, full: Full, operation: Operation) -> None:
    full.end()
    found.engine.operations.wait(operation.id)


def cancelled(found: ReplayKit, full: Full, operation: Operation) -> None:
    found.engine.operations.cancel(operation.id)
    assert found.engine.operations.wait(operation.id).state is OperationState.CANCELLED
    full.end()
    found.replay(path="/old")


@pytest.mark.parametrize("ended", [resumed, cancelled])
def test_so_does_a_replay_of_a_lost_store_s_catalog(
    monkeypatch: pytest.MonkeyPatch, ended: Callable[[ReplayKit, Full, Operation], None]
) -> None:
    lost = lost_store()
    found = found_again(lost)
    monkeypatch.setattr(committer, "QUEUE_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(committer, "LOOK_SECONDS", 0.001)
    try:
        full = Full(found)
        ended(found, full, waiting(found, full, path="/old"))
        assert content(found) == content(lost)
    finally:
        found.engine.stop()
        lost.engine.stop()
