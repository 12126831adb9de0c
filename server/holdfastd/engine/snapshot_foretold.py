"""What a restore would change, told by its dry run: each collection that it would replace, against what it would bring.

Equal counts and digests are told from the manifest; what the live store's history tells, from that. Else the chain has
to be read, which a dry run does as long as it is quick: it is waited for by one call.
"""

from __future__ import annotations

from typing import Any

from ..errors import Corruption
from .meter import Meter
from .row_diff import RowDiff
from .snapshot_chain import ChainFinder
from .snapshot_context import SnapshotContext
from .snapshot_diff import entry_of, sample_of
from .snapshot_info import SnapshotInfo
from .snapshot_pairs import Pair, PairReader
from .snapshot_plan import RestorePlan
from .snapshot_sides import Held, live_side, snapshot_side

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
    both, warnings = [], []
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
        both.append(Pair(target.spec.name, now, then))
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
