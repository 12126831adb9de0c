"""What is said when a snapshot is found damaged: the commands bring back the moment that was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from holdfastd.engine.history import Ending
from holdfastd.errors import Corruption
from tests.support.snapshots import SnapshotKit, two_points


@pytest.fixture
def kit() -> SnapshotKit:
    return two_points()


def damage(kit: SnapshotKit, id: str) -> None:
    """Change a byte of rows: no manifest tells of it."""
    path = kit.engine.snapshots.get(id).path
    kit.fs.damage(path, kit.fs.read(path).index(b"in /hourly"), b"X")


def chained(kit: SnapshotKit, **last: Any) -> tuple[str, str, str]:
    """A full snapshot and two increments, each with a point more."""
    ids = [kit.later().id]
    for number, more in enumerate(({}, last)):
        kit.upsert([f"in /hourly {number}"], 3)
        ids.append(kit.later(path="/hourly", incremental=True, **more).id)
    return ids[0], ids[1], ids[2]


def refusal(kit: SnapshotKit, snapshot: str, **request: Any) -> str:
    with pytest.raises(Corruption) as caught:
        kit.restore(snapshot, **{"collection": "copy"} | request)
    return str(caught.value.hint)


@pytest.mark.parametrize(("last", "of"), [({}, ""), ({"collection": "c"}, " --from-collection c")])
def test_where_a_link_is_damaged_the_way_to_what_was_asked_for_is_told(
    kit: SnapshotKit, last: dict[str, str], of: str
) -> None:
    """And not to the moment of the link, which was the earlier one."""
    kit.create("d")
    full, one, two = chained(kit, **last)
    damage(kit, one)
    live, to = kit.engine.collections.stats("c").digest, kit.engine.snapshots.get(two).record.sequence
    hint = refusal(kit, two, from_collection="c")
    assert f"{full} before it is whole, and the log leads from there to the moment of {two}: " in hint
    assert f"holdfast storage snapshot restore {full} --to {to}{of}; " in hint
    kit.restore(full, ending=Ending(to), from_collection="c", collection="copy")
    assert kit.engine.collections.stats("copy").digest == live


def test_a_moment_to_which_a_damaged_one_led_is_reached_by_the_same_command_again(kit: SnapshotKit) -> None:
    full, one, _ = chained(kit)
    to = kit.engine.snapshots.get(one).record.sequence + 1
    damage(kit, one)
    asked: dict[str, Any] = {"ending": Ending(to), "from_collection": "c"}
    assert refusal(kit, "latest", **asked).startswith("the same command again takes another way to that moment")
    found = kit.restore("latest", collection="copy", **asked)
    assert found["chain"] == [full]
    assert refusal(kit, one, **asked | {"collection": "other"}).startswith(
        "`latest` in its place takes another way to that moment"
    )


def test_a_nearer_one_that_lacks_a_link_is_passed_over_with_what_it_lacks(kit: SnapshotKit) -> None:
    full, one, two = chained(kit)
    to = kit.engine.snapshots.get(two).record.sequence
    kit.fs.unlink(kit.engine.snapshots.get(one).path)
    found = kit.restore("latest", collection="copy", from_collection="c", ending=Ending(to))
    assert found["chain"] == [full]
    assert found["warnings"][0] == (
        f"{two} would have been nearer, and was passed over: it builds on {one}, which is missing"
    )
