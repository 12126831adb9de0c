"""What each command sends and shows, over a daemon of dicts; tests/e2e/test_spec.py asks a real one for the values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import holdfast
from holdfast.v1 import common_pb2, storage_pb2
from tests.client.conftest import Outcome
from tests.support import spec
from tests.support.fake_server import FakeDaemon

DOCUMENTS = spec.documents()

ANSWERS = [
    ("storage snapshot create products --path /backups/snapshots --compress", "snapshot create"),
    ("storage snapshot restore latest --overwrite --verify", "snapshot restore"),
    ("storage snapshot list", "snapshot list"),
    ("storage wal enable --path /data/wal --sync-mode fsync", "wal enable"),
    ("storage wal replay --verify", "wal replay"),
    ("storage mmap --enable --advise sequential", "mmap"),
    ("storage compact products --threshold 30", "compact"),
    ("collection create c -d 3", "collection create"),
    ("collection delete products --confirm", "collection delete"),
    ("collection list", "collection list"),
    ("collection info products", "collection info"),
    ("collection stats products", "collection stats"),
    ("collection alias create live -c products", "alias create"),
    ("collection alias switch old -c products", "alias switch"),
    ("collection alias delete old", "alias delete"),
    ("collection alias list", "alias list"),
    ("vector insert products -v [1,2] --id x", "vector insert"),
    ("vector get products --id a", "vector get"),
    ("vector get products --id a,b --no-include-vector", "vector get, several"),
    ("vector update products --id a --vector [2,2]", "vector update"),
    ("vector delete products --id a,b", "vector delete"),
    ("vector search products -q [1,0] --k 1", "vector search"),
    ("vector scroll products --limit 1", "vector scroll"),
    ("vector count products", "vector count"),
]


@pytest.fixture
def store(db: holdfast.Client, products: holdfast.Collection) -> None:
    db.collections.aliases.create("old", "products")
    db.snapshots.create("products")


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(("line", "document"), ANSWERS, ids=[line for line, _ in ANSWERS])
def test_an_answer_has_the_keys_and_types_of_the_specification(
    cli: Callable[..., Outcome], line: str, document: str
) -> None:
    outcome = cli(*line.split())
    assert outcome.code == 0, outcome.err
    assert spec.shape(outcome.json) == spec.shape(DOCUMENTS[document])


@pytest.mark.usefixtures("store")
def test_several_vectors_are_a_list(cli: Callable[..., Outcome]) -> None:
    answer = cli("vector", "get", "products", "--id", "c,missing,a", "--no-include-vector").json
    assert [row["id"] for row in answer["vectors"]] == ["c", "a"]
    assert "vector" not in answer["vectors"][0]
    assert cli("vector", "get", "products", "--id", "missing").code == 4


@pytest.mark.usefixtures("store")
def test_an_id_with_a_comma_is_written_read_and_deleted(cli: Callable[..., Outcome]) -> None:
    for name in ("a,b", "[x]"):
        assert cli("vector", "insert", "products", "-v", "[1,2]", "--id", name).json["id"] == name
    assert cli("vector", "get", "products", "--id", '["a,b"]').json["id"] == "a,b"
    rows = cli("vector", "get", "products", "--id", "b,a", "--id", '["a,b", "[x]"]', "--id", "c").json["vectors"]
    assert [row["id"] for row in rows] == ["b", "a", "a,b", "[x]", "c"]
    assert cli("vector", "delete", "products", "--id", '["a,b"]', "--id", "c").json["deleted"] == 2
    assert cli("vector", "count", "products").json["count"] == 3


@pytest.mark.usefixtures("store")
def test_a_failed_search_and_a_missing_thing_exit_by_their_status(cli: Callable[..., Outcome]) -> None:
    assert cli("collection", "create", "products", "-d", "2").code == 5
    assert cli("vector", "search", "products", "-q", "[1,2,3]").code == 2
    assert cli("storage", "snapshot", "restore", "nope").code == 4


@pytest.mark.usefixtures("store")
def test_an_increment_says_what_it_builds_on_besides(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    full = cli("storage", "snapshot", "show", "latest").json
    line = ["storage", "snapshot", "create", "products", "--incremental", "--compress"]
    made = cli(*line).json
    assert list(made) == [*DOCUMENTS["snapshot create"], "base_id", "base_sequence", "deleted"]
    assert (made["type"], made["base_id"], made["base_sequence"], made["deleted"]) == (
        "incremental",
        full["id"],
        full["sequence"],
        2,
    )
    assert cli(*line, "--base", full["id"]).json["base_id"] == full["id"]
    assert [sent.base_id for sent in daemon.requests["CreateSnapshot"][-2:]] == ["", full["id"]]


@pytest.mark.usefixtures("store")
def test_a_table_of_snapshots_shows_what_builds_on_what(cli: Callable[..., Outcome]) -> None:
    base = cli("storage", "snapshot", "show", "latest").json["id"]
    made = cli("storage", "snapshot", "create", "--incremental").json["snapshot_id"]
    heading, _, newest, oldest, _ = cli("storage", "snapshot", "list", "--format", "table").out.splitlines()
    assert heading.split()[:3] == ["ID", "TYPE", "BASE_ID"]
    assert newest.split()[:3] == [made, "incremental", base]
    assert oldest.split()[:3] == [base, "full", "-"]
    assert "base_id" not in cli("storage", "snapshot", "list").json["snapshots"][0]


@pytest.mark.usefixtures("store")
def test_a_base_goes_once_what_builds_on_it_stands_alone(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    base = cli("storage", "snapshot", "show", "latest").json["id"]
    made = cli("storage", "snapshot", "create", "--incremental").json["snapshot_id"]
    line = ["storage", "snapshot", "delete", base, "--consolidate"]
    planned = cli(*line, "--dry-run").json
    assert planned["status"] == "validated"
    done = cli(*line).json
    sizes = ["written_bytes", "working_bytes", "freed_bytes"]
    assert list(done) == ["snapshot_id", "path", "rewritten", *sizes, "duration_ms", "status"]
    assert done["status"] == "completed"
    assert [each["snapshot_id"] for each in done["rewritten"]] == [made]
    assert [sent.validate_only for sent in daemon.requests["ConsolidateSnapshot"]] == [True, False]
    assert cli("storage", "snapshot", "list").json["total"] == 1
    started = cli("storage", "snapshot", "delete", made, "--consolidate", "--no-wait").json
    assert started["kind"] == "consolidate_snapshot"
    refused = cli("storage", "snapshot", "delete", made, "--no-wait")
    assert (refused.code, "--no-wait needs --consolidate" in refused.err) == (2, True)


@pytest.mark.usefixtures("store")
def test_a_chain_is_shown_base_first_and_the_snapshot_last(cli: Callable[..., Outcome]) -> None:
    base = cli("storage", "snapshot", "show", "latest").json
    assert [link["id"] for link in base["chain"]] == [base["id"]]
    made = cli("storage", "snapshot", "create", "--incremental").json["snapshot_id"]
    shown = cli("storage", "snapshot", "show", made).json
    assert [(link["id"], link["type"], link["base_sequence"]) for link in shown["chain"]] == [
        (base["id"], "full", 0),
        (made, "incremental", base["sequence"]),
    ]
    assert (shown["first_time"], shown["last_time"]) == (base["created_at"], shown["created_at"])
    assert (shown["verified_at"], shown["damage"], shown["freeable_bytes"]) == (None, None, 52428800)
    table = cli("storage", "snapshot", "show", made, "--format", "table").out
    assert f"  {base['id']}  full         ready" in table


def test_where_else_to_look_for_a_chain_is_sent(
    cli: Callable[..., Outcome], daemon: FakeDaemon, store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cli("storage", "snapshot", "restore", "latest", "--base-path", "./usb")
    cli("storage", "snapshot", "verify", "latest", "--base-path", "/usb", "--skip-chain")
    (restore,), (verify,) = daemon.requests["RestoreSnapshot"], daemon.requests["VerifySnapshot"]
    assert (restore.base_path, restore.working_directory) == ("./usb", str(tmp_path))
    assert (verify.base_path, verify.working_directory, verify.skip_chain) == ("/usb", "", True)


@pytest.mark.usefixtures("store")
def test_float32_is_shown_with_as_many_digits_as_it_has(cli: Callable[..., Outcome]) -> None:
    cli("vector", "insert", "products", "-v", "[0.1, 16777217]", "--id", "x")
    assert cli("vector", "get", "products", "--id", "x").json["vector"] == [0.1, 16777216.0]


def test_sizes_of_wal_segments_are_binary_and_others_are_not(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    assert cli("storage", "wal", "enable", "--segment-size", "64MB").json["segment_size_bytes"] == 67108864
    assert (
        cli("storage", "wal", "enable", "--segment-size", "134217728", "--retention", "48h").json["retention"] == "48h"
    )
    assert daemon.requests["EnableWal"][1].retention.seconds == 172800
    cli("collection", "create", "h", "-d", "2", "--storage", "hybrid", "--hot-tier-size", "10GB")
    assert daemon.requests["CreateCollection"][0].hot_tier_size_bytes == 10**10
    cli("storage", "wal", "enable", "--sync-mode", "periodic", "--flush-interval", "5s")
    assert daemon.requests["EnableWal"][2].flush_interval.seconds == 5


def test_resolved_times_are_echoed_on_stderr(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    outcome = cli("storage", "wal", "replay", "--from", "2024-01-20T10:00:00Z", "--to", "yesterday 10:32")
    sent = daemon.requests["ReplayWal"][0]
    assert sent.start.time.ToJsonString() == "2024-01-20T10:00:00Z"
    assert outcome.err == f"--to: 'yesterday 10:32' is {sent.to.time.ToJsonString()}\n"


def test_restore_takes_a_sequence_or_a_mark(cli: Callable[..., Outcome], daemon: FakeDaemon, store: None) -> None:
    cli("storage", "snapshot", "restore", "latest", "--to", "17")
    cli("storage", "snapshot", "restore", "latest", "--before", "before-import")
    first, second = daemon.requests["RestoreSnapshot"]
    assert first.to.sequence == 17
    assert second.before.mark == "before-import"


def test_verbose_shows_all_that_is_known(cli: Callable[..., Outcome], store: None) -> None:
    assert "sequence" in cli("storage", "snapshot", "create", "-v").json
    assert "digest" in cli("collection", "list", "--detailed").json["collections"][0]
    assert "sequence" in cli("storage", "snapshot", "list", "--verbose").json["snapshots"][0]


@pytest.mark.usefixtures("store")
def test_the_state_of_a_snapshot_is_listed(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    cli("storage", "snapshot", "create")
    assert cli("storage", "snapshot", "list").json["snapshots"][0]["state"] == "ready"
    daemon.snapshots[max(daemon.snapshots)].state = common_pb2.Snapshot.STATE_DAMAGED
    assert cli("storage", "snapshot", "list").json["snapshots"][0]["state"] == "damaged"
    table = cli("storage", "snapshot", "list", "--format", "table").out
    assert "state" in table.splitlines()[0].lower()
    assert "damaged" in table


def test_progress_goes_to_stderr_and_the_result_to_stdout(cli: Callable[..., Outcome], store: None) -> None:
    outcome = cli("storage", "snapshot", "create", "-v")
    assert outcome.json["status"] == "completed"
    assert "op-2: writing  25 %  100 B/400 B" in outcome.err
    assert cli("storage", "snapshot", "create").err == ""


def test_no_wait_names_the_operation(cli: Callable[..., Outcome], store: None) -> None:
    outcome = cli("storage", "compact", "--no-wait")
    assert outcome.json["operation_id"] == "op-2"
    assert "holdfast operation watch op-2" in outcome.err
    assert cli("operation", "watch", "op-2").json["status"] == "completed"
    assert cli("operation", "show", "op-2").json["state"] == "succeeded"
    assert [row["id"] for row in cli("operation", "list").json["operations"]] == ["op-2", "op-1"]


def test_a_cancelled_operation_exits_with_14(cli: Callable[..., Outcome], store: None) -> None:
    cli("storage", "compact", "--no-wait")
    assert cli("operation", "cancel", "op-2").json["status"] == "cancelling"
    outcome = cli("operation", "watch", "op-2")
    assert (outcome.code, outcome.err) == (14, "error: cancelled by its owner\n")


def test_damage_exits_with_13_and_is_shown(cli: Callable[..., Outcome], daemon: FakeDaemon, store: None) -> None:
    daemon.snapshots[max(daemon.snapshots)].state = common_pb2.Snapshot.STATE_DAMAGED
    outcome = cli("storage", "snapshot", "verify", "latest")
    assert outcome.code == 13
    assert outcome.json["problems"][0]["offset"] == 512
    assert outcome.err == "error: checksum\nerror: checksum\nhint: take another copy\nerror: and 1 more\n"
    assert outcome.json["reached"] is None
    assert cli("storage", "wal", "verify").json["valid"] is True


def test_a_verification_is_asked_for_by_level_and_subset(
    cli: Callable[..., Outcome], daemon: FakeDaemon, store: None
) -> None:
    line = ["storage", "snapshot", "verify", "latest"]
    plain = cli(*line).json
    keys = ["valid", "level", "reached", "snapshot_id", "chain", "vectors", "rows_checked", "path", "files"]
    assert list(plain) == [
        *keys, "size_bytes", "bytes_read", "bytes_per_second", "receipt_kept", "problem_count", "problems",
        "duration_ms", "status",
    ]  # fmt: skip
    assert list(cli(*line, "--subset", "1/7", "--level", "3").json)[2:6] == ["reached", "subset", "seed", "snapshot_id"]
    assert cli(*line, "--subset", "10%", "--seed", "9").json["seed"] == 9
    assert cli(*line, "--level", "4").json["digests"][0]["equal"] is True
    sent = [
        (each.level if each.HasField("level") else None, each.subset, each.subset_seed, each.skip_chain)
        for each in daemon.requests["VerifySnapshot"]
    ]
    assert sent == [(None, "", 0, False), (3, "1/7", 0, False), (None, "10%", 9, False), (4, "", 0, False)]
    assert cli(*line, "--chain").json["valid"]
    refused = cli(*line, "--subset", "1/7", "--seed", "9")
    assert (refused.code, "--seed needs --subset P%" in refused.err) == (2, True)
    assert cli(*line, "--level", "5").code == 2


def test_a_list_tells_how_far_and_when_each_was_verified(
    cli: Callable[..., Outcome], daemon: FakeDaemon, store: None
) -> None:
    snapshot = daemon.snapshots[max(daemon.snapshots)]
    line = ["storage", "snapshot", "list"]
    assert cli(*line).json["snapshots"][0]["verified"] == "never"
    snapshot.verified.level = 3
    snapshot.verified.time.GetCurrentTime()
    assert cli(*line).json["snapshots"][0]["verified"] == "L3"
    assert re.search(r"  L3 \d+s ago", cli(*line, "--format", "table").out)
    snapshot.verified.time.seconds -= 9 * 86_400
    assert "L3 9d ago" in cli(*line, "--format", "table").out
    receipt = snapshot.receipts.add(level=3, subset="1/7", valid=True, source="verify", host="here", sha256="ab")
    receipt.time.GetCurrentTime()
    shown = cli("storage", "snapshot", "show", "latest").json
    assert [(each["level"], each["subset"], each["host"]) for each in shown["receipts"]] == [(3, "1/7", "here")]
    assert shown["chain"][0]["verified"] == "L3"
    snapshot.damage = "a byte"
    assert cli(*line).json["snapshots"][0]["verified"] == "damaged"
    assert "damaged" in cli(*line, "--format", "table").out


def test_warnings_are_said_on_stderr_and_kept_out_of_the_result(cli: Callable[..., Outcome]) -> None:
    outcome = cli("storage", "wal", "disable", "--confirm")
    assert outcome.err == "warning: from now on a write is durable only with the next checkpoint\n"
    assert "warnings" not in outcome.json


def test_dry_runs_change_nothing(cli: Callable[..., Outcome], store: None) -> None:
    assert cli("storage", "snapshot", "create", "--dry-run").json["status"] == "validated"
    assert cli("storage", "snapshot", "prune", "--keep-last", "1", "--dry-run").json["kept"] == 1
    assert cli("storage", "snapshot", "delete", "latest", "--dry-run").json["status"] == "validated"
    assert cli("storage", "snapshot", "list").json["total"] == 1
    assert cli("vector", "delete", "products", "--all", "--dry-run").json == {"deleted": 3, "status": "validated"}
    inserted = cli("vector", "insert", "products", "--id", "new", "-v", "[1,2,3]", "--dry-run").json
    assert (inserted["id"], inserted["status"], inserted["sequence"]) == ("new", "validated", 0)
    assert cli("vector", "get", "products", "--id", "new").code == 4
    assert cli("vector", "count", "products").json["count"] == 3


def test_info_shows_a_schema_and_what_is_wrong_with_it(cli: Callable[..., Outcome], daemon: FakeDaemon) -> None:
    schema = '{"price": "number"}'
    cli("collection", "create", "plain", "-d", "2")
    cli("collection", "create", "typed", "-d", "2", "--schema", schema)
    assert not {"schema", "schema_problem"} & cli("collection", "info", "plain").json.keys()
    assert cli("collection", "info", "typed").json["schema"] == schema
    daemon.collections["typed"].message.schema_problem = "payloads are not checked: why"
    assert cli("collection", "info", "typed").json["schema_problem"] == "payloads are not checked: why"


def test_dry_runs_leave_collections_and_aliases_as_they_are(cli: Callable[..., Outcome], store: None) -> None:
    cli("collection", "alias", "create", "live", "-c", "products")
    before = cli("collection", "list").json, cli("collection", "alias", "list").json
    made = cli("collection", "create", "other", "-d", "3", "--dry-run").json
    assert (made["name"], made["status"]) == ("other", "validated")
    switched = cli("collection", "alias", "switch", "live", "-c", "products", "--dry-run").json
    assert (switched["old_collection"], switched["status"]) == ("products", "validated")
    assert cli("collection", "alias", "delete", "live", "--dry-run").json["status"] == "validated"
    dropped = cli("collection", "delete", "products", "--dry-run").json
    assert dropped == {"name": "products", "vectors_deleted": 3, "status": "validated"}
    assert (cli("collection", "list").json, cli("collection", "alias", "list").json) == before


@pytest.mark.parametrize("line", ["collection delete products", "vector delete products --all", "storage wal disable"])
def test_what_destroys_needs_a_yes_where_nobody_can_be_asked(
    cli: Callable[..., Outcome], store: None, line: str
) -> None:
    outcome = cli(*line.split(), stdin="")
    assert outcome.code == 2
    assert "--confirm" in outcome.err
    assert cli("vector", "count", "products").json["count"] == 3


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 2, 1), ("", 2, 1)])
def test_on_a_terminal_the_question_has_the_count(
    cli: Callable[..., Outcome], store: None, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    monkeypatch.setattr("holdfast.cli.state.State.can_ask", lambda self: True)
    outcome = cli("collection", "delete", "products", stdin=answer)
    assert outcome.err.startswith("Delete collection 'products' with 3 vectors? [y/N] ")
    assert outcome.code == code
    assert cli("collection", "list").json["total"] == left


def test_records_of_the_log_are_one_a_line(cli: Callable[..., Outcome], store: None) -> None:
    lines = cli("storage", "wal", "dump").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["create_collection", "upsert"]
    assert (
        cli("storage", "wal", "tail", "--from", "1", "--format", "csv")
        .out.splitlines()[0]
        .startswith("sequence,time,kind")
    )
    table = cli("storage", "wal", "dump", "--limit", "1", "--format", "table").out.splitlines()
    assert table[0].split()[:3] == ["SEQUENCE", "TIME", "KIND"]
    assert cli("storage", "wal", "mark", "here").json["sequence"] == 4


def test_a_comparison_is_shown_by_collection(cli: Callable[..., Outcome], daemon: FakeDaemon, store: None) -> None:
    line = ["storage", "snapshot", "diff", "latest"]
    found = cli(*line).json
    assert list(found) == [
        "first",
        "second",
        "identical",
        "collections",
        "aliases",
        "uncovered",
        "duration_ms",
        "status",
    ]
    assert (found["collections"][0]["added"], found["collections"][0]["vector_changed_ids"]) == (1, ["a"])
    assert cli(*line, "-v").json["second_sequence"] == 2
    table = cli(*line, "live", "--format", "table").out.splitlines()
    assert table[0].split()[:5] == ["COLLECTION", "CHANGE", "ADDED", "REMOVED", "CHANGED"]
    assert table[2].split()[:5] == ["products", "changed", "1", "0", "1"]
    assert "aliases: shop: none -> products, uncovered: other" in table[3]
    rows = cli(*line, "--format", "csv").out.splitlines()
    assert rows[0].startswith("collection,change,added,removed,changed,vector_changed,payload_changed,unchanged,")
    assert len(rows) == 2
    started = cli(*line, "--no-wait", "--format", "table")
    assert "diff_snapshots" in started.out


def test_alarms_and_snapshots(cli: Callable[..., Outcome], daemon: FakeDaemon, store: None) -> None:
    daemon.alarms.append(storage_pb2.Alarm(code="DISK_LOW", message="5 % left", hint="holdfast storage compact"))
    assert cli("storage", "alarms").json["total"] == 1
    assert cli("storage", "snapshot", "show", "latest").json["members"][0]["name"] == "products"
    assert cli("storage", "snapshot", "delete", "latest").json["freed_bytes"] == 52428800
