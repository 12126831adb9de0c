"""Whose past is meant, what a dry run foretells, and restores on the way to a moment."""

from __future__ import annotations

from typing import Any

import pytest

from holdfastd.engine.history import Ending
from holdfastd.errors import AlreadyExists, InvalidArgument, NotFound, OutOfRange
from tests.support.engines import CALLER
from tests.support.replays import ReplayKit


@pytest.fixture
def kit() -> ReplayKit:
    """A snapshot of everything, which is docs with a: 1; users is made behind it, and has u: 7."""
    kit = ReplayKit()
    kit.create("docs")
    kit.upsert(["a"], 1, name="docs")
    kit.snapshot()
    kit.clock.advance_us(2_000_000)
    kit.create("users")
    kit.upsert(["u"], 7, name="users")
    return kit


def to(kit: ReplayKit, sequence: int, snapshot: str = "latest", **options: Any) -> dict[str, Any]:
    return kit.restore(snapshot, ending=Ending(sequence), **options)


# Which one ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize("dry", [False, True])
def test_a_collection_made_since_the_snapshot_is_not_given_the_content_of_another(
    kit: ReplayKit, by_id: bool, dry: bool
) -> None:
    moment = kit.engine.sequence
    kit.engine.collections.drop("users", caller=CALLER)
    snapshot = kit.ids()[0] if by_id else "latest"
    with pytest.raises(InvalidArgument, match="sequence 3 made a collection of that very name") as caught:
        to(kit, moment, snapshot, collection="users", validate_only=dry)
    assert caught.value.hint == "say which with --from-collection: docs, users"
    to(kit, moment, snapshot, collection="users", from_collection="users")
    assert kit.values("users") == {"u": 7.0}


def test_the_name_of_a_live_collection_does_not_stand_for_the_only_one_in_a_snapshot(kit: ReplayKit) -> None:
    with pytest.raises(InvalidArgument) as caught:
        to(kit, 2, collection="users", overwrite=True)
    assert caught.value.hint == "say which with --from-collection: docs, users"
    assert kit.values("users") == {"u": 7.0}


def test_a_new_name_stands_for_the_only_one_there_is(kit: ReplayKit) -> None:
    to(kit, 2, collection="copy")
    assert kit.values("copy") == {"a": 1.0}


def test_everything_is_brought_back_from_a_snapshot_of_everything(kit: ReplayKit) -> None:
    """A newer one of a single collection does not stand in its way."""
    kit.snapshot(collection="users")
    kit.clock.advance_us(2_000_000)
    kit.upsert(["u"], 8, name="users")
    assert to(kit, kit.engine.sequence, overwrite=True)["collections_restored"] == ["docs", "users"]
    assert (kit.values("docs"), kit.values("users")) == ({"a": 1.0}, {"u": 8.0})


def test_without_a_snapshot_of_everything_what_is_left_out_is_said() -> None:
    kit = ReplayKit()
    for name in ("docs", "users"):
        kit.create(name)
    taken = kit.snapshot(collection="docs")
    found = to(kit, kit.engine.sequence, overwrite=True)
    assert found["collections_restored"] == ["docs"]
    assert found["warnings"] == [f"{taken['snapshot_id']} holds docs alone: other collections stay as they are"]


def test_a_named_snapshot_without_the_collection_says_what_it_holds(kit: ReplayKit) -> None:
    taken = kit.snapshot(collection="docs")
    with pytest.raises(NotFound, match="holds no collection 'users'") as caught:
        to(kit, kit.engine.sequence, taken["snapshot_id"], from_collection="users", collection="copy")
    assert caught.value.hint == "it holds docs"


# A dry run ------------------------------------------------------------------------------------------------------------


def test_a_dry_run_names_what_will_be_there(kit: ReplayKit) -> None:
    kit.engine.collections.drop("docs", caller=CALLER)
    moment = kit.engine.sequence
    kit.create("other")
    with pytest.raises(AlreadyExists, match="'users' already exists"):
        to(kit, moment, validate_only=True)
    kit.create("docs")
    planned = to(kit, moment, validate_only=True, overwrite=True)
    done = to(kit, moment, overwrite=True)
    for field in ("collections_restored", "collections_overwritten", "collections_untouched", "operations_replayed"):
        assert planned[field] == done[field]
    assert planned["collections_restored"] == ["users"]
    assert planned["collections_untouched"] == ["docs", "other"]


def test_a_dry_run_tells_when_the_collection_was_dropped(kit: ReplayKit) -> None:
    kit.engine.collections.drop("docs", caller=CALLER)
    for dry in (True, False):
        with pytest.raises(NotFound, match="sequence 5 dropped it"):
            to(kit, 5, from_collection="docs", collection="copy", validate_only=dry)


# Restores on the way --------------------------------------------------------------------------------------------------


def drill(kit: ReplayKit) -> int:
    kit.restore("latest", collection="drill", from_collection="docs")
    return kit.engine.sequence


def test_a_restore_that_is_gone_by_then_is_in_nobodys_way(kit: ReplayKit) -> None:
    drill(kit)
    kit.engine.collections.create_alias("current", "drill", caller=CALLER)
    kit.engine.collections.drop("drill", caller=CALLER)
    for dry in (True, False):
        found = to(kit, kit.engine.sequence, overwrite=True, validate_only=dry)
        assert found["collections_restored"] == ["docs", "users"]
    assert kit.engine.collections.aliases() == []


def test_a_collection_made_anew_after_a_restore_over_it_is_reached(kit: ReplayKit) -> None:
    kit.restore("latest", from_collection="docs", overwrite=True)
    kit.engine.collections.drop("docs", caller=CALLER)
    kit.create("docs")
    kit.upsert(["z"], 9, name="docs")
    to(kit, kit.engine.sequence, from_collection="docs", collection="copy")
    assert kit.values("copy") == {"z": 9.0}


@pytest.mark.parametrize("dry", [False, True])
def test_a_restore_that_is_still_there_is_refused(kit: ReplayKit, dry: bool) -> None:
    restored_at = drill(kit)
    with pytest.raises(OutOfRange, match=f"sequence {restored_at} restored drill from {kit.ids()[0]}") as caught:
        to(kit, kit.engine.sequence, overwrite=True, validate_only=dry)
    assert caught.value.reason == "PITR_OUT_OF_WINDOW"
    to(kit, kit.engine.sequence, from_collection="users", collection="copy", validate_only=dry)
