"""A schedule of snapshots, and what is kept of its runs: SCHEDULES.json.

What a schedule is stands in the daemon's settings; what became of it is kept here, by its name, so that a run which
came due while the daemon was down is made up for, and one that a crash cut short is made again.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..format.document import encode_document
from ..storage.files import FileSystem, replace_file
from ..storage.kept_document import load_or_move_aside
from .cron import CronLine
from .keeping import RetentionPolicy
from .snapshot_request import SnapshotRequest

SCHEDULES_VERSION = 1
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is made when. ``verify_level``: how far each snapshot's own file is then read back, 0 for not at all.

    ``policy``: what is pruned after each success, of the same directory and scope; or None.
    """

    name: str
    cron: CronLine
    request: SnapshotRequest
    policy: RetentionPolicy | None = None
    verify_level: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """What became of a schedule. Times in microseconds since 1970, 0 for never.

    ``line``: the cron line and zone that this is about. ``since_us``: what came due by then is past: the beginning of
    the last run, or when the schedule was first seen. ``due_us``, ``begun_us``, ``ended_us``: of the last run;
    ``ended_us`` 0: it is running, or was when the daemon ended. ``attempts``: how often that one was begun.
    ``outcome``: succeeded, failed or cancelled, of the last run that ended.
    """

    name: str
    line: str
    since_us: int
    due_us: int = 0
    begun_us: int = 0
    ended_us: int = 0
    attempts: int = 0
    outcome: str = ""
    operation_id: str = ""
    snapshot_id: str = ""
    message: str = ""
    hint: str = ""
    pruned: int = 0
    freed_bytes: int = 0

    @property
    def is_running(self) -> bool:
        """Whether a run was begun that nobody has seen end."""
        return bool(self.begun_us) and not self.ended_us


@dataclass(frozen=True, slots=True)
class _Content:
    schedules: tuple[ScheduleState, ...] = ()
    format_version: int = SCHEDULES_VERSION


def load_states(fs: FileSystem, path: str) -> tuple[dict[str, ScheduleState], str | None]:
    """What is kept, by name, and why it cannot be used, or None. Blocks; a damaged file is moved aside.

    Raises UnsupportedFormat, OSError.
    """
    # No reason to refuse the data: what is lost is the memory of runs that were missed.
    content, damage = load_or_move_aside(fs, path, "schedules", _Content, SCHEDULES_VERSION)
    problem = f"{damage}; schedules begin anew, and make up for no run that was missed" if damage else None
    return {state.name: state for state in (content or _Content()).schedules}, problem


def store_states(fs: FileSystem, path: str, states: dict[str, ScheduleState]) -> None:
    """Keep it. Durable on return. Raises OSError."""
    replace_file(fs, path, encode_document("schedules", _Content(tuple(states.values()))))
