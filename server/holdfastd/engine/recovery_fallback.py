"""A start from MANIFEST.prev.json: allowed only where the log holds all that came after it (RULES 24).

What was written while the log was disabled stands in the lost manifest alone: going on without it would drop durable
data. A commit that was cut between its two renames is no such loss: nobody was told of the manifest that it began, and
it stands there whole, since its name was made durable before the first rename. So a manifest that is missing without
it was not lost by a crash: somebody or something has removed it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..errors import Corruption, UnsupportedFormat
from ..format.manifest import Manifest, decode_manifest
from ..format.record import RecordKind
from ..storage.files import FileSystem
from ..storage.manifest import LoadedManifest
from ..storage.names import Layout
from ..storage.wal_errors import unreadable
from ..storage.wal_files import FoundFile, find_wal_files
from ..storage.wal_judge import Verdict
from ..storage.wal_scan import ScanEnd, exhaust, scan_file
from ..storage.wal_tail import Problem, link_into


@dataclass(frozen=True, slots=True)
class Fallback:
    """A previous manifest that has to do, and where the manifest that should be there is. ``problem``: its damage."""

    manifest: Manifest
    path: str
    problem: str

    def settle(self, fs: FileSystem, verdict: Verdict, *, strict: bool) -> tuple[Verdict, str | None]:
        """Where history ends by the log alone, and a warning if data may be missing. Reads only.

        Raises Corruption when ``strict`` and the log does not hold all that came after the manifest.
        """
        cut = _cut_at_gap(fs, verdict, max(1, self.manifest.log_start_required))
        why = _why_not_covered(self.manifest, cut or verdict)
        if why is None:
            return verdict, None
        if strict:
            raise Corruption(
                f"{self.problem.removeprefix(f'{self.path}: ')}; the manifest before it cannot take its place: {why}",
                path=self.path,
                hint=f"put back a good copy of {self.path}, or restore the newest snapshot into a new data directory; "
                "--recovery=point-in-time goes on with the manifest before it and what the log holds: what was "
                "written since without the log is then missing",
            )
        return cut or verdict, f"data may be missing: {self.problem}; {why}"


def find_fallback(fs: FileSystem, layout: Layout, loaded: LoadedManifest) -> Fallback | None:
    """What a start has to mind that goes on with the previous manifest; None where that is the last one acknowledged.

    Raises as finding the log does.
    """
    if loaded.problem is None or _was_interrupted(fs, layout, loaded.manifest):
        return None
    manifest = loaded.manifest
    try:
        files = find_wal_files(fs, map(layout.wal_dir, manifest.wal_directories), store_id=manifest.store_id)
    except OSError as error:
        raise unreadable(error) from error
    # The lost manifest may have begun the timeline that the log is on, and the store was written to after a clean stop.
    timeline = max([manifest.timeline, *(file.timeline for file in files)])
    return Fallback(replace(manifest, timeline=timeline, clean=False), layout.manifest, loaded.problem)


def _was_interrupted(fs: FileSystem, layout: Layout, previous: Manifest) -> bool:
    """Whether a commit was cut between its renames: its manifest is whole, has no name yet, and follows ``previous``.

    The file without a name was synced before the first rename, and an acknowledgement comes after the second.
    """
    if fs.exists(layout.manifest):
        return False
    try:
        waiting = decode_manifest(fs.read(f"{layout.manifest}.tmp"))
    except (OSError, ValueError, UnsupportedFormat):
        return False
    return (waiting.store_id, waiting.generation) == (previous.store_id, previous.generation + 1)


def _why_not_covered(manifest: Manifest, verdict: Verdict) -> str | None:
    if not manifest.wal_settings.enabled:
        return "the log was disabled, so it does not hold what came after that"
    if verdict.end is None:
        return "there is no log that holds what came after it"
    if verdict.end.last_kind == RecordKind.CLOSED:
        return f"the log was disabled after sequence {verdict.end.link.sequence}, so it does not hold what came later"
    return None


def _cut_at_gap(fs: FileSystem, verdict: Verdict, from_sequence: int) -> Verdict | None:
    """The verdict with history ended before the first gap at or behind ``from_sequence``; None without a gap."""
    for index, file in enumerate(verdict.kept):
        header = file.header
        if header is None or not header.gap_before or header.previous_sequence < from_sequence:
            continue
        end = _end_of(fs, verdict.kept[index - 1]) if index else None
        if end is not None and end.link.sequence == header.previous_sequence:
            continue
        problem = Problem(file.path, 0, f"history before sequence {file.first_sequence} is missing from the log")
        aside = (*verdict.kept[index:], *verdict.aside)
        return replace(verdict, kept=verdict.kept[:index], end=end, aside=aside, problem=problem, torn_bytes=0)
    return None


def _end_of(fs: FileSystem, file: FoundFile) -> ScanEnd:
    header = file.sound_header()
    return exhaust(scan_file(fs, file.path, header, link_into(header, None), check_only=True))
