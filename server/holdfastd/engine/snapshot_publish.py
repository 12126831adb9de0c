"""Publishing what a restore has staged: one record in the log, then one manifest (RULES 3).

hold off   checkpoints, and without a log writes too: nothing of before may be lost in front of what stays
commit     the record: from here on the restore has happened, and recovery redoes it from what is staged
manifest   names the collections; the record is no longer needed
clean      what was replaced is removed
"""

from __future__ import annotations

import contextlib
from functools import partial

from ..errors import Aborted, CommitUnknown, EngineFailed, FailedPrecondition, HoldfastError, ResourceExhausted
from ..model import CatalogOrigin
from ..storage.files import remove_tree
from . import writer
from .changes import Restore, RestoredCollection
from .manifest_swap import swap_manifest
from .snapshot_context import SnapshotContext
from .snapshot_plan import RestorePlan, RestoreRequest, replaced_by
from .tickets import Caller, Outcome


class Publisher:
    """Publishes one restore. Runs on an operation's thread; blocks. ``warnings``: what is to be said of it."""

    def __init__(self, context: SnapshotContext, request: RestoreRequest, caller: Caller) -> None:
        self._context = context
        self._request = request
        self._caller = caller
        self.warnings: list[str] = []

    def hold_off(self, held: contextlib.ExitStack) -> None:
        """Checkpoints, for as long as ``held`` lasts; with the log disabled writes as well.

        Without a log a kill takes the last writes, and never one before a restore that it leaves: what came before is
        in segments, and what comes meanwhile waits until the manifest has the restore.
        """
        context = self._context
        with contextlib.ExitStack() as turn:
            turn.enter_context(context.checkpointer.exclusive())
            if self._is_logged():
                held.enter_context(turn.pop_all())
                return
        # Not while checkpoints are held off: a write that is under way may be waiting for one.
        held.enter_context(context.committer.writes_held("a restore is being published"))
        while True:
            reached = context.keeper.current.checkpoint_sequence
            if context.applier.sequence > reached:
                reached = context.checkpointer.run()
            with contextlib.ExitStack() as turn:
                turn.enter_context(context.checkpointer.exclusive())
                # Only now do the log and the sequence stand still: it may have been enabled, another restore published.
                if self._is_logged() or context.applier.sequence == reached:
                    held.enter_context(turn.pop_all())
                    return

    def _is_logged(self) -> bool:
        return self._context.committer.log is not None

    def commit(self, plan: RestorePlan) -> Outcome:
        """The record: from here on the restore has happened, and recovery redoes it. Call it with all held off.

        After CommitUnknown the record may be in the log: then the next start publishes what is staged, else it removes
        it. After any other error it is not.
        """
        collections = tuple(
            RestoredCollection(
                target.spec,
                plan.manifest.collections[target.number].digest,
                plan.manifest.collections[target.number].count,
                target.replaces,
                target.aliases,
            )
            for target in plan.targets
        )
        submission = writer.make_submission(
            Restore(collections, plan.manifest.id, self._catalog_of(plan)),
            Caller(actor=self._caller.actor),
            barrier=True,
            check=lambda: self._check_unchanged(plan),
            after_sequence=plan.manifest.sequence,
        )
        outcome: Outcome = writer.commit(self._context.committer, submission)
        return outcome

    def _catalog_of(self, plan: RestorePlan) -> CatalogOrigin | None:
        """Whose catalog a replay may continue: another store's, where all of it has been restored as it was."""
        manifest = plan.manifest
        if not plan.whole or manifest.store_id == self._context.keeper.current.store_id:
            return None
        return CatalogOrigin(manifest.store_id, manifest.timeline, manifest.sequence)

    def _check_unchanged(self, plan: RestorePlan) -> None:
        """Raise unless names and aliases are as they were when the plan was made (on the committing thread)."""
        catalog = self._context.applier.catalog
        for target in plan.targets:
            if replaced_by(target.spec.name, catalog, self._request) != target.replaces:
                raise Aborted(
                    f"the collection {target.spec.name!r} was created, replaced or deleted meanwhile",
                    hint="look at it again, and restore once more if that is still wanted",
                )
            for alias in target.aliases:
                catalog.check_free(alias)

    def settle(self, plan: RestorePlan) -> None:
        """Name the restored collections in the manifest, remove what they replaced (RULES 3, 4)."""
        context = self._context
        try:
            context.committer.between_groups(partial(swap_manifest, context))
        except EngineFailed as error:
            context.committer.fail(error)
            raise _unknown(error) from error
        except (ResourceExhausted, FailedPrecondition) as error:
            if context.committer.log is None:
                raise _unknown(error) from error
            self.warnings.append(f"restored, but the manifest does not say so yet: {error.message}")
            return
        replaced = [target.replaces for target in plan.targets if target.replaces is not None]
        if not replaced:
            return
        # The restore is durable by now. A manifest that fails here has turned the store read-only, which alarms tell.
        with contextlib.suppress(HoldfastError, OSError):
            # Once more, so that the manifest before the current one does not name what is removed either.
            context.keeper.update(lambda manifest: manifest)
            for collection_id in replaced:
                remove_tree(context.fs, context.layout.collection_dir(collection_id))


def _unknown(error: HoldfastError) -> CommitUnknown:
    """The error for a restore that is made, and of which nobody knows whether a restart would find it."""
    return CommitUnknown(
        f"the collections are restored, but that could not be written to the disk: {error.message}; after a restart "
        "they may be as they were before",
        hint=error.hint,
    )
