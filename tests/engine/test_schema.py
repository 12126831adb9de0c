"""A collection's schema, where it is kept: what is written is checked, what is recovered or restored is not."""

from __future__ import annotations

import uuid

import pytest

from holdfastd.engine.changes import CreateCollection
from holdfastd.errors import InvalidArgument
from holdfastd.model import CollectionSpec
from tests.support.engines import CALLER, Kit, rows
from tests.support.snapshots import SnapshotKit

SCHEMA = '{"price": {"type": "number", "required": true}, "author.name": "string"}'
GOOD = b'{"price": 1}'
BAD = b'{"price": "1"}'


def kit_with(schema: str, kit: Kit | None = None, name: str = "c") -> Kit:
    kit = Kit() if kit is None else kit
    kit.engine.collections.create(name, 2, schema_json=schema, caller=CALLER)
    return kit


def refused(kit: Kit, ids: list[str], payloads: list[bytes | None], name: str = "c") -> InvalidArgument:
    sequence, log = kit.engine.sequence, kit.log
    assert log is not None
    size = log.size_bytes
    with pytest.raises(InvalidArgument) as caught:
        kit.upsert(ids, name=name, payloads=payloads)
    assert (kit.engine.sequence, log.size_bytes) == (sequence, size)
    return caught.value


def test_a_schema_that_is_none_makes_no_collection() -> None:
    kit = Kit()
    with pytest.raises(InvalidArgument) as caught:
        kit_with('{"price": "decimal"}', kit)
    assert (caught.value.field, caught.value.reason) == ("schema.price", "INVALID_SCHEMA")
    assert kit.engine.collections.list() == []


def test_a_batch_with_one_payload_that_contradicts_is_refused_whole() -> None:
    kit = kit_with(SCHEMA)
    error = refused(kit, ["a", "b", "a"], [GOOD, BAD, GOOD])
    assert (error.field, error.metadata["row"], error.reason) == ("payloads[1].price", "1", "SCHEMA_VIOLATION")
    assert kit.values() == {}
    kit.upsert(["a", "b"], payloads=[GOOD, b'{"price": 2.5, "other": {}}'])
    assert sorted(kit.values()) == ["a", "b"]


def test_a_row_that_is_superseded_within_its_batch_is_checked_too() -> None:
    error = refused(kit_with(SCHEMA), ["a", "a"], [BAD, GOOD])
    assert error.field == "payloads[0].price"


def test_payloads_that_are_left_out_lack_what_is_required() -> None:
    kit = kit_with(SCHEMA)
    with pytest.raises(InvalidArgument, match=r"payloads\[0\]\.price is missing"):
        kit.upsert(["a"])
    kit_with('{"price": "number"}', kit, "d")
    kit.upsert(["a"], name="d")


@pytest.mark.parametrize(
    ("payload", "merge", "field"),
    [
        (b'{"price": []}', False, "payloads[1].price"),
        (b"{}", False, "payloads[1].price"),
        (b'{"author": {"name": 1}}', True, "payloads[1].author.name"),
        (b'{"price": null}', True, "payloads[1].price"),
        (b'{"author": 7}', True, "payloads[1].author"),
    ],
)
def test_an_update_is_checked_as_it_leaves_the_payload(payload: bytes, merge: bool, field: str) -> None:
    kit = kit_with(SCHEMA)
    kit.upsert(["a", "b"], payloads=[GOOD, GOOD])
    sequence = kit.engine.sequence
    with pytest.raises(InvalidArgument) as caught:
        kit.engine.points.update(
            "c", ["a", "b"], vectors=None, payload_block=b"[null, %b]" % payload, merge=merge, caller=CALLER
        )
    assert (caught.value.field, caught.value.metadata["row"]) == (field, "1")
    assert kit.engine.sequence == sequence


def test_an_update_that_fits_is_done() -> None:
    kit = kit_with(SCHEMA)
    kit.upsert(["a"], payloads=[GOOD])
    kit.engine.points.update("c", ["a"], vectors=rows(7.0), payload_block=b"", merge=False, caller=CALLER)
    patch = b'[{"author": {"name": "x"}}]'
    kit.engine.points.update("c", ["a"], vectors=None, payload_block=patch, merge=True, caller=CALLER)
    assert kit.engine.points.get("c", ["a"])[0].payload == b'{"price":1,"author":{"name":"x"}}'


def test_a_batch_that_follows_a_replaced_collection_is_checked_by_the_new_one() -> None:
    kit = Kit()
    kit.create()
    vectors = rows(1.0, 2.0)
    fitting = kit.engine.points.prepare_upsert("c", ["a", "b"], vectors, b"[%b,%b]" % (GOOD, GOOD), caller=CALLER)
    other = kit.engine.points.prepare_upsert("c", ["a", "b"], vectors, b"[%b,%b]" % (GOOD, BAD), caller=CALLER)
    kit.engine.collections.drop("c", caller=CALLER)
    kit_with(SCHEMA, kit)
    assert kit.engine.points.commit(fitting).count == 2
    with pytest.raises(InvalidArgument) as caught:
        kit.engine.points.commit(other)
    assert caught.value.field == "payloads[1].price"


def test_it_holds_behind_a_restart_and_a_checkpoint() -> None:
    kit = kit_with(SCHEMA)
    kit.upsert(["a"], payloads=[GOOD])
    kit.reopen()
    refused(kit, ["b"], [BAD])
    kit.engine.checkpoint()
    kit.restart()
    refused(kit, ["b"], [BAD])
    assert kit.engine.collections.stats("c").spec.schema_json == SCHEMA


def test_a_restored_collection_has_the_schema_of_its_origin() -> None:
    kit = SnapshotKit()
    kit_with(SCHEMA, kit)
    kit.upsert(["a"], payloads=[GOOD])
    kit.snapshot()
    kit.restore("latest", collection="copy")
    refused(kit, ["b"], [BAD], name="copy")
    kit.upsert(["b"], name="copy", payloads=[GOOD])


class TestAStoreFromBeforeSchemasWereChecked:
    """It may hold any text in a schema's place, and rows that contradict it."""

    TEXT = '{"type": "object", "properties": {}}'

    def make(self, text: str) -> Kit:
        kit = Kit()
        spec = CollectionSpec(uuid.UUID(int=7), "c", 2, schema_json=text)
        kit.engine.collections._commit(CreateCollection(spec), CALLER, lambda: None)
        return kit

    @pytest.mark.parametrize("checkpointed", [False, True])
    @pytest.mark.parametrize("text", [TEXT, "", "no JSON", "[1]"])
    def test_it_opens_and_takes_what_it_took(self, text: str, checkpointed: bool) -> None:
        kit = self.make(text)
        kit.upsert(["a"], payloads=[BAD])
        if checkpointed:
            kit.engine.checkpoint()
        kit.reopen()
        kit.upsert(["b"], payloads=[BAD])
        stats = kit.engine.collections.stats("c")
        assert (stats.vectors, stats.spec.schema_json) == (2, text)
        assert ("payloads are not checked" in stats.schema_problem) == bool(text)

    def test_rows_that_contradict_are_recovered(self) -> None:
        kit = self.make(SCHEMA)
        target = kit.engine._applier.catalog.resolve("c")
        target.payload_check = None
        kit.upsert(["a"], payloads=[BAD])
        kit.reopen()
        assert kit.values() == {"a": 1.0}
        refused(kit, ["a"], [BAD])
        assert kit.engine.collections.stats("c").schema_problem == ""
