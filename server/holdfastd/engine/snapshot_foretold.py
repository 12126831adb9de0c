"""What a restore would change, told by its dry run: each collection that it would replace, against what it would bring.

Equal counts and digests are told from the manifest; what the live store's history tells, from that. Else the chain has
to be read, which a dry run does as long as it is quick: it is waited for by one call.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..errors import Corruption
from .meter import Meter
from .recovery_open import staged_collection
from .row_candidates import by_hash
from .row_diff import RowDiff, compare_rows
from .snapshot_chain import ChainFinder
from .snapshot_context import SnapshotContext
from .snapshot_diff import entry_of, sample_of
from .snapshot_info import SnapshotInfo
from .snapshot_pairs import Pair, PairReader
from .snapshot_plan import RestorePlan, Target
from .snapshot_sides import Held, Side, live_side, snapshot_side

SAMPLE = 10
QUICK_BYTES = 256 << 20
"""Of a chain that takes more than this when it is put together, ``snapshot diff`` tells."""


def foretell(
    context: SnapshotContext, finder: ChainFinder, meter: Meter, info: SnapshotInfo, plan: RestorePlan
) -> tuple[list[dict[str, Any]], list[str]]:
    """Of each collection that would be replaced what would come and go, and what is to be said besides. Blocks.

    The first side is what is there now. Raises as ``PairReader.compare``.
    """
    if all(target.replaces is None for target in plan.targets):
        return [], []
    live, snapshot = live_side(context), snapshot_side(info, plan.manifest)
    replaced, warnings = _replaced(live, plan)
    both = [pair for _, pair in replaced]
    differing = [pair for pair in both if pair.old.content != pair.new.content]
    reader = PairReader(
        context,
        finder,
        meter,
        live,
        snapshot,
        sample=sample_of(SAMPLE, len(differing)),
        may_read=lambda needed: needed <= QUICK_BYTES,
    )
    found = reader.compare(differing)
    equal = {pair.name: RowDiff() for pair in both if pair not in differing}
    warnings += reader.warnings
    unread = [pair.name for pair in differing if pair.name not in found]
    if unread:
        warnings.append(
            f"{', '.join(unread)} would change; how, takes reading the snapshot: holdfast storage snapshot diff live "
            f"{plan.manifest.id}"
        )
    rows = found | equal
    return [entry_of(pair.name, pair.old, pair.new, rows[pair.name]) for pair in both if pair.name in rows], warnings


def foretell_staged(
    context: SnapshotContext, meter: Meter, plan: RestorePlan
) -> tuple[list[dict[str, Any]], list[str]]:
    """The same where what would be published is staged already, under the ids of ``plan``: a moment, rolled forward.

    Raises Corruption, Cancelled, OSError.
    """
    live, changes = live_side(context), []
    replaced, warnings = _replaced(live, plan)
    meter.begin("comparing", 0, sum(pair.old.count + pair.new.count for _, pair in replaced))
    for target, pair in replaced:
        rows = RowDiff()
        if pair.old.content != pair.new.content:
            spec = replace(target.spec, created_sequence=plan.manifest.sequence)
            now, then = live.views[pair.old.spec.id], staged_collection(context.fs, context.layout, spec).view
            sample = sample_of(SAMPLE, len(replaced))
            rows = compare_rows(*by_hash(now, then, meter.advance), sample, meter.advance)
            if not rows.leads(pair.old.content, pair.new.content):
                raise Corruption(
                    f"the rows that differ in {pair.name} do not lead from what is live to what was rolled forward",
                    path=context.layout.collection_dir(pair.old.spec.id),
                    reason="DIGEST_MISMATCH",
                    hint="check the log with `holdfast storage wal verify`, and restore beside what is there",
                )
        changes.append(entry_of(pair.name, pair.old, pair.new, rows))
    return changes, warnings


def _replaced(live: Side, plan: RestorePlan) -> tuple[list[tuple[Target, Pair]], list[str]]:
    """What would be replaced, by name, beside what would come; and what is to be said of those that cannot be read."""
    found, warnings = [], []
    for target in sorted(plan.targets, key=lambda target: target.spec.name):
        view = None if target.replaces is None else live.views.get(target.replaces)
        if view is None:
            continue
        said = plan.manifest.collections[target.number]
        try:
            view.require_whole("what a restore would change cannot be told")
        except Corruption as damage:
            warnings.append(damage.message)
            continue
        now, then = Held(view.spec, view.count, view.digest), Held(said.spec, said.count, said.digest)
        found.append((target, Pair(target.spec.name, now, then)))
    return found, warnings
