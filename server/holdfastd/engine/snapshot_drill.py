"""A restore that nobody sees: the chain is put together in the data directory, read back, and removed again.

It is what a restore does before it publishes, with every row's hash computed anew from the files that were written.
Then the digest of each collection is summed up from what is there, and held against the one that the snapshot carries.
The scratch lies where a restore stages, under ids that nothing names: what a crash leaves goes with the next start.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Corruption
from ..format.hashing import digest_sums
from ..format.snapshot import SnapshotCollection
from ..format.verify_receipt import RESTORE
from ..model import Digest, Sequence64
from ..storage.archive_survey import Finding
from ..storage.files import remove_tree
from .collection import Collection
from .meter import Meter
from .recovery_open import open_collection
from .snapshot_chain import Chain
from .snapshot_context import SnapshotContext
from .snapshot_stage import Stager, staged_bytes, staged_rows

ROWS_AT_ONCE = 65536


@dataclass(frozen=True, slots=True)
class DigestCheck:
    """One collection as it came back: ``count`` and ``digest`` as they were found, beside what the snapshot says."""

    collection: str
    count: int
    digest: Digest
    expected_count: int
    expected_digest: Digest

    @property
    def equal(self) -> bool:
        """Whether it is what it should be."""
        return (self.count, self.digest) == (self.expected_count, self.expected_digest)


def check_room(context: SnapshotContext, chain: Chain) -> None:
    """Raise ResourceExhausted unless the scratch fits."""
    sources = {each.spec.id for each in chain.last.manifest.collections}
    context.check_space(
        context.layout.collections,
        staged_bytes(chain, sources),
        hint="free space in the data directory, or verify with --level 3, which takes next to none",
    )


def drill(
    context: SnapshotContext, chain: Chain, meter: Meter, found: Callable[[Finding], None]
) -> tuple[DigestCheck, ...]:
    """Restore all of a chain and compare; damage is told to ``found``. Blocks. Raises Cancelled or OSError.

    Nothing is left of it, however it ends.
    """
    last = chain.last.manifest
    sources = {each.spec.id for each in last.collections}
    specs = {number: replace(each.spec, id=context.randomness.uuid4()) for number, each in enumerate(last.collections)}
    meter.begin("restoring", chain.member_bytes, staged_rows(chain, sources))
    checks = []
    try:
        entries = Stager(context, chain, specs).run(meter.advance, deep=True)
        meter.begin("comparing", 0, sum(each.count for each in last.collections))
        for said, entry in zip(last.collections, entries, strict=True):
            collection = open_collection(context.fs, context.layout, entry)
            check = _check(said, collection, last.sequence, meter)
            checks.append(check)
            if not check.equal:
                found(Finding(RESTORE, chain.last.path, _differs(check)))
    except Corruption as error:
        # Of a file of the scratch the name says nothing: what was put together is wrong.
        of_link = any(error.path.startswith(link.path) for link in chain.links)
        found(Finding(RESTORE, error.path if of_link else chain.last.path, error.problem))
    finally:
        for spec in specs.values():
            with contextlib.suppress(OSError):
                remove_tree(context.fs, context.layout.collection_dir(spec.id))
    return tuple(checks)


def _check(said: SnapshotCollection, collection: Collection, sequence: Sequence64, meter: Meter) -> DigestCheck:
    count, digest = 0, Digest()
    for segment in collection.segments:
        alive = segment.live_mask(sequence)
        for start in range(0, segment.rows_count, ROWS_AT_ONCE):
            facts = segment.rows[start : start + ROWS_AT_ONCE].copy()
            if alive is not None:
                facts = facts[alive[start : start + ROWS_AT_ONCE]]
            digest = digest.plus(*digest_sums(np.column_stack((facts["hash_high"], facts["hash_low"]))))
            count += len(facts)
            meter.advance(0, len(facts))
    return DigestCheck(said.spec.name, count, digest, said.count, said.digest)


def _differs(check: DigestCheck) -> str:
    return (
        f"{check.collection} came back with {check.count} vectors and the digest {check.digest.hex()}, the snapshot "
        f"says {check.expected_count} and {check.expected_digest.hex()}"
    )
