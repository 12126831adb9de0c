"""The log made ready at start: copies kept of what is cut, the cut, the accepted tail written again and synced.

``judge_log`` has decided where history ends; ``settle_log`` makes that true on the disk. A crash between any two steps
leaves a log that the next start judges alike. Recovery needs one thread.
"""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import EngineFailed, ResourceExhausted
from ..format.record import RecordKind
from .files import FileSystem, parent_of
from .wal_entry import Link
from .wal_errors import is_lack_of_space
from .wal_files import BROKEN_SUFFIX, NEXT_SUFFIX, Position, WalFileInfo, has_operations, infos_of
from .wal_judge import Verdict, judge_log
from .wal_reader import Mode
from .wal_scan import PIECE_BYTES, ScanEnd
from .wal_tail import Problem

__all__ = ["RecoveredLog", "Verdict", "judge_log", "recover_tail", "settle_log"]


@dataclass(frozen=True, slots=True)
class RecoveredLog:
    """The log as recovery left it: whole, synced, and ready to be appended to at ``tail``.

    ``files`` in log order, the last one the active one; empty, with ``tail`` None, when there is no log. ``link``: what
    the next record follows. ``closed``: the last record says that
    the log was disabled. ``copies``: the ``.broken`` files made or found of what was cut.
    """

    files: tuple[WalFileInfo, ...]
    tail: Position | None
    link: Link
    closed: bool
    marked: bool
    operations_in_last_file: bool
    cut_bytes: int
    copies: tuple[str, ...]
    problem: Problem | None

    @property
    def last_sequence(self) -> int:
        """The last sequence in the log, 0 for none."""
        return self.link.sequence

    @property
    def last_timestamp_us(self) -> int:
        """The time of the last operation, 0 for none."""
        return self.link.timestamp_us


def recover_tail(
    fs: FileSystem,
    directories: Sequence[str],
    *,
    store_id: uuid.UUID,
    from_sequence: int = 0,
    required_sequence: int = 0,
    mode: Mode = "strict",
) -> RecoveredLog:
    """``judge_log`` and ``settle_log`` in one.

    With ``point-in-time``, prefer the two: the new timeline has to be durable before history is cut.
    """
    verdict = judge_log(
        fs,
        directories,
        store_id=store_id,
        from_sequence=from_sequence,
        required_sequence=required_sequence,
        mode=mode,
    )
    return settle_log(fs, verdict)


def settle_log(fs: FileSystem, verdict: Verdict) -> RecoveredLog:
    """Make the verdict true on the disk. Durable on return: what is accepted can no longer be lost.

    Raises ResourceExhausted when there is no room for a copy of what is cut (nothing was cut then), EngineFailed when
    the disk refuses.
    """
    try:
        return _settle(fs, verdict)
    except OSError as error:
        if is_lack_of_space(error):
            raise ResourceExhausted(
                f"no space to keep a copy of what recovery cuts off the log: {error}",
                reason="NO_SPACE",
                hint="free some space on the disk of the log, then start again",
            ) from error
        raise EngineFailed(
            f"the log could not be made ready: {error}",
            hint="check the disk (dmesg, smartctl); if it is failing, restore the newest snapshot on another one",
        ) from error


def _settle(fs: FileSystem, verdict: Verdict) -> RecoveredLog:
    copies: list[str] = []
    last = verdict.kept[-1] if verdict.kept else None
    end = verdict.end
    if last is not None and end is not None and verdict.torn_bytes:
        whole = verdict.problem is not None
        copies.append(_keep_copy(fs, last.path, 0 if whole else end.offset, end.offset + verdict.torn_bytes))
    # The newest first, so that a crash leaves a log that still ends at the damaged place.
    for file in reversed(verdict.aside):
        copies.append(_move_aside(fs, file.path))
    if last is not None and end is not None:
        _fix_tail(fs, last.path, end, cut=verdict.torn_bytes > 0)
    _remove_unfinished(fs, verdict)
    return _recovered(fs, verdict, tuple(copies))


def _fix_tail(fs: FileSystem, path: str, end: ScanEnd, *, cut: bool) -> None:
    """Cut what is torn, and bring the accepted bytes that nothing proves durable to the disk once more."""
    file = fs.open(path)
    try:
        if cut:
            file.truncate(end.offset)
        offset = min(end.proven, end.offset)
        while offset < end.offset:
            piece = fs.read(path, offset, min(PIECE_BYTES, end.offset - offset))
            file.pwrite([piece], offset)
            offset += len(piece)
        file.sync()
    finally:
        file.close()


def _move_aside(fs: FileSystem, path: str) -> str:
    """Give a file a ``.broken`` name, with all that the page cache holds of it. Durable on return."""
    target = _free_name(fs, path + BROKEN_SUFFIX)
    file = fs.open(path)
    try:
        file.sync()
    finally:
        file.close()
    fs.rename(path, target)
    fs.sync_dir(parent_of(path))
    return target


def _keep_copy(fs: FileSystem, path: str, start: int, stop: int) -> str:
    """Copy bytes [start, stop) into a ``.broken`` file beside ``path``; durable on return. Returns its path."""
    base = f"{path}.{start}{BROKEN_SUFFIX}" if start else path + BROKEN_SUFFIX
    target = _free_name(fs, base)
    copy = fs.create(target)
    try:
        for offset in range(start, stop, PIECE_BYTES):
            copy.pwrite([fs.read(path, offset, min(PIECE_BYTES, stop - offset))], offset - start)
        copy.sync()
    except OSError:
        copy.close()
        fs.unlink(target)
        raise
    copy.close()
    fs.sync_dir(parent_of(target))
    return target


def _free_name(fs: FileSystem, base: str) -> str:
    """``base``, or ``base`` with the first number that is free: an earlier copy is never overwritten."""
    name, number = base, 1
    while fs.exists(name):
        name, number = f"{base}.{number}", number + 1
    return name


def _remove_unfinished(fs: FileSystem, verdict: Verdict) -> None:
    """Remove WAL segments that never got their name: nothing was ever written to them."""
    for directory in dict.fromkeys(verdict.directories):
        for name in fs.listdir(directory):
            if name.endswith(NEXT_SUFFIX):
                fs.unlink(posixpath.join(directory, name))


def _recovered(fs: FileSystem, verdict: Verdict, copies: tuple[str, ...]) -> RecoveredLog:
    end = verdict.end
    if not verdict.kept or end is None:
        return RecoveredLog((), None, Link(), False, False, False, 0, copies, verdict.problem)
    last = verdict.kept[-1]
    header = last.sound_header()
    link = end.link
    kept = [*verdict.kept[:-1], replace(last, size=fs.size(last.path))]
    files = infos_of(kept, last_sequence=link.sequence, last_timestamp_us=link.timestamp_us)
    return RecoveredLog(
        files=tuple(files),
        tail=Position(last.path, end.offset, link.sequence),
        link=link,
        closed=end.last_kind == RecordKind.CLOSED,
        marked=end.last_kind == RecordKind.MARKER,
        operations_in_last_file=has_operations(fs, last.path, header),
        cut_bytes=verdict.torn_bytes,
        copies=copies,
        problem=verdict.problem,
    )
