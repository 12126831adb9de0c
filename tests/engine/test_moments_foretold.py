"""What the dry run of a restore to a moment tells of the collections that it would replace; and it leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from holdfastd.engine import snapshot_restore
from holdfastd.engine.history import Ending
from holdfastd.engine.roll_forward import RollForward
from holdfastd.engine.row_diff import RowDiff
from holdfastd.errors import Corruption
from tests.support.oracle import observe
from tests.support.replays import ReplayKit, kit_with_moments
from tests.support.restores import directories


@pytest.fixture
def kit() -> ReplayKit:
    return kit_with_moments()


def to(kit: ReplayKit, sequence: int, **options: Any) -> dict[str, Any]:
    return kit.restore("latest", ending=Ending(sequence), **options)


def raising(error: Exception) -> Callable[..., NoReturn]:
    """What raises it, whatever it is asked."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


@pytest.mark.parametrize("sequence", [3, 4, 5, 7, 8])
def test_a_dry_run_over_what_is_there_tells_what_would_change(kit: ReplayKit, sequence: int) -> None:
    before, there = observe(kit.engine), directories(kit)
    told = to(kit, sequence, overwrite=True, validate_only=True)
    assert (observe(kit.engine), directories(kit)) == (before, there)
    assert (told["status"], told["restored_through_sequence"], told["warnings"]) == ("planned", sequence, [])
    assert [each["collection"] for each in told["changes"]] == told["collections_restored"] == ["c", "d"]
    kit.clock.advance_us(2_000_000)
    made = kit.later()
    done = to(kit, sequence, overwrite=True)
    assert done["vectors_restored"] == told["vectors_restored"]
    for foretold, came in zip(told["changes"], kit.diff(made.id)["collections"], strict=True):
        assert foretold == came | {"notes": []}


def test_a_dry_run_that_would_read_much_reads_the_log_alone_and_says_so(
    kit: ReplayKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_restore, "QUICK_BYTES", 1)
    told = to(kit, 8, overwrite=True, validate_only=True)
    assert "changes" not in told
    assert told["warnings"][0].startswith("how what is there would change takes reading more than a dry run does")


@pytest.mark.parametrize("failing", ["stage", "compare"])
def test_a_dry_run_that_fails_leaves_nothing(kit: ReplayKit, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    if failing == "stage":
        monkeypatch.setattr(RollForward, "finish", raising(Corruption("wrong", path="/data/collections")))
    else:
        monkeypatch.setattr(RowDiff, "leads", lambda *_: False)
    before, there = observe(kit.engine), directories(kit)
    with pytest.raises(Corruption):
        to(kit, 7, overwrite=True, validate_only=True)
    assert (observe(kit.engine), directories(kit)) == (before, there)
