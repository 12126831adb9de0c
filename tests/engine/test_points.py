"""Points by command: what a write answers, what is refused, and what is computed again when somebody was faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from holdfastd.engine import points as points_module
from holdfastd.engine import prepare
from holdfastd.engine.reading import Reading
from holdfastd.engine.tickets import Caller
from holdfastd.errors import Aborted, InvalidArgument, NotFound
from holdfastd.format.payloads import split_payloads
from holdfastd.model import Record
from tests.support.engines import CALLER, Kit, rows


@pytest.fixture
def kit() -> Kit:
    kit = Kit()
    kit.create()
    return kit


def update(kit: Kit, *ids: str, block: bytes = b'[{"n":1}]', merge: bool = True) -> list[int]:
    outcome = kit.engine.points.update("c", ids, vectors=None, payload_block=block, merge=merge, caller=CALLER)
    assert outcome.versions is not None
    return outcome.versions.tolist()


def somebody_is_faster(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object], times: int = 1) -> None:
    """Do something each time between the look at the points and the commit."""
    look = Reading.existing
    left = times

    def looked(reading: Reading, ids: Sequence[str]) -> list[Record]:
        nonlocal left
        found = look(reading, ids)
        if left:
            left -= 1
            do()
        return found

    monkeypatch.setattr(Reading, "existing", looked)


# What a write answers.


def test_of_an_id_that_stands_twice_the_last_row_wins_as_one_write(kit: Kit) -> None:
    outcome = kit.upsert(["a", "b", "a"], 1.0, 2.0, 3.0)
    assert outcome.count == 3
    assert kit.values() == {"a": 3.0, "b": 2.0}
    assert kit.versions() == {"a": 1, "b": 1}
    assert kit.engine.points.count("c") == 2


def test_versions_count_writes_and_begin_again_after_a_delete(kit: Kit) -> None:
    for version in (1, 2, 3):
        outcome = kit.upsert(["a"])
        assert outcome.versions is not None
        assert outcome.versions.tolist() == [version]
    kit.delete("a")
    kit.upsert(["a"])
    assert kit.versions() == {"a": 1}


def test_vectors_come_back_bit_for_bit(kit: Kit) -> None:
    vectors = np.array([[-0.0, 1e-45], [3.4e38, -1.17549435e-38]], np.float32)
    kit.engine.points.upsert("c", ["a", "b"], vectors, b"", caller=CALLER)
    for _ in range(2):
        found = np.array([record.vector for record in kit.engine.points.get("c", ["a", "b"])])
        assert found.tobytes() == vectors.tobytes()
        kit.engine.checkpoint()
        kit.reopen()


def test_payloads_come_back_byte_for_byte(kit: Kit) -> None:
    payloads = [b'{"a" : 1.0,"b":[ ]}', None, '{"ä":"\\u00e4"}'.encode()]
    kit.upsert(["x", "y", "z"], payloads=payloads)
    for _ in range(2):
        assert [record.payload for record in kit.engine.points.get("c", ["x", "y", "z"])] == payloads
        kit.engine.checkpoint()
        kit.reopen()


def test_deleting_what_is_not_there_is_no_error(kit: Kit) -> None:
    kit.upsert(["a"])
    assert kit.delete("x", "a", "a").count == 1


def test_get_answers_in_the_order_asked_without_what_is_not_there(kit: Kit) -> None:
    kit.upsert(["a", "b"])
    kit.engine.checkpoint()
    kit.upsert(["c"])
    assert [record.id for record in kit.engine.points.get("c", ["c", "x", "a", "c"])] == ["c", "a", "c"]


# What is refused: nothing of it is logged.


@pytest.mark.parametrize(
    ("ids", "vectors", "block", "field"),
    [
        ([], np.zeros((0, 2), np.float32), b"", "ids"),
        (["a", ""], rows(1, 2), b"", "ids[1]"),
        (["a\0b"], rows(1), b"", "ids[0]"),
        (["x" * 513], rows(1), b"", "ids[0]"),
        (["a"], rows(1, dimensions=3), b"", "vectors"),
        (["a", "b"], rows(1), b"", "vectors"),
        (["a", "b"], np.array([[1, 2], [1, np.nan]], np.float32), b"", "vectors[1][1]"),
        (["a"], np.array([[np.inf, 2]], np.float32), b"", "vectors[0][0]"),
        (["a"], rows(1), b"[1]", "payloads[0]"),
        (["a"], rows(1), b"[{},{}]", "payloads"),
        (["a"], rows(1), b"{", "payloads"),
        (["a", "b"], rows(1, 2), b'[{},{"a":1e999}]', "payloads[1]"),
        (["a", "b"], rows(1, 2), b'[{},{"a":"\\ud800"}]', "payloads[1]"),
        (["a", "b"], rows(1, 2), b'[{},{"a":NaN}]', "payloads[1]"),
        (["a", "b"], rows(1, 2), b'[{},{"a":' + b"[" * 120 + b"]" * 120 + b"}]", "payloads[1]"),
    ],
)
def test_a_batch_with_a_mistake_is_refused_as_a_whole(
    kit: Kit, ids: list[str], vectors: np.ndarray, block: bytes, field: str
) -> None:
    before = kit.engine.sequence
    with pytest.raises(InvalidArgument) as caught:
        kit.engine.points.upsert("c", ids, vectors, block, caller=CALLER)
    assert caught.value.field == field
    assert kit.engine.sequence == before
    assert kit.values() == {}


def test_an_unknown_collection_is_named(kit: Kit) -> None:
    with pytest.raises(NotFound) as caught:
        kit.upsert(["a"], name="other")
    assert "other" in caught.value.message


# Computed from what is stored (RULES 15).


def test_merging_follows_rfc_7396(kit: Kit) -> None:
    kit.upsert(["a"], payloads=[b'{"keep":1,"drop":2,"deep":{"x":1,"y":2}}'])
    update(kit, "a", block=b'[{"drop":null,"new":[1],"deep":{"y":null,"z":3}}]')
    (record,) = kit.engine.points.get("c", ["a"])
    assert record.payload == b'{"keep":1,"deep":{"x":1,"z":3},"new":[1]}'
    assert record.version == 2


def test_payloads_that_are_no_longer_taken_are_read_filtered_and_merged(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [b'{"n":1e999}', b'{"n":%s}' % (b"9" * 5000), b'{"n":1,"n":2.50}']
    with monkeypatch.context() as before:
        before.setattr(prepare, "accept_payloads", split_payloads)
        kit.upsert(["a", "b", "c"], payloads=stored)
    for _ in range(2):
        assert [record.payload for record in kit.engine.points.get("c", ["a", "b", "c"])] == stored
        assert kit.engine.points.count("c", "n > 100") == 2
        kit.reopen()
    for id in ("a", "b", "c"):
        update(kit, id, block=b'[{"x":{"y":1}}]')
    assert [record.payload for record in kit.engine.points.get("c", ["a", "b", "c"])] == [
        b'{"n":1e999,"x":{"y":1}}',
        stored[1][:-1] + b',"x":{"y":1}}',
        b'{"n":2.50,"x":{"y":1}}',
    ]
    with pytest.raises(InvalidArgument, match="float64"):
        update(kit, "a", block=b'[{"x":-1e999}]')


def test_updating_replaces_only_what_is_given(kit: Kit) -> None:
    kit.upsert(["a", "b"], 1.0, 2.0, payloads=[b'{"n":1}', b'{"n":2}'])
    kit.engine.points.update(
        "c", ["a", "b"], vectors=rows(5.0, 6.0), payload_block=b'[{"m":3},null]', merge=False, caller=CALLER
    )
    assert [(r.payload, r.vector[0]) for r in kit.engine.points.get("c", ["a", "b"]) if r.vector is not None] == [
        (b'{"m":3}', 5.0),
        (b'{"n":2}', 6.0),
    ]


def test_updating_what_does_not_exist_changes_nothing(kit: Kit) -> None:
    kit.upsert(["a"])
    with pytest.raises(NotFound) as caught:
        update(kit, "a", "missing", block=b'[{"n":1},{"n":1}]')
    assert "missing" in caught.value.message
    assert kit.versions() == {"a": 1}


def test_an_update_computed_from_a_stale_point_is_computed_again(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.upsert(["a"], payloads=[b'{"mine":0}'])
    somebody_is_faster(monkeypatch, lambda: kit.upsert(["a"], 9.0, payloads=[b'{"theirs":1}']), times=3)
    assert update(kit, "a", block=b'[{"mine":1}]') == [5]
    (record,) = kit.engine.points.get("c", ["a"])
    assert record.payload == b'{"theirs":1,"mine":1}'
    assert record.vector is not None
    assert record.vector[0] == 9.0


def test_a_point_deleted_meanwhile_is_not_raised_by_an_update(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.upsert(["a"])
    somebody_is_faster(monkeypatch, lambda: kit.delete("a"))
    with pytest.raises(NotFound):
        update(kit, "a")
    assert kit.values() == {}


def test_after_too_many_attempts_the_caller_is_told(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.upsert(["a"])
    somebody_is_faster(monkeypatch, lambda: kit.upsert(["a"]), times=100)
    with pytest.raises(Aborted) as caught:
        update(kit, "a")
    assert caught.value.reason == "CONTENTION"


def test_delete_by_filter_takes_what_is_there_at_one_moment(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    kit.upsert(["a", "b", "c"], payloads=[b'{"n":1}', b'{"n":2}', b'{"n":1}'])
    matching = points_module._matching
    raced = False

    def slow(*args: object) -> object:
        nonlocal raced
        found = list(matching(*args))  # type: ignore[arg-type]
        if not raced:
            raced = True
            kit.upsert(["a"], payloads=[b'{"n":2}'])
            kit.upsert(["late"], payloads=[b'{"n":1}'])
        return iter(found)

    monkeypatch.setattr(points_module, "_matching", slow)
    assert kit.engine.points.delete_where("c", "n = 1", caller=CALLER).count == 2
    assert sorted(kit.values()) == ["a", "b"]


def test_an_expected_count_that_is_wrong_deletes_nothing(kit: Kit) -> None:
    kit.upsert(["a", "b"], payloads=[b'{"n":1}', b'{"n":1}'])
    for delete in (
        lambda: kit.engine.points.delete_where("c", "n = 1", caller=CALLER, expected_count=3),
        lambda: kit.engine.points.truncate("c", caller=CALLER, expected_count=1),
    ):
        with pytest.raises(Aborted) as caught:
            delete()
        assert caught.value.reason == "COUNT_MISMATCH"
    assert len(kit.values()) == 2
    assert kit.engine.points.truncate("c", caller=Caller(), expected_count=2).count == 2


# Reading.


def test_reads_go_through_aliases(kit: Kit) -> None:
    kit.upsert(["a"])
    kit.engine.collections.create_alias("x", "c", caller=CALLER)
    assert kit.values("x") == {"a": 1.0}
    kit.upsert(["b"], name="x")
    assert sorted(kit.values("c")) == ["a", "b"]


@pytest.mark.parametrize("k", [0, -1, 10_001])
def test_k_has_its_limits(kit: Kit, k: int) -> None:
    with pytest.raises(InvalidArgument):
        kit.engine.points.search("c", rows(1.0), k=k)


def test_search_sees_segments_and_memtables_alike(kit: Kit) -> None:
    kit.upsert(["a", "b"], 1.0, 2.0, payloads=[b'{"n":1}', b'{"n":2}'])
    kit.engine.checkpoint()
    kit.upsert(["b", "c"], -1.0, 3.0, payloads=[b'{"n":3}', b'{"n":3}'])
    hits = kit.engine.points.search("c", rows(1.0), k=5)[0]
    assert [hit.record.id for hit in hits][-1] == "b"
    assert {hit.record.id for hit in hits} == {"a", "b", "c"}
    filtered = kit.engine.points.search("c", rows(1.0), k=5, filter_text="n = 3")[0]
    assert [hit.record.id for hit in filtered] == ["c", "b"]
