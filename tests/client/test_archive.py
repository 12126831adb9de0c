"""``storage archive …`` and ``db.archive``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import holdfast
from holdfast.v1 import wal_pb2
from tests.client.conftest import Outcome
from tests.support.fake_server import FakeDaemon
from tests.support.fake_state import START_SECONDS


def archived(state: wal_pb2.ArchiveStatus.State.ValueType) -> wal_pb2.ArchiveStatus:
    status = wal_pb2.ArchiveStatus(
        path="s3://bucket/wal", state=state, through_sequence=41, waiting_segments=2, waiting_bytes=4096,
        segment_count=7, size_bytes=1 << 20,
    )  # fmt: skip
    status.through_time.seconds = START_SECONDS
    status.lag.seconds, status.lag.nanos = 12, 345_000_000
    status.interval.seconds = 60
    status.looked_over_time.seconds = START_SECONDS
    status.window.first_sequence, status.window.last_sequence = 3, 41
    status.window.first_time.seconds = status.window.last_time.seconds = START_SECONDS
    status.window.reason = "the archive was pruned"
    gap = status.gaps.add(
        kind=wal_pb2.ArchiveStatus.Gap.KIND_GIVEN_UP, first_sequence=12, last_sequence=20, reason="given up"
    )
    gap.first_time.seconds = gap.last_time.seconds = START_SECONDS
    return status


def test_without_an_archive_there_is_little_to_show(cli: Callable[..., Outcome]) -> None:
    outcome = cli("storage", "archive", "status")
    assert outcome.code == 0
    assert outcome.json == {
        "path": None,
        "state": "off",
        "archived_through": None,
        "lag_seconds": 0,
        "waiting_segments": 0,
        "waiting_bytes": 0,
        "interval": None,
        "segments": None,
        "size_bytes": None,
        "looked_over": None,
        "window": None,
        "gaps": [],
        "unread_segments": 0,
        "last_error": None,
    }


def test_everything_known_of_it_is_shown(daemon: FakeDaemon, cli: Callable[..., Outcome]) -> None:
    daemon.archive = archived(wal_pb2.ArchiveStatus.STATE_ARCHIVING)
    outcome = cli("storage", "archive", "status")
    time = "2024-01-20T10:30:45Z"
    assert outcome.code == 0
    assert outcome.json == {
        "path": "s3://bucket/wal",
        "state": "archiving",
        "archived_through": {"sequence": 41, "time": time},
        "lag_seconds": 12.345,
        "waiting_segments": 2,
        "waiting_bytes": 4096,
        "interval": "1m",
        "segments": 7,
        "size_bytes": 1048576,
        "looked_over": time,
        "window": {
            "from": {"sequence": 3, "time": time},
            "to": {"sequence": 41, "time": time},
            "reason": "the archive was pruned",
        },
        "gaps": [
            {
                "kind": "given_up",
                "first_sequence": 12,
                "last_sequence": 20,
                "first_time": time,
                "last_time": time,
                "reason": "given up",
            }
        ],
        "unread_segments": 0,
        "last_error": None,
    }


@pytest.mark.parametrize("word", ["behind", "failing", "foreign"])
def test_an_unhealthy_archive_is_an_unhealthy_result(
    daemon: FakeDaemon, cli: Callable[..., Outcome], word: str
) -> None:
    status = archived(wal_pb2.ArchiveStatus.State.Value(f"STATE_{word.upper()}"))
    status.error.code, status.error.message = 14, "the store does not answer"
    status.error_time.seconds = START_SECONDS
    daemon.archive = status
    outcome = cli("storage", "archive", "status")
    assert (outcome.code, outcome.json["state"]) == (1, word)
    assert outcome.json["last_error"]["message"] == "the store does not answer"
    assert outcome.json["last_error"]["time"] == "2024-01-20T10:30:45Z"


def test_a_flush_waits_for_its_end(cli: Callable[..., Outcome], db: holdfast.Client) -> None:
    assert cli("storage", "archive", "flush").json == {
        "through_sequence": 9,
        "through_time": "2024-01-20T10:30:45Z",
        "bytes": 4096,
        "duration_ms": 12,
        "status": "completed",
    }
    assert cli("storage", "archive", "flush", "--no-wait").json["kind"] == "flush_archive"
    assert db.archive.flush().through_sequence == 9
    assert db.archive.status().state == "off"
