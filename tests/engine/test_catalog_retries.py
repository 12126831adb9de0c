"""With the log disabled, a change of the catalog that is answered is on the disk: told first or once more (RULES 5)."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.errors import CommitUnknown, HoldfastError
from tests.support.engines import CALLER, Kit
from tests.support.oracle import observe

ASKED = Caller(actor="test", request_id="r1")
Change = Callable[[Kit], object]

CHANGES: dict[str, Change] = {
    "create": lambda kit: kit.create("new", caller=ASKED),
    "drop": lambda kit: kit.engine.collections.drop("d", caller=ASKED),
    "create alias": lambda kit: kit.engine.collections.create_alias("z", "c", caller=ASKED),
    "switch alias": lambda kit: kit.engine.collections.switch_alias("x", "d", caller=ASKED),
    "delete alias": lambda kit: kit.engine.collections.delete_alias("x", caller=ASKED),
}


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> Change:
    return CHANGES[request.param]


def without_log() -> Kit:
    kit = Kit()
    kit.create("c")
    kit.create("d")
    kit.engine.collections.create_alias("x", "c", caller=CALLER)
    kit.upsert(["a"])
    kit.engine.wal.disable(caller=CALLER)
    kit.upsert(["b"])
    return kit


def power_cut(kit: Kit) -> Kit:
    return Kit(kit.fs.crash(random.Random(3)), seed=70)


def test_sent_again_it_is_made_durable_first(change: Change) -> None:
    kit = without_log()
    kit.fs.fail_on("write", "/data/MANIFEST.json.tmp", errno.ENOSPC, times=2)
    with pytest.raises(CommitUnknown):
        change(kit)
    kit.fs.heal()
    sequence = kit.engine.sequence
    change(kit)
    assert kit.engine.sequence == sequence, "done twice"
    assert observe(power_cut(kit).engine) == observe(kit.engine)


def test_sent_again_while_the_disk_still_fails_it_is_no_success(change: Change) -> None:
    kit = without_log()
    kit.fs.fail_on("write", "/data/MANIFEST.json.tmp", errno.ENOSPC, forever=True)
    for _ in range(2):
        with pytest.raises(CommitUnknown):
            change(kit)


def test_what_is_durable_already_is_told_without_another_manifest(change: Change) -> None:
    kit = without_log()
    change(kit)
    generation = kit.engine._keeper.current.generation
    change(kit)
    assert kit.engine._keeper.current.generation == generation


def failures(change: Change) -> Iterator[tuple[int, int]]:
    kit = without_log()
    start = kit.fs.ops
    change(kit)
    return ((step, code) for step in range(kit.fs.ops - start) for code in (errno.ENOSPC, errno.EIO))


@pytest.mark.crash
def test_whatever_fails_an_answer_survives_a_power_cut(change: Change) -> None:
    told_again = 0
    for step, code in failures(change):
        kit = without_log()
        kit.fs.fail_at(kit.fs.ops + step, code)
        try:
            change(kit)
        except HoldfastError:
            kit.fs.heal()
            if kit.engine.failure is not None:
                continue
            change(kit)
            told_again += 1
        kit.fs.heal()
        assert observe(power_cut(kit).engine) == observe(kit.engine), f"operation {step} failed with {code}"
    assert told_again > 0
