"""What recovery hands to the engine: the store as it was found or made, and what had to be done for it."""

from __future__ import annotations

from dataclasses import dataclass

from ..storage.wal import Wal, WalFileInfo
from .apply import Applier
from .manifest_keeper import ManifestKeeper
from .requests import RequestTable


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    """What recovery did. ``cut_bytes``: torn tail removed; ``warnings``: for the operator's log.

    ``rebuilt``: collections of which a damaged part of the id index was made anew.
    """

    created: bool = False
    records: int = 0
    cut_bytes: int = 0
    copies: tuple[str, ...] = ()
    new_timeline: bool = False
    duration_ms: float = 0.0
    warnings: tuple[str, ...] = ()
    rebuilt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecoveredStore:
    """Everything that the engine is built from."""

    keeper: ManifestKeeper
    applier: Applier
    requests: RequestTable
    log: Wal | None
    report: RecoveryReport
    closed_files: tuple[WalFileInfo, ...] = ()
