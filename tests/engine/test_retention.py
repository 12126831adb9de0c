"""How much of the log is kept: age, need, pins, the cap, and a clock that cannot be trusted (RULES 12, 13)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from holdfastd.engine.history import Ending
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import OutOfRange
from holdfastd.format.manifest import Manifest
from holdfastd.model import WalSettings
from tests.support.engines import Kit
from tests.support.snapshots import SnapshotKit

HOUR_US = 3600 * 1_000_000


def settings(kit: Kit, **changes: int) -> None:
    """Change log settings behind the command's limits."""
    keeper = kit.engine._keeper

    def changed(manifest: Manifest) -> Manifest:
        wal: WalSettings = replace(manifest.wal_settings, **changes)  # type: ignore[arg-type]
        return replace(manifest, wal_settings=wal)

    keeper.update(changed)


@pytest.fixture
def kit() -> Kit:
    """A log of many small WAL segments, all of it checkpointed."""
    kit = Kit(segment_size=512)
    kit.create()
    for number in range(12):
        kit.upsert([f"p{number}"])
    kit.engine.checkpoint()
    return kit


def first(kit: Kit) -> int:
    return kit.engine.wal.status().first_sequence


def checkpoint_later(kit: Kit, microseconds: int = 60_000_000) -> None:
    kit.clock.advance_us(microseconds)
    kit.upsert(["later"])
    kit.engine.checkpoint()


def alarms(kit: Kit) -> list[str]:
    return [alarm.code for alarm in kit.engine.alarms()]


def text_of(kit: Kit, code: str) -> str:
    return next(alarm.message for alarm in kit.engine.alarms() if alarm.code == code)


def test_what_is_young_is_kept(kit: Kit) -> None:
    checkpoint_later(kit)
    assert first(kit) == 1


def test_what_is_old_and_checkpointed_is_removed(kit: Kit) -> None:
    settings(kit, retention_us=1_000_000)
    checkpoint_later(kit)
    assert first(kit) > 10
    assert sorted(kit.reopen() and kit.values()) == sorted([f"p{number}" for number in range(12)] + ["later"])


def test_what_is_not_checkpointed_is_never_removed(kit: Kit) -> None:
    settings(kit, retention_us=0, max_wal_bytes=1)
    kit.clock.advance_us(60_000_000)
    for number in range(6):
        kit.upsert([f"q{number}"])
    needed = kit.engine._keeper.current.log_start_required
    kit.engine._retention.trim(kit.log, needed)
    assert first(kit) > 1
    assert first(kit) <= needed
    kit.reopen()
    assert len(kit.values()) == 18


def test_what_is_pinned_is_kept_until_it_is_let_go(kit: Kit) -> None:
    settings(kit, retention_us=1_000_000)
    reader = kit.engine.wal.records(from_sequence=3)
    assert next(reader).record.sequence == 3
    checkpoint_later(kit)
    assert first(kit) <= 3
    assert [operation.record.sequence for operation in reader][-1] >= 13
    checkpoint_later(kit)
    assert first(kit) > 10


def test_beyond_the_cap_the_oldest_history_is_given_up_with_an_alarm_that_names_the_window(kit: Kit) -> None:
    settings(kit, max_wal_bytes=1500)
    checkpoint_later(kit)
    begins = first(kit)
    assert begins > 1
    said = text_of(kit, "WAL_CAP")
    assert said.startswith("the log may take 1500 bytes: history from 2023-11-14T22:13:20Z (sequence 1) to ")
    assert f"(sequence {begins - 1}) was given up" in said
    assert said.endswith(f"before sequence {begins}")


def test_the_alarm_about_the_cap_is_cleared_once_that_history_would_be_gone_anyway(kit: Kit) -> None:
    settings(kit, max_wal_bytes=1500, retention_us=HOUR_US)
    checkpoint_later(kit)
    kit.clock.advance_us(HOUR_US // 2)
    assert "WAL_CAP" in alarms(kit)
    kit.clock.advance_us(HOUR_US // 2)
    assert alarms(kit) == []


def test_the_alarm_about_the_cap_stays_while_a_snapshot_would_need_what_was_given_up(kit: Kit) -> None:
    def covered(manifest: Manifest) -> Manifest:
        return replace(manifest, collections=tuple(replace(each, high_water=2) for each in manifest.collections))

    kit.engine._keeper.update(covered)
    settings(kit, max_wal_bytes=1500, retention_us=0)
    checkpoint_later(kit)
    kit.clock.advance_us(HOUR_US)
    assert "WAL_CAP" in alarms(kit)
    newer = kit.engine.sequence
    kit.engine._keeper.update(
        lambda manifest: replace(
            manifest, collections=tuple(replace(each, high_water=newer) for each in manifest.collections)
        )
    )
    assert alarms(kit) == []


def test_a_reader_of_the_log_yields_to_the_cap_and_hears_of_it(kit: Kit) -> None:
    settings(kit, max_wal_bytes=1500)
    reader = kit.engine.wal.records(from_sequence=3)
    assert next(reader).record.sequence == 3
    checkpoint_later(kit)
    assert first(kit) > 3
    with pytest.raises(OutOfRange):
        list(kit.engine.wal.records(from_sequence=3))


def test_less_retention_gives_the_room_back_at_once(kit: Kit) -> None:
    kit.upsert(["later"])
    kit.engine.checkpoint()
    kit.clock.advance_us(60_000_000)
    assert first(kit) == 1
    kit.engine.wal.enable(WalChanges(retention_us=1_000_000), caller=Caller())
    assert first(kit) > 10


def test_the_alarms_are_shown_with_the_log_disabled(kit: Kit) -> None:
    kit.engine.wal.disable(caller=Caller())
    assert alarms(kit) == ["WAL_DISABLED"]
    kit.clock.jump_us(2 * HOUR_US)
    assert sorted(alarms(kit)) == ["CLOCK_JUMP", "WAL_DISABLED"]
    kit.clock.jump_us(-2 * HOUR_US)
    kit.engine.wal.enable(WalChanges(), caller=Caller())
    assert alarms(kit) == []


@pytest.mark.parametrize("jump", [2 * HOUR_US, -2 * HOUR_US, 1000 * HOUR_US])
def test_after_a_jump_of_the_clock_nothing_is_removed_by_age(kit: Kit, jump: int) -> None:
    settings(kit, retention_us=1_000_000)
    kit.clock.jump_us(jump)
    checkpoint_later(kit)
    assert first(kit) == 1
    assert "CLOCK_JUMP" in alarms(kit)


@pytest.mark.parametrize("fail", [lambda kit: kit.fs.fail_on("unlink", "*/wal/*")])
def test_a_file_that_cannot_be_removed_is_an_alarm_and_no_more(kit: Kit, fail: Callable[[Kit], None]) -> None:
    settings(kit, retention_us=1_000_000)
    fail(kit)
    checkpoint_later(kit)
    assert "WAL_TRIM" in alarms(kit)
    assert kit.upsert(["x"]).durable
    checkpoint_later(kit)
    assert "WAL_TRIM" not in alarms(kit)
    assert first(kit) > 10


# What snapshots need --------------------------------------------------------------------------------------------------


def covered() -> SnapshotKit:
    """A snapshot of the only collection, and twelve operations behind it; what is young is not kept for that."""
    kit = SnapshotKit(segment_size=512)
    kit.create()
    kit.snapshot()
    for number in range(12):
        kit.upsert([f"p{number}"])
    settings(kit, retention_us=1_000_000)
    return kit


def forgotten(kit: SnapshotKit) -> None:
    """Checkpoints later: all that nobody needs is removed."""
    for _ in range(2):
        kit.clock.advance_us(60_000_000)
        kit.create(f"later-{kit.engine.sequence}")
        kit.engine.checkpoint()


def test_history_behind_the_newest_snapshot_is_kept_though_all_that_it_holds_is_dropped() -> None:
    """Just then somebody will want it back."""
    kit = covered()
    kit.engine.collections.drop("c", caller=Caller())
    dropped_at = kit.engine.sequence
    forgotten(kit)
    kit.reopen()
    forgotten(kit)
    assert first(kit) == 1
    kit.restore("latest", ending=Ending(dropped_at - 1), from_collection="c", collection="copy")
    assert len(kit.values("copy")) == 12


def test_it_is_kept_no_longer_than_that_snapshot_is_the_newest_and_there() -> None:
    kit = covered()
    kit.engine.collections.drop("c", caller=Caller())
    kit.clock.advance_us(60_000_000)
    kit.snapshot()
    newest = kit.engine.sequence
    forgotten(kit)
    assert 1 < first(kit) <= newest + 1
    for info in kit.engine.snapshots.list():
        kit.engine.snapshots.delete(info.id)
    forgotten(kit)
    assert first(kit) > newest


def test_a_snapshot_that_is_not_there_any_more_needs_nothing_and_the_one_before_it_does() -> None:
    kit = covered()
    kit.clock.advance_us(60_000_000)
    kit.snapshot()
    kit.engine.collections.drop("c", caller=Caller())
    kit.fs.unlink(kit.engine.snapshots.list()[0].path)
    forgotten(kit)
    assert first(kit) == 1


def test_what_a_snapshot_needs_yields_to_the_cap() -> None:
    kit = covered()
    kit.engine.collections.drop("c", caller=Caller())
    settings(kit, max_wal_bytes=1500)
    forgotten(kit)
    assert first(kit) > 1
    assert "WAL_CAP" in alarms(kit)
