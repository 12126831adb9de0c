"""Verifying a snapshot with its chain, up a ladder of levels, and keeping what came of it as receipts.

Damage is a result, not an error: finding it is the work, and all of it is told. A link that is missing does not keep
the rest from being read. What the links of a chain add up to is proven at the highest level, by a restore that nobody
sees. The receipts of all files are written at the end, in one step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Corruption, FailedPrecondition, InvalidArgument
from ..format.snapshot import Member, SnapshotManifest, data_members
from ..format.subset import Subset
from ..format.verify_receipt import CHECKSUMS, FILES, LEVELS, MANIFEST, RESTORE, ROWS, VerifyReceipt
from ..storage.archive_reader import ArchiveReader
from ..storage.archive_survey import Finding, Survey
from ..storage.registry import SnapshotRecord
from .meter import Meter
from .operations import Work
from .room import Room
from .snapshot_advice import Adviser
from .snapshot_catalog import SnapshotCatalog
from .snapshot_chain import Chain, ChainFinder, Link, open_link
from .snapshot_context import SnapshotContext, disk_error
from .snapshot_drill import DigestCheck, check_room, drill
from .snapshot_info import SnapshotInfo
from .snapshot_parts import Parts
from .snapshot_receipts import make_receipt, sums_of

MAX_PROBLEMS = 100
"""As many as are told; more are counted."""
MAX_FINDINGS = 10_000
"""As many as are remembered of each file, to tell how bad it is."""


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What to verify. ``snapshot``: an id, ``latest`` or a path; ``level``: 0 to 4; ``subset``: None for all of it.

    ``skip_chain``: only this file; ``base_path``: a directory to look for the links in.
    """

    snapshot: str
    level: int = CHECKSUMS
    subset: Subset | None = None
    skip_chain: bool = False
    base_path: str | None = None

    def check(self) -> None:
        """Raise InvalidArgument for what makes no sense together."""
        if not MANIFEST <= self.level <= RESTORE:
            raise InvalidArgument(
                f"there is no level {self.level}",
                field="level",
                hint="; ".join(f"{number}: {name}" for number, name in enumerate(LEVELS)),
            )
        if self.subset is not None and self.level not in (CHECKSUMS, ROWS):
            raise InvalidArgument(
                f"a subset is of what is read at level {CHECKSUMS} or {ROWS}, and not at level {self.level}",
                field="subset",
                hint=f"leave --subset out, or verify with --level {CHECKSUMS} or {ROWS}",
            )
        if self.skip_chain and self.level == RESTORE:
            raise InvalidArgument(
                "a restore takes the whole chain",
                field="skip_chain",
                hint=f"leave --skip-chain out, or verify the file alone with --level {ROWS}",
            )


class Verification:
    """One verification; ``run`` is the whole of it."""

    def __init__(
        self,
        context: SnapshotContext,
        catalog: SnapshotCatalog,
        room: Room,
        adviser: Adviser,
        request: VerifyRequest,
        info: SnapshotInfo,
        work: Work,
    ) -> None:
        self._context = context
        self._catalog = catalog
        self._room = room
        self._adviser = adviser
        self._request = request
        self._info = info
        self._meter = Meter(work)
        self._finder = ChainFinder(context.fs, catalog, request.base_path)
        self._started_ns = context.clock.monotonic_ns()
        self._findings: list[Finding] = []
        self._remembered = MAX_FINDINGS
        self._count = 0
        self._hints: dict[int, str] = {}
        self._warnings: list[str] = []
        self._receipts: dict[str, VerifyReceipt] = {}
        self._checks: tuple[DigestCheck, ...] = ()
        self._kept = False
        self._files = self._bytes_read = self._rows = 0

    def run(self) -> dict[str, Any]:
        """Verify; returns the result document. Blocks; runs on an operation's thread."""
        try:
            with self._held() as links:
                self._verify(links)
                # While nobody may put another file in the place of one that was read.
                self._keep()
        except OSError as error:
            raise disk_error(error, "the snapshot cannot be read", self._info.path) from error
        return self._document(links)

    # What -----------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _held(self) -> Iterator[tuple[Link, ...]]:
        """The links that can be read, base first; what is wrong with the chain is found by that."""
        with contextlib.ExitStack() as held:
            try:
                wanted: set[Any] | None = set() if self._request.skip_chain else None
                links = held.enter_context(self._finder.hold(self._info, wanted)).links
            except (Corruption, FailedPrecondition) as error:
                links = self._alone(held, error)
            yield links

    def _alone(self, held: contextlib.ExitStack, problem: Corruption | FailedPrecondition) -> tuple[Link, ...]:
        """Without its chain, the file itself, as long as its manifest can be read."""
        path = problem.metadata.get("path", self._info.path)
        is_own = f"{path}:".startswith(f"{self._info.path}:")
        held.enter_context(self._catalog.in_use(self._info.path))
        try:
            archive = self._catalog.open(self._info)
        except Corruption as error:
            self._found(Finding(MANIFEST, error.path, error.problem, error.offset))
            self._damaged(self._info.path, error)
            return ()
        if not isinstance(problem, Corruption):
            self._hints[len(self._findings)] = problem.hint or ""
            self._found(Finding(MANIFEST, path, problem.message))
        elif not is_own or self._request.level < FILES:
            # Of the file itself the survey tells more.
            self._found(Finding(MANIFEST, path, problem.problem))
            self._damaged(path, problem)
        return (Link(archive.path, archive.manifest, archive.size),)

    def _damaged(self, path: str, problem: Corruption) -> None:
        """Let the registry know of a damaged file that is not surveyed."""
        known = self._catalog.path_in(path)
        if known:
            self._receipts[known] = self._receipt(known, sums_of(self._context.fs, known), 0, problem.message)

    # Verifying ------------------------------------------------------------------------------------------------------

    def _verify(self, links: tuple[Link, ...]) -> None:
        level, chain = self._request.level, Chain(links)
        if level == RESTORE and links:
            check_room(self._context, chain)
        self._meter.begin("verifying", self._total(links), sum(link.manifest.vectors for link in links))
        for link in links:
            self._verify_link(link)
        if level < RESTORE or not links:
            return
        if self._findings:
            self._warnings.append("no restore was tried, since what was found before would end it")
            return
        self._checks = drill(self._context, chain, self._meter, self._found)
        self._receipts = {link.path: self._drilled(link) for link in links}

    def _drilled(self, link: Link) -> VerifyReceipt:
        """A restore has read every link, and proven the last."""
        is_last = link.path == self._info.path
        known = self._receipts[link.path]
        problem = next((_told(each) for each in self._findings if each.path.startswith(link.path)), "")
        level = RESTORE if is_last or problem else ROWS
        return make_receipt(
            self._context,
            link.path,
            level=level,
            sums_sha256=known.sums_sha256,
            modified_ns=known.modified_ns,
            problem=problem,
        )

    def _verify_link(self, link: Link) -> None:
        fs, before = self._context.fs, len(self._findings)
        self._remembered = before + MAX_FINDINGS
        modified_ns, archive = fs.modified_ns(link.path), open_link(fs, link)
        if self._request.level < FILES:
            self._files += 1
            self._bytes_read += archive.manifest_bytes
            sums = sums_of(fs, link.path)
        else:
            sums = self._survey(archive, before)
        mine = self._findings[before:]
        self._warn_of_change(link, sums, modified_ns)
        problem = _told(mine[0]) if mine else ""
        self._receipts[link.path] = self._receipt(link.path, sums, modified_ns, problem, mine)

    def _survey(self, archive: ArchiveReader, before: int) -> str:
        """Walk through an archive; returns the SHA-256 of its sums."""
        level = min(self._request.level, ROWS)
        chosen = self._chosen(archive.manifest)
        with Parts(self._context, archive, level, self._found, self._advance) as parts:
            survey = Survey(self._context.fs, archive, level, chosen, self._found, self._meter.advance, parts)
            survey.run()
            if level >= CHECKSUMS and all(each.level > CHECKSUMS for each in self._findings[before:]):
                parts.compare_digests()
        self._files += survey.files
        self._bytes_read += survey.bytes_read
        return survey.sums_sha256

    def _advance(self, count: int, rows: int) -> None:
        self._rows += rows
        self._meter.advance(count, rows)

    def _chosen(self, manifest: SnapshotManifest) -> frozenset[int] | None:
        if self._request.subset is None:
            return None
        members = list(data_members(manifest))
        units = _units(members, self._request.level)
        chosen = self._request.subset.choose(
            [(members[unit[0]].name, sum(members[index].size for index in unit)) for unit in units]
        )
        return frozenset(index for number in chosen for index in units[number])

    def _total(self, links: Sequence[Link]) -> int:
        """Bytes that are going to be read of contents."""
        if self._request.level < CHECKSUMS:
            return 0
        total = 0
        for link in links:
            members = list(data_members(link.manifest))
            chosen = self._chosen(link.manifest)
            total += sum(m.size for index, m in enumerate(members) if chosen is None or index in chosen)
        return total

    def _found(self, finding: Finding) -> None:
        self._count += 1
        if len(self._findings) < self._remembered:
            self._findings.append(finding)

    def _warn_of_change(self, link: Link, sums: str, modified_ns: int) -> None:
        record = self._record_at(link.path)
        if record is not None and record.sha256 not in ("", sums) and sums:
            self._warnings.append(
                f"{link.path} is another archive than the one that was made under this id: its SHA256SUMS differ"
            )
        if self._context.fs.modified_ns(link.path) != modified_ns:
            self._warnings.append(f"{link.path} was written to while it was read: verify it again")

    # Receipts -------------------------------------------------------------------------------------------------------

    def _receipt(
        self, path: str, sums: str, modified_ns: int, problem: str, findings: Sequence[Finding] = ()
    ) -> VerifyReceipt:
        """Of a damaged file the level that it takes to find all that was found: where both tell, the lower one."""
        lowest: dict[str, int] = {}
        for each in findings:
            lowest[each.path] = min(each.level, lowest.get(each.path, RESTORE))
        level = max(lowest.values(), default=MANIFEST) if problem else self._request.level
        subset = self._request.subset
        return make_receipt(
            self._context,
            path,
            level=min(level, ROWS),
            sums_sha256=sums,
            modified_ns=modified_ns,
            subset="" if subset is None or problem else subset.text,
            problem=problem,
        )

    def _keep(self) -> None:
        """Write the receipts, durably and in one step; of files that the store does not know none is kept."""
        try:
            unknown = self._room.insist(lambda: self._catalog.note(self._receipts))
        except OSError as error:
            self._warnings.append(f"the receipt could not be written ({error.strerror}): lists do not show this result")
            return
        self._kept = not unknown
        for path, receipt in self._receipts.items():
            record = self._record_at(path)
            if receipt.valid and record is not None and record.damage:
                level = max((each.level for each in record.receipts if not each.valid), default=CHECKSUMS)
                self._warnings.append(
                    f"{record.id} stays damaged in lists: {record.damage}; only a verification of all of it at level "
                    f"{level} can take that back: holdfast storage snapshot verify {record.id} --level {level}"
                )

    def _record_at(self, path: str) -> SnapshotRecord | None:
        return self._catalog.record_at(path)

    # The result -----------------------------------------------------------------------------------------------------

    def _document(self, links: tuple[Link, ...]) -> dict[str, Any]:
        record, subset = self._info.record, self._request.subset
        elapsed_ms = (self._context.clock.monotonic_ns() - self._started_ns) // 1_000_000
        return {
            "valid": not self._findings,
            "level": self._request.level,
            "reached": self._reached(),
            "subset": "" if subset is None else subset.text,
            "seed": 0 if subset is None else subset.seed,
            "problems": self._problems(),
            "problem_count": self._count,
            "snapshot_id": record.id,
            "path": self._info.path,
            "chain": [link.manifest.id for link in links] or [record.id],
            "files": self._files,
            "vectors": sum(link.manifest.vectors for link in links) or record.vectors,
            "rows_checked": self._rows,
            "size_bytes": sum(link.size for link in links) or record.size_bytes,
            "bytes_read": self._bytes_read,
            "bytes_per_second": self._bytes_read * 1000 // max(1, elapsed_ms),
            "receipt_kept": self._kept,
            "digests": [_check_document(check) for check in self._checks],
            "first_sequence": links[0].manifest.base.sequence + 1 if links and links[0].manifest.base else 0,
            "last_sequence": record.sequence,
            "duration_ms": elapsed_ms,
            "status": "completed",
            "warnings": self._warnings,
        }

    def _reached(self) -> int:
        """The highest level at which nothing is wrong, with those below it; -1 for none."""
        return min((each.level - 1 for each in self._findings), default=self._request.level)

    def _problems(self) -> list[dict[str, Any]]:
        hints: dict[str, str] = {}
        told = []
        for number, each in enumerate(self._findings[:MAX_PROBLEMS]):
            path = self._catalog.path_in(each.path) or self._info.path
            if path not in hints:
                record = self._record_at(path) or self._info.record
                hints[path] = self._adviser.on_damage(record, path)
            told.append(
                {
                    "level": each.level,
                    "path": each.path,
                    "offset": each.offset,
                    "message": _told(each),
                    "hint": "; ".join(filter(None, (self._hints.get(number), hints[path]))),
                }
            )
        return told


def _units(members: Sequence[Member], level: int) -> list[tuple[int, ...]]:
    """What a subset chooses among: members where bytes are read, parts where rows are decoded; by their indexes."""
    if level < ROWS:
        return [(index,) for index in range(len(members))]
    units: dict[tuple[int, int], list[int]] = {}
    for index, member in enumerate(members):
        units.setdefault((member.collection, member.part), []).append(index)
    return [tuple(unit) for unit in units.values()]


def _told(finding: Finding) -> str:
    where = finding.path if finding.offset is None else f"{finding.path} at offset {finding.offset}"
    return f"{where}: {finding.message}"


def _check_document(check: DigestCheck) -> dict[str, Any]:
    return {
        "collection": check.collection,
        "vectors": check.count,
        "digest": check.digest.hex(),
        "expected_vectors": check.expected_count,
        "expected_digest": check.expected_digest.hex(),
        "equal": check.equal,
    }
