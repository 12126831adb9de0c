"""What creating and restoring snapshots need of the engine, and the errors that both meet."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import FailedPrecondition, HoldfastError, ResourceExhausted
from ..storage.bulk import Pace, Quiet, never, unpaced
from ..storage.clock import Clock, Randomness
from ..storage.files import FileSystem
from ..storage.manifest import NO_SPACE
from ..storage.names import Layout
from ..storage.store_errors import StoreError
from .apply import Applier
from .checkpoint import Checkpointer
from .committer import Committer
from .manifest_keeper import ManifestKeeper
from .settings import EngineConfig
from .space import check_space
from .store_refusals import store_refusal

ELSEWHERE = "free space there, or name another directory with --path"


@dataclass(frozen=True, slots=True)
class SnapshotContext:
    """The parts of the engine that snapshots work with."""

    fs: FileSystem
    layout: Layout
    clock: Clock
    randomness: Randomness
    applier: Applier
    committer: Committer
    keeper: ManifestKeeper
    checkpointer: Checkpointer
    config: EngineConfig
    pace: Pace = unpaced
    backup_pace: Pace = unpaced
    quiet: Quiet = never

    def check_space(self, directory: str, needed: int, hint: str = ELSEWHERE) -> None:
        """Raise ResourceExhausted unless ``needed`` bytes fit and the reserve stays free. ``directory`` may be new."""
        check_space(self.fs, directory, needed, self.config.disk_reserve_bytes, hint)


def disk_error(error: OSError, what: str, path: str, hint: str = ELSEWHERE) -> HoldfastError:
    """What the operating system refused, as the operation's error: it has failed, the store goes on."""
    if isinstance(error, StoreError):
        return store_refusal(error, what)
    said = error.strerror or str(error)
    if error.errno in NO_SPACE:
        return ResourceExhausted(
            f"{what}: the disk of {path} is full ({said}); what had been written was removed",
            reason="DISK_FULL",
            hint=hint,
            path=path,
        )
    return FailedPrecondition(
        f"{what}: {error.filename or path}: {said}",
        reason="DISK_ERROR",
        hint="check the directory, its permissions and its disk (dmesg), then try again",
        path=path,
        errno=error.errno,
    )
