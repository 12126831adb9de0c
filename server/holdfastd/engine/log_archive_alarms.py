"""What an operator hears of archiving: alarms, which go when it is as it should be again.

ARCHIVE_FAILING   the last round did not succeed; the next one comes by itself
ARCHIVE_BEHIND    what is durable has not been in the archive for longer than a few intervals
ARCHIVE_DAMAGED   a WAL segment is damaged, and so is not archived
ARCHIVE_FOREIGN   the archive holds another history under the names of this log; nothing is written there
ARCHIVE_GAP       history that no archive has, until every collection is in a snapshot made behind it
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..errors import Corruption, HoldfastError
from ..model import Sequence64
from ..storage.log_archive_chain import Gap
from .alarms import Alarms
from .history import iso_time
from .log_holdings import FOREIGN

FAILING, BEHIND, DAMAGE, GAP = "ARCHIVE_FAILING", "ARCHIVE_BEHIND", "ARCHIVE_DAMAGED", "ARCHIVE_GAP"
LEAST_PATIENCE_US = 300 * 1_000_000
"""Within this time a store that is restarted is there again, and nobody needs to hear of it."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last round did not succeed, and when that was."""

    error: HoldfastError
    time_us: int

    @property
    def code(self) -> str:
        """The alarm that tells of it."""
        if isinstance(self.error, Corruption):
            return DAMAGE
        return FOREIGN if self.error.reason == FOREIGN else FAILING


class ArchiveAlarms:
    """See the module. Any thread; does not block."""

    def __init__(
        self,
        alarms: Alarms,
        directory: str,
        interval_us: int,
        covered_through: Callable[[], Sequence64],
    ) -> None:
        self._alarms = alarms
        self._directory = directory
        self._covered_through = covered_through
        self.patience_us = max(3 * interval_us, LEAST_PATIENCE_US)

    def state(self, failure: Failure | None, behind_us: int) -> str:
        """What to call it: archiving, behind, failing or foreign."""
        if failure is not None:
            return "foreign" if failure.code == FOREIGN else "failing"
        return "behind" if behind_us > self.patience_us else "archiving"

    def tell(self, gaps: Iterable[Gap], failure: Failure | None, behind_us: int) -> None:
        """Raise and clear what there is to tell. Blocks for the names of snapshots' files, where there are gaps.

        ``gaps``: with what lies before the archive's beginning. ``behind_us``: how long the oldest operation has been
        waiting.
        """
        for code in (FAILING, DAMAGE, FOREIGN):
            if failure is None or failure.code != code:
                self._alarms.clear(code)
        if failure is not None:
            self._tell_of_failure(failure)
        if behind_us > self.patience_us:
            self._alarms.raise_(
                BEHIND,
                f"what was written {behind_us // 1_000_000} s ago is not in the archive {self._directory} yet",
                hint="holdfast storage archive status says what is waiting, and why",
            )
        else:
            self._alarms.clear(BEHIND)
        self._tell_of_gaps(gaps)

    def _tell_of_failure(self, failure: Failure) -> None:
        error = failure.error
        hint = error.hint or "see the daemon's log"
        if failure.code == FAILING:
            hint += "; archiving goes on by itself, and the log is kept for it as long as it may grow"
        severity = "warning" if failure.code == FAILING else "critical"
        self._alarms.raise_(failure.code, _text(failure, self._directory), hint=hint, severity=severity)

    def _tell_of_gaps(self, gaps: Iterable[Gap]) -> None:
        lost = [gap for gap in gaps if gap.is_loss]
        covered = self._covered_through() if lost else 0
        open_gaps = [gap for gap in lost if max(gap.first, gap.last) > covered]
        if not open_gaps:
            self._alarms.clear(GAP)
            return
        said = "; ".join(f"{_window(gap)}: {gap.why}" for gap in open_gaps[-3:])
        self._alarms.raise_(
            GAP,
            f"history is missing from the archive {self._directory}: {said}",
            hint="holdfast storage snapshot create: from that snapshot on history is complete again; then see that the "
            "archive can be reached, or allow the log more with `holdfast storage wal enable --max-size SIZE`",
            severity="critical",
        )


def _text(failure: Failure, directory: str) -> str:
    what = {
        FAILING: "the log is not being archived",
        DAMAGE: "the log is damaged, and what is damaged is not archived",
        FOREIGN: f"the archive {directory} is not this store's",
    }[failure.code]
    return f"{what}: {failure.error.message}"


def _window(gap: Gap) -> str:
    if gap.first > gap.last:
        return f"perhaps something behind sequence {gap.last}, at {iso_time(gap.first_us)}"
    if not gap.first_us:
        return f"sequences up to {gap.last}, done by {iso_time(gap.last_us)}"
    return f"sequences {gap.first} to {gap.last}, from {iso_time(gap.first_us)} to {iso_time(gap.last_us)}"
