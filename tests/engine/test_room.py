"""A disk that is full: what is refused, what still works, what is said, and how it ends (RULES 13, 26)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from holdfastd.engine import writer
from holdfastd.engine.changes import DeleteIds, DropCollection
from holdfastd.engine.tickets import Caller
from holdfastd.engine.wal_control import WalChanges
from holdfastd.errors import ResourceExhausted
from holdfastd.format.hashing import hash_ids
from holdfastd.format.payloads import join_payloads
from holdfastd.model import StorageKind
from holdfastd.storage.reserve import HEAD_BYTES
from tests.support.engines import CALLER, ROOT, Kit, rows
from tests.support.memfs import MemFileSystem
from tests.support.snapshots import SnapshotKit

RESERVE = 1 << 17
CAPACITY = 1 << 21
MINUTE_US = 60 * 1_000_000


def noise(number: int, size: int = 20_000) -> bytes:
    """A payload that does not compress."""
    return b'{"text":"%s"}' % random.Random(number).randbytes(size // 2).hex().encode()


def make_kit(capacity: int = CAPACITY, reserve: int = RESERVE, segment_size: int = 1 << 16) -> SnapshotKit:
    fs = MemFileSystem(capacity=capacity, record=False)
    kit = SnapshotKit(fs, disk_reserve_bytes=reserve, segment_size=segment_size)
    kit.create()
    return kit


@pytest.fixture
def kit() -> SnapshotKit:
    return make_kit()


def fill(kit: Kit, name: str = "c") -> int:
    """Write until it is refused; returns how many points were acknowledged."""
    for number in range(1000):
        try:
            kit.upsert([f"p{number:03d}"], name=name, payloads=[noise(number)])
        except ResourceExhausted:
            return number
    raise AssertionError("the disk is never full")


def delete_for_ever(kit: Kit) -> None:
    for number in range(10_000):
        kit.delete(*(f"unknown {number} {n} {'x' * 100}" for n in range(20)))


def use_up(kit: Kit) -> None:
    """Let somebody else take what is left of the disk."""
    number = sum(name.startswith("somebody") for name in kit.fs.listdir("/"))
    kit.fs.create(f"/somebody-else-{number}", kit.fs.free_bytes("/")).close()


def alarms(kit: Kit) -> list[str]:
    return [alarm.code for alarm in kit.engine.alarms()]


def reserve_of(kit: Kit) -> int:
    return kit.engine.status().reserve_bytes


class TestTheReserve:
    def test_it_is_taken_at_the_first_start_and_kept_over_restarts(self, kit: Kit) -> None:
        assert reserve_of(kit) == kit.fs.size(f"{ROOT}/RESERVE") == RESERVE
        kit.restart()
        assert reserve_of(kit) == RESERVE
        assert alarms(kit) == []

    def test_on_a_small_disk_it_is_smaller_and_that_is_said(self) -> None:
        kit = make_kit(capacity=1 << 20, reserve=16 << 20)
        assert (1 << 17) < reserve_of(kit) <= (1 << 18)
        (alarm,) = kit.engine.alarms()
        assert (alarm.code, alarm.severity) == ("RESERVE_SMALL", "warning")
        assert f"{reserve_of(kit)} instead of 16777216 bytes of /data" in alarm.message
        assert "--disk-reserve" in alarm.hint

    def test_where_it_cannot_be_made_that_is_said_and_the_store_serves(self) -> None:
        kit = make_kit(capacity=200_000)
        assert (reserve_of(kit), alarms(kit)) == (0, ["RESERVE_SMALL"])
        assert kit.upsert(["a"]).durable

    def test_it_grows_when_there_is_room(self) -> None:
        kit = make_kit(capacity=200_000)
        kit.fs.capacity = CAPACITY
        kit.engine._checkpoints.tend()
        assert (reserve_of(kit), alarms(kit)) == (RESERVE, [])

    def test_without_one_no_file_is_made(self) -> None:
        kit = make_kit(reserve=0)
        assert not kit.fs.exists(f"{ROOT}/RESERVE")
        assert alarms(kit) == []

    def test_one_that_is_not_wanted_any_more_is_given_up(self, kit: Kit) -> None:
        kit.disk_reserve_bytes = 0
        kit.restart()
        assert not kit.fs.exists(f"{ROOT}/RESERVE")

    def test_who_removes_it_by_hand_gets_a_new_one(self, kit: Kit) -> None:
        kit.engine.stop()
        kit.fs.unlink(f"{ROOT}/RESERVE")
        kit.engine = kit._open()
        assert reserve_of(kit) == RESERVE


class TestAFullDisk:
    def test_writes_are_refused_and_reads_go_on(self, kit: Kit) -> None:
        written = fill(kit)
        assert written > 10
        writes: list[Callable[[], object]] = [
            lambda: kit.upsert(["x"]),
            lambda: kit.create("other"),
            lambda: kit.engine.wal.mark("m", caller=CALLER),
        ]
        for write in writes:
            with pytest.raises(ResourceExhausted) as caught:
                write()
            assert caught.value.reason == "DISK_FULL"
            assert "collection delete" in str(caught.value.hint)
        assert len(kit.values()) == written
        assert kit.engine.failure is None

    def test_it_is_said_with_the_next_command(self, kit: Kit) -> None:
        fill(kit)
        (alarm,) = kit.engine.alarms()
        assert (alarm.code, alarm.severity) == ("DISK_FULL", "critical")
        assert f"{RESERVE // 4} of the {RESERVE} bytes kept for that are left" in alarm.message
        assert "holdfast storage snapshot delete ID" in alarm.hint
        assert (kit.engine.status().state, kit.engine.wal.status().state) == ("full", "full")
        assert reserve_of(kit) == RESERVE // 4

    def test_memory_collections_need_no_disk(self, kit: Kit) -> None:
        kit.engine.collections.create("m", 2, storage=StorageKind.MEMORY, caller=CALLER)
        fill(kit)
        kit.upsert(["a"], name="m")

    @pytest.mark.parametrize(
        "delete",
        [
            lambda kit: kit.delete("p000", "p001"),
            lambda kit: kit.engine.points.truncate("c", caller=CALLER),
            lambda kit: kit.engine.collections.drop("c", caller=CALLER),
            lambda kit: kit.engine.collections.switch_alias("a", "c", caller=CALLER),
            lambda kit: kit.engine.collections.delete_alias("a", caller=CALLER),
            lambda kit: kit.engine.snapshots.delete(kit.ids()[0]),
            lambda kit: kit.engine.wal.enable(WalChanges(retention_us=0), caller=CALLER),
            lambda kit: kit.engine.wal.disable(caller=CALLER),
        ],
    )
    def test_what_frees_space_still_works_with_not_a_byte_left(
        self, kit: SnapshotKit, delete: Callable[[Kit], object]
    ) -> None:
        kit.upsert(["p000", "p001"])
        kit.snapshot()
        kit.engine.collections.create_alias("a", "c", caller=CALLER)
        use_up(kit)
        delete(kit)
        assert kit.engine.failure is None
        kit.reopen()

    @pytest.mark.parametrize(
        "delete",
        [
            lambda kit: kit.engine.points.truncate("c", caller=CALLER),
            lambda kit: kit.engine.collections.drop("c", caller=CALLER),
            lambda kit: kit.engine.snapshots.delete(kit.ids()[0]),
            lambda kit: kit.engine.wal.enable(WalChanges(retention_us=0), caller=CALLER),
            lambda kit: kit.engine.wal.disable(caller=CALLER),
        ],
    )
    def test_what_frees_most_works_even_when_others_have_taken_what_was_given_up(
        self, kit: SnapshotKit, delete: Callable[[Kit], object]
    ) -> None:
        kit.upsert(["p000", "p001"])
        kit.snapshot()
        fill(kit)
        use_up(kit)
        delete(kit)
        assert kit.engine.failure is None
        kit.reopen()

    def test_deletes_do_not_use_up_what_is_kept_for_drops(self, kit: Kit) -> None:
        fill(kit)
        use_up(kit)
        with pytest.raises(ResourceExhausted):
            delete_for_ever(kit)
        use_up(kit)
        assert reserve_of(kit) >= RESERVE // 4
        kit.engine.collections.drop("c", caller=CALLER)
        assert kit.engine.collections.list() == []

    def test_a_checkpoint_goes_as_far_as_it_fits(self, kit: Kit) -> None:
        kit.upsert(["a"], payloads=[noise(1, 5000)])
        use_up(kit)
        kit.engine.checkpoint()
        assert kit.engine.collections.stats("c").segments == 1
        assert kit.engine.status().state == "full"

    def test_a_checkpoint_that_does_not_fit_takes_no_room(self, kit: Kit) -> None:
        fill(kit)
        use_up(kit)
        free = kit.fs.free_bytes("/")
        for _ in range(3):
            assert not kit.engine._checkpoints.tend()
            assert "CHECKPOINT_FAILING" in alarms(kit)
            assert kit.fs.free_bytes("/") == free, "a failed checkpoint left something behind"

    def test_a_stop_in_order_needs_no_other_room(self, kit: Kit) -> None:
        written = fill(kit)
        use_up(kit)
        kit.restart()
        assert len(kit.values()) == written
        assert kit.engine.recovery.cut_bytes == 0

    def test_a_stop_without_a_log_saves_what_is_in_memory(self, kit: Kit) -> None:
        kit.engine.wal.disable(caller=CALLER)
        kit.upsert(["a"], payloads=[noise(1, 5000)])
        use_up(kit)
        kit.restart()
        assert list(kit.values()) == ["a"]

    def test_a_stop_with_memory_collections_saves_the_sequences_that_they_used(self, kit: Kit) -> None:
        kit.engine.collections.create("m", 2, storage=StorageKind.MEMORY, caller=CALLER)
        kit.upsert(["a"], payloads=[noise(1, 5000)])
        kit.upsert(["a"], name="m")
        last = kit.engine.sequence
        use_up(kit)
        kit.restart()
        assert kit.engine.sequence >= last
        assert kit.engine.timeline == 1

    def test_a_drop_without_a_log_is_made_durable(self, kit: Kit) -> None:
        kit.engine.wal.disable(caller=CALLER)
        use_up(kit)
        kit.engine.collections.drop("c", caller=CALLER)
        kit.reopen()
        assert kit.engine.collections.list() == []

    def test_a_start_goes_on_where_the_reserve_was_given_up(self, kit: Kit) -> None:
        written = fill(kit)
        use_up(kit)
        kit.reopen()
        assert kit.engine.status().state == "full"
        with pytest.raises(ResourceExhausted):
            kit.upsert(["x"])
        kit.delete("p000")
        assert len(kit.values()) == written - 1

    def test_a_start_with_not_a_byte_left_gives_up_the_reserve(self, kit: Kit) -> None:
        kit.upsert(["a"])
        use_up(kit)
        kit.reopen()
        assert kit.fs.size(f"{ROOT}/RESERVE") == HEAD_BYTES
        assert (list(kit.values()), kit.engine.status().state) == (["a"], "full")
        kit.delete("a")

    def test_in_one_group_deletes_are_written_and_upserts_refused(self) -> None:
        kit = make_kit(segment_size=4096)
        kit.upsert(["a"])
        collection = kit.engine._applier.catalog.resolve("c").spec.id
        gone = writer.make_submission(DeleteIds(collection, [b"a"], hash_ids([b"a"])), CALLER)
        large = kit.engine.points.prepare_upsert("c", ["b"], rows(1.0), join_payloads([noise(3)]), caller=CALLER)
        use_up(kit)
        kit.engine._committer._commit([gone, large])
        assert gone.ticket.wait().count == 1
        with pytest.raises(ResourceExhausted):
            large.ticket.wait()
        assert kit.values() == {}
        kit.reopen()
        assert kit.values() == {}

    def test_a_change_without_a_log_that_is_not_full_is_not_refused(self, kit: Kit) -> None:
        change = DropCollection(kit.engine._applier.catalog.resolve("c").spec.id)
        kit.engine._room.admit(change)


class TestRoomAgain:
    def test_a_drop_gives_it_and_writing_goes_on(self, kit: Kit) -> None:
        kit.create("keep")
        kit.upsert(["a"], name="keep")
        kit.engine.wal.enable(WalChanges(retention_us=0), caller=CALLER)
        fill(kit)
        kit.engine.collections.drop("c", caller=CALLER)
        kit.clock.advance_us(MINUTE_US)
        assert kit.engine._checkpoints.tend()
        assert (alarms(kit), reserve_of(kit), kit.engine.status().state) == ([], RESERVE, "serving")
        assert kit.upsert(["b"], name="keep").durable

    def test_whoever_writes_finds_out_by_himself(self, kit: Kit) -> None:
        fill(kit)
        kit.fs.capacity = 2 * CAPACITY
        assert kit.upsert(["b"]).durable
        assert (alarms(kit), reserve_of(kit)) == ([], RESERVE)

    def test_too_little_room_changes_nothing(self, kit: Kit) -> None:
        fill(kit)
        kit.fs.leave_free(RESERVE)
        with pytest.raises(ResourceExhausted):
            kit.upsert(["b"])
        assert reserve_of(kit) == RESERVE // 4


class TestTheLogYields:
    def test_history_yields_as_far_as_the_next_checkpoint_needs_room(self, kit: Kit) -> None:
        for number in range(95):
            kit.upsert(["same"], payloads=[noise(number)])
        for _ in range(2):
            kit.upsert(["same"])
            kit.engine.checkpoint()
        written = fill(kit)
        assert kit.engine._checkpoints.tend()
        assert kit.engine.collections.stats("c").segments > 1
        kit.reopen()
        assert len(kit.values()) == written + 1

    def test_history_goes_before_a_write_is_refused_for_long(self, kit: Kit) -> None:
        for number in range(40):
            kit.upsert(["same"], payloads=[noise(number)])
        kit.engine.checkpoint()
        kit.upsert(["same"])
        kit.engine.checkpoint()
        before = kit.engine.wal.status().first_sequence
        fill(kit)
        kit.engine._checkpoints.tend()
        after = kit.engine.wal.status().first_sequence
        assert before == 1 < after
        (alarm,) = [each for each in kit.engine.alarms() if each.code == "WAL_GAVE_WAY"]
        assert "the disk of the log is full: history from 2023-11-14T22:13:20Z (sequence 1) to" in alarm.message
        assert kit.engine.status().state == "serving"
        assert kit.upsert(["b"]).durable

    def test_the_alarm_ends_when_that_history_would_be_gone_anyway(self, kit: Kit) -> None:
        self.test_history_goes_before_a_write_is_refused_for_long(kit)
        kit.clock.advance_us(25 * 60 * MINUTE_US)
        assert "WAL_GAVE_WAY" not in alarms(kit)

    def test_what_is_not_checkpointed_never_yields(self, kit: Kit) -> None:
        written = fill(kit)
        use_up(kit)
        for _ in range(3):
            kit.engine._checkpoints.tend()
        assert kit.engine.wal.status().first_sequence == 1
        kit.reopen()
        assert len(kit.values()) == written

    def test_the_next_wal_segment_takes_room_from_history(self) -> None:
        kit = make_kit(segment_size=1 << 17)
        for number in range(40):
            kit.upsert(["same"], payloads=[noise(number)])
        for _ in range(2):
            kit.upsert(["same"])
            kit.engine.checkpoint()
        kit.fs.leave_free(50_000)
        kit.engine._syncer._tend([])
        assert kit.engine.wal.status().first_sequence > 1
        kit.engine._syncer._tend([])
        assert any(name.endswith(".next") for name in kit.fs.listdir(f"{ROOT}/wal"))
        assert kit.engine.status().state == "serving"

    def test_on_a_full_disk_no_wal_segment_is_made_ahead(self, kit: Kit) -> None:
        fill(kit)
        kit.fs.leave_free(1 << 17)
        kit.engine._syncer._tend([])
        assert not any(name.endswith(".next") for name in kit.fs.listdir(f"{ROOT}/wal"))

    def test_where_a_whole_wal_segment_does_not_fit_a_small_one_does(self) -> None:
        kit = make_kit(segment_size=1 << 19, capacity=1 << 21)
        kit.fs.leave_free(200_000)
        written = fill(kit)
        first, second, *_ = kit.engine.wal.status().files
        assert first.size_bytes > 200_000 > second.size_bytes
        kit.reopen()
        assert len(kit.values()) == written


def test_a_caller_is_told_when_to_try_again(kit: Kit) -> None:
    fill(kit)
    with pytest.raises(ResourceExhausted) as caught:
        kit.upsert(["x"], caller=Caller())
    assert caught.value.metadata["retry_after_ms"] == "5000"
