"""RULES 17 for memory collections: their points do not outlive the daemon, and neither do the answers about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.errors import FailedPrecondition
from holdfastd.model import StorageKind
from tests.support.engines import CALLER, Kit, rows

ASKED = Caller(actor="test", request_id="r1")
ASKED_TO_SYNC = Caller(actor="test", request_id="r1", sync=True)


@pytest.mark.parametrize("restart", [Kit.reopen, Kit.restart], ids=["a kill", "a stop"])
def test_a_write_to_a_memory_collection_is_done_again_after_a_restart(restart: Callable[[Kit], object]) -> None:
    kit = Kit()
    kit.create(storage=StorageKind.MEMORY)
    first = kit.upsert(["w"], 1, caller=ASKED)
    assert kit.upsert(["w"], 1, caller=ASKED).sequence == first.sequence
    kit.engine.checkpoint()
    restart(kit)
    with pytest.raises(FailedPrecondition, match="lives in memory"):
        kit.upsert(["w"], 1, caller=ASKED_TO_SYNC)
    again = kit.upsert(["w"], 1, caller=ASKED)
    assert not again.durable
    assert again.sequence > first.sequence
    assert kit.values() == {"w": 1}


def test_an_answer_about_a_memory_collection_is_not_called_durable_because_a_disk_collection_has_its_name_now() -> None:
    kit = Kit()
    kit.create(storage=StorageKind.MEMORY)
    kit.upsert(["w"], 1, caller=ASKED)
    kit.engine.collections.drop("c", caller=CALLER)
    kit.create()
    submission = kit.engine.points.prepare_upsert("c", ["w"], rows(1), b"", caller=ASKED_TO_SYNC)
    kit.engine._committer._commit([submission])
    with pytest.raises(FailedPrecondition, match="lives in memory"):
        submission.ticket.wait(0)
