"""A reading is one moment, and says which: what is written meanwhile is not in it."""

from __future__ import annotations

import pytest

from holdfastd.errors import NotFound
from tests.support.engines import CALLER, Kit, rows


@pytest.fixture
def kit() -> Kit:
    made = Kit()
    made.create()
    made.upsert(["a", "b"], payloads=[b'{"n":1}', b'{"n":2}'])
    return made


def test_it_stays_where_it_is(kit: Kit) -> None:
    reading = kit.engine.points.reading("c")
    assert reading.sequence == kit.engine.sequence == 2
    kit.upsert(["a", "c"], 9.0, 9.0)
    kit.delete("b")
    kit.engine.checkpoint()
    assert reading.sequence == 2
    assert [record.version for record in reading.get(["a", "b", "c"])] == [1, 1]
    assert (reading.count(), reading.count("n = 2")) == (2, 1)
    assert [hit.record.id for hit in reading.search(rows(1.0), k=5)[0]] == ["a", "b"]
    assert [record.id for record in reading.scroll(order="id", limit=9)] == ["a", "b"]
    assert [record.id for batch in reading.export() for record in batch] == ["a", "b"]
    assert reading.vector_of("b").tolist() == [2.0, 2.0]
    assert kit.engine.points.reading("c").sequence == 4


def test_a_write_in_flight_is_in_neither_content_nor_sequence(kit: Kit) -> None:
    seen = []
    applied = kit.engine._applier.apply

    def look(*arguments: object, **more: object) -> object:
        done = applied(*arguments, **more)  # type: ignore[arg-type]
        reading = kit.engine.points.reading("c")
        seen.append((reading.sequence, reading.count()))
        return done

    kit.engine._applier.apply = look  # type: ignore[assignment, method-assign]
    kit.upsert(["c"])
    assert seen == [(2, 2)]
    reading = kit.engine.points.reading("c")
    assert (reading.sequence, reading.count()) == (3, 3)


def test_what_does_not_exist_is_named(kit: Kit) -> None:
    reading = kit.engine.points.reading("c")
    with pytest.raises(NotFound, match="'x'"):
        reading.vector_of("x")
    with pytest.raises(NotFound):
        kit.engine.points.reading("films")
    kit.engine.collections.drop("c", caller=CALLER)
    assert reading.count() == 2
