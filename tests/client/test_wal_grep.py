"""``storage wal grep``: what it asks the daemon for, what it shows, and the command that it ends with."""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable

import grpc
import pytest

import holdfast
from holdfast.v1 import wal_pb2
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon

Kind = wal_pb2.WalRecord
COLLECTION_ID = "0b5c8a5e-0000-4000-8000-000000000001"


def record(sequence: int, kind: wal_pb2.WalRecord.Kind.ValueType, **more: object) -> wal_pb2.WalRecord:
    described = {
        "collection": "products", "collection_id": COLLECTION_ID, "actor": "unix", "count": 2,
        "first_ids": ["a", "b"], "request_id": f"r{sequence}",
    } | more  # fmt: skip
    return wal_pb2.WalRecord(sequence=sequence, kind=kind, **described)  # type: ignore[arg-type]


@pytest.fixture
def grep(cli: Callable[..., Outcome], daemon: FakeDaemon) -> Callable[..., Outcome]:
    """Over a log that upserts at 2 and 4, deletes at 5, and drops at 6 what has no name any more."""
    daemon.records[:] = [
        record(1, Kind.KIND_CREATE_COLLECTION),
        record(2, Kind.KIND_UPSERT),
        record(3, Kind.KIND_MARK, collection="", collection_id="", first_ids=[]),
        record(4, Kind.KIND_UPSERT, first_ids=["line\nbreak"]),
        record(5, Kind.KIND_DELETE),
        record(6, Kind.KIND_DROP_COLLECTION, collection=COLLECTION_ID),
    ]
    return lambda *line: cli("storage", "wal", "grep", *line)


def replay(sequence: int) -> str:
    return f"holdfast storage wal replay --collection products --before {sequence} --into products-before"


def test_one_operation_and_what_to_type_next(grep: Callable[..., Outcome]) -> None:
    outcome = grep("--op", "delete")
    assert outcome.code == 0
    assert outcome.json == {
        "sequence": 5, "time": None, "actor": "unix", "op": "delete", "collection": "products", "count": 2,
        "first_ids": ["a", "b"], "request_id": "r5", "detail": None,
    }  # fmt: skip
    assert outcome.err == f"hint: products as it was before sequence 5: {replay(5)}\n"


def test_of_several_the_first_and_for_a_point_the_last(grep: Callable[..., Outcome]) -> None:
    several = grep("--op", "upsert", "--op", "delete")
    assert [json.loads(line)["sequence"] for line in several.out.splitlines()] == [2, 4, 5]
    assert several.err == f"hint: products as it was before the first of them, sequence 2: {replay(2)}\n"
    assert grep("--id", "a,x").err == f"hint: products as it was before the last of them, sequence 5: {replay(5)}\n"


@pytest.mark.parametrize(
    "line", ["--op mark", "--op drop_collection", "--op create_collection", "--op upsert --path /x"]
)
def test_no_command_is_made_up(grep: Callable[..., Outcome], line: str) -> None:
    outcome = grep(*line.split())
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out


@pytest.mark.parametrize("output_format", ["json", "table", "csv", "yaml"])
def test_nothing_that_matches_is_not_found(grep: Callable[..., Outcome], output_format: str) -> None:
    outcome = grep("--id", "nobody", "--format", output_format)
    assert (outcome.code, outcome.out, outcome.err) == (4, "", "nothing in this part of the log matches\n")


@pytest.mark.parametrize("command", ["grep --op upsert", "dump --kind upsert"])
@pytest.mark.parametrize(("output_format", "headings"), [("json", 0), ("table", 1), ("csv", 1)])
def test_an_id_with_a_line_break_does_not_break_the_line(
    cli: Callable[..., Outcome], grep: Callable[..., Outcome], command: str, output_format: str, headings: int
) -> None:
    shown = cli("storage", "wal", *command.split(), "--format", output_format).out
    assert len(shown.splitlines()) == 2 + headings


def test_what_may_be_missing_is_said(grep: Callable[..., Outcome], daemon: FakeDaemon, db: holdfast.Client) -> None:
    daemon.log_warnings[:] = ["the log was disabled between sequence 4 and 9"]
    told = "warning: the log was disabled between sequence 4 and 9\n"
    assert grep("--op", "mark").err == told
    assert grep("--id", "nobody").err == f"{told}nothing in this part of the log matches\n"
    warnings: list[str] = []
    assert len(list(db.wal.dump(on_warning=warnings.append))) == len(daemon.records)
    assert warnings == daemon.log_warnings
    assert len(list(db.wal.dump())) == len(daemon.records)


@pytest.mark.parametrize("command", ["dump", "tail"])
def test_only_kinds_that_there_are_can_be_asked_for(
    cli: Callable[..., Outcome], daemon: FakeDaemon, command: str
) -> None:
    taken = {
        kind: cli("storage", "wal", command, "--kind", kind).code for kind in ("mark", "marker", "closed", "settings")
    }
    bare = 0 if command == "dump" else 2
    assert taken == {"mark": 0, "marker": bare, "closed": bare, "settings": 2}


class TestTail:
    @pytest.fixture(autouse=True)
    def five(self, daemon: FakeDaemon) -> None:
        daemon.records[:] = [record(sequence, Kind.KIND_UPSERT) for sequence in (1, 3, 4, 5, 9)]
        daemon.sequence = 2

    def seen(self, db: holdfast.Client, **more: object) -> list[int]:
        return [each.sequence for each in db.wal.tail(**more)]  # type: ignore[arg-type]

    @pytest.mark.parametrize(("start", "expected"), [(None, [3, 4, 5, 9]), (1, [1, 3, 4, 5, 9]), (4, [4, 5, 9])])
    @pytest.mark.parametrize("cuts", [1, 2, 3])
    def test_a_daemon_that_goes_away_is_asked_again_from_there(
        self, daemon: FakeDaemon, db: holdfast.Client, start: int | None, expected: list[int], cuts: int
    ) -> None:
        for _ in range(cuts):
            daemon.fail_next("TailWalMidway", grpc.StatusCode.UNAVAILABLE, "the daemon is stopping", "STOPPING")
        assert self.seen(db, start=start) == expected

    def test_what_comes_while_it_is_away_is_not_missed(self, daemon: FakeDaemon, db: holdfast.Client) -> None:
        daemon.sequence = 9
        daemon.fail_next("TailWalMidway", grpc.StatusCode.UNAVAILABLE, "the daemon is stopping", "STOPPING")
        assert self.seen(db) == []
        assert daemon.requests["TailWal"][-1].start.sequence == 10

    def test_a_start_that_is_yet_to_come_stays(self, daemon: FakeDaemon, db: holdfast.Client) -> None:
        daemon.fail_next("TailWalMidway", grpc.StatusCode.UNAVAILABLE, "the daemon is stopping", "STOPPING")
        assert self.seen(db, start=20) == []
        assert [each.start.sequence for each in daemon.requests["TailWal"]] == [20, 20]

    def test_what_is_missing_is_said(
        self, daemon: FakeDaemon, db: holdfast.Client, cli: Callable[..., Outcome]
    ) -> None:
        daemon.log_warnings[:] = ["the log was disabled"]
        said: list[str] = []
        assert self.seen(db, start=1, on_warning=said.append) == [1, 3, 4, 5, 9]
        assert said == ["the log was disabled"]
        assert self.seen(db, start=1) == [1, 3, 4, 5, 9]
        assert "warning: the log was disabled\n" in cli("storage", "wal", "tail", "--from", "1").err

    def test_what_is_no_absence_ends_it(self, daemon: FakeDaemon, db: holdfast.Client) -> None:
        daemon.fail_next("TailWalMidway", grpc.StatusCode.OUT_OF_RANGE, "no longer in the log", "LOG_TRIMMED")
        with pytest.raises(holdfast.OutOfRange, match="no longer in the log"):
            self.seen(db)


def test_a_stream_of_changes_with_all_that_another_program_needs(
    cli: Callable[..., Outcome], daemon: FakeDaemon, db: holdfast.Client
) -> None:
    written, deleted = record(3, Kind.KIND_UPSERT), record(4, Kind.KIND_DELETE)
    written.points.ids[:] = ["a", "b"]
    written.points.vectors.data, written.points.vectors.dimensions = array("f", [0.1, 1, 2, 3]).tobytes(), 2
    written.points.payloads = b'[{"n": 1}, null]'
    deleted.points.ids.append("a")
    daemon.records[:] = [written, deleted, record(5, Kind.KIND_TRUNCATE)]
    for command in (("dump",), ("tail", "--follow", "--from", "1")):
        shown = [json.loads(line) for line in cli("storage", "wal", *command, "--points").out.splitlines()]
        assert [each["points"] for each in shown] == [
            [
                {"id": "a", "vector": [0.1, 1.0], "payload": {"n": 1}},
                {"id": "b", "vector": [2.0, 3.0], "payload": None},
            ],
            [{"id": "a"}],
            None,
        ]
    assert daemon.requests["TailWal"][-1].include_points
    assert "points" not in next(db.wal.dump())
    written.ClearField("points")
    with pytest.raises(holdfast.Unimplemented, match="older than this client"):
        next(db.wal.tail(start=1, points=True))


def test_what_it_asks_for(grep: Callable[..., Outcome], daemon: FakeDaemon, db: holdfast.Client) -> None:
    grep(
        "--collection", "old", "--op", "upsert", "--op", "drop_collection", "--id", "a,b", "--id", '["c,d"]', "--actor",
        "ann", "--request-id", "r2", "--request-id", "r4", "--since", "2", "--before", "9", "--limit", "1",
    )  # fmt: skip
    asked = daemon.requests["DumpWal"][-1]
    assert (asked.collection, list(asked.kinds)) == ("old", [Kind.KIND_UPSERT, Kind.KIND_DROP_COLLECTION])
    assert (list(asked.ids), list(asked.actors)) == (["a", "b", "c,d"], ["ann"])
    assert list(asked.request_ids) == ["r2", "r4"]
    assert (asked.start.sequence, asked.before.sequence, asked.limit, asked.stats) == (2, 9, 1, False)


def test_one_word_is_not_its_letters(grep: Callable[..., Outcome], daemon: FakeDaemon, db: holdfast.Client) -> None:
    assert list(db.wal.dump(ids="ab", actors="ann", request_ids="r2")) == []
    asked = daemon.requests["DumpWal"][-1]
    assert (list(asked.ids), list(asked.actors), list(asked.request_ids)) == (["ab"], ["ann"], ["r2"])


def test_counts(cli: Callable[..., Outcome], grep: Callable[..., Outcome]) -> None:
    counted = cli("storage", "wal", "dump", "--stats", "--kind", "upsert").json
    assert (counted["operations"], counted["size_bytes"]) == (2, 2048)
    assert [each["kind"] for each in counted["by_collection"]] == ["upsert", "upsert"]
    table = cli("storage", "wal", "dump", "--stats", "--format", "table").out
    assert [line.split()[0] for line in table.splitlines() if not line.startswith(" ")][-2:] == [
        "by_collection",
        "by_actor",
    ]


def test_what_a_replay_is_to_be_without(cli: Callable[..., Outcome], daemon: FakeDaemon, db: holdfast.Client) -> None:
    line = ["storage", "wal", "replay", "--collection", "c", "--into", "n", "--skip", "4", "--skip", "7-9"]
    assert cli(*line, "--skip-request-id", "bad").code == 0
    asked = daemon.requests["ReplayWal"][-1]
    assert [(each.first, each.last) for each in asked.skip] == [(4, 4), (7, 9)]
    assert list(asked.skip_request_ids) == ["bad"]
    db.wal.replay(collection="c", into="n", skip=[4, (7, 9)], skip_request_ids=["bad"])
    again = daemon.requests["ReplayWal"][-1]
    assert (list(again.skip), again.skip_request_ids) == (list(asked.skip), asked.skip_request_ids)
    with pytest.raises(holdfast.InvalidArgument, match="skip is 0, and must be at least 1"):
        db.wal.replay(collection="c", into="n", skip=[0])


def test_a_replay_into_says_with_which_snapshot_it_began(cli: Callable[..., Outcome]) -> None:
    line = ["storage", "wal", "replay", "--collection", "c", "--into"]
    assert cli(*line, "copy").json["snapshot_id"] == "snap-2024-01-20-103045"
    assert cli(*line, "from-the-log-alone").json["snapshot_id"] is None
    assert "snapshot_id" not in cli("storage", "wal", "replay").json, "that of the contract"
