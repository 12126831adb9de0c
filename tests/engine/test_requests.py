"""The table of request ids is no data: without it the store opens, and says what that means."""

from __future__ import annotations

import pytest

from holdfastd.engine.tickets import Caller
from holdfastd.errors import NotFound
from holdfastd.format.requests import decode_requests
from tests.support.engines import ROOT, Kit


def stored() -> tuple[Kit, str]:
    """A store with one remembered request, and the path of the table."""
    kit = Kit()
    kit.create()
    kit.upsert(["a"], caller=Caller(request_id="r"))
    kit.engine.checkpoint()
    (name,) = (name for name in kit.fs.listdir(ROOT) if name.startswith("requests-"))
    return kit, f"{ROOT}/{name}"


def test_it_is_sealed() -> None:
    kit, path = stored()
    assert [row[0] for row in decode_requests(kit.fs.read(path))] == ["r"]


@pytest.mark.parametrize("missing", [False, True])
def test_damage_is_a_warning(missing: bool) -> None:
    kit, path = stored()
    if missing:
        kit.fs.unlink(path)
    else:
        kit.fs.damage(path, 90, b"#")
    engine = kit.reopen()
    assert set(kit.values()) == {"a"}
    assert [path in warning for warning in engine.recovery.warnings] == [True]
    kit.upsert(["b"], caller=Caller(request_id="s"))
    kit.engine.checkpoint()
    assert kit.reopen().recovery.warnings == ()


def test_no_answer_is_made_up_for_what_is_reflected_when_the_table_is_damaged() -> None:
    kit, first, dropped = Kit(), Caller(request_id="r"), Caller(request_id="s")
    kit.create()
    kit.create("k")
    kit.upsert(["a", "b"], caller=first)
    kit.engine.collections.drop("k", caller=dropped)
    # Its manifest reflects the drop, and points no more than before.
    kit.reopen()
    (name,) = (name for name in kit.fs.listdir(ROOT) if name.startswith("requests-"))
    kit.fs.damage(f"{ROOT}/{name}", 90, b"#")
    assert kit.reopen().recovery.warnings
    assert kit.upsert(["a", "b"], caller=first).count == 2
    assert kit.versions() == {"a": 1, "b": 1}
    with pytest.raises(NotFound):
        kit.engine.collections.drop("k", caller=dropped)


def test_it_keeps_nothing_for_each_row_of_an_upsert() -> None:
    """A bulk load is a hundred thousand requests within ten minutes."""
    kit, caller = Kit(), Caller(request_id="r")
    kit.create()
    kit.upsert([f"p{n}" for n in range(500)], caller=caller)
    remembered = kit.engine._committer.requests._outcomes["r"]
    assert remembered.count == 500
    assert remembered.versions is None
