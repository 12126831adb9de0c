"""One file on its way here: held by one connection, and taken from it by the next that brings the same file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from ..errors import Aborted, Corruption, InvalidArgument
from ..format.checksum import crc32c
from ..storage.files import File
from ..storage.uploads import UploadRecord
from .disk_errors import disk_errors_of

SYNC_BYTES = 32 << 20
"""What a broken transfer may cost at most."""
LIFE_US = 24 * 3600 * 1_000_000
"""How long an upload waits for its next byte."""


class Owner(Protocol):
    """Who knows all uploads."""

    def note(self, record: UploadRecord) -> None:
        """Keep how far one has come. Durable on return."""

    def end(self, upload: Upload) -> None:
        """Nobody writes to it for now."""


class Upload:
    """One file on its way here, held by one connection. One thread; ``lose`` by any other."""

    def __init__(self, uploads: Owner, key: tuple[str, str], path: str, former: Upload | None) -> None:
        """``key``: what it is known by; ``path``: the final one, absolute; ``former``: whom it is taken from."""
        self._uploads = uploads
        self.key = key
        self.path = path
        self._former = former
        # Held while the file changes; guards _lost.
        self._lock = threading.Lock()
        self._lost = False
        # From ``open`` on.
        self.record: UploadRecord
        self._file: File
        self._written = 0

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._uploads.end(self)
        self._file.close()

    def open(self, record: UploadRecord, file: File) -> None:
        """Begin to write. Inside ``changing``."""
        self.record, self._file = record, file
        self._written = record.committed_bytes

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """While the block runs nobody takes the upload away. Raises Aborted where somebody has."""
        with self._lock:
            self.check_held()
            with refused_upload(self.path):
                yield

    def check_held(self) -> None:
        """Raise Aborted where somebody has taken the upload away."""
        if self._lost:
            raise Aborted(
                f"another connection goes on with the upload to {self.path}",
                reason="UPLOAD_TAKEN_OVER",
                hint="leave it to that one; two uploads of one file at a time make no sense",
            )

    def lose(self) -> None:
        """Somebody else goes on with it. Blocks for what is being written."""
        with self._lock:
            self._lost = True
        self.take_from_former()

    def take_from_former(self) -> None:
        """Whoever had it before has nothing to do with its file any more on return. Blocks for what he is writing."""
        former = self._former
        if former is not None:
            former.lose()
            self._former = None

    @property
    def part_path(self) -> str:
        """Where the bytes gather, absolute."""
        return self._file.path

    @property
    def committed_bytes(self) -> int:
        """Bytes from the start of the file that are on the disk for good."""
        return self.record.committed_bytes

    @property
    def expires_us(self) -> int:
        """When what is here is thrown away if nothing more comes."""
        return self.record.touched_us + LIFE_US

    def write(self, offset: int, data: bytes, crc: int | None, now_us: int) -> bool:
        """Take the next bytes; True when all so far are durable by now. Blocks for the disk.

        Raises InvalidArgument for bytes out of their place, Corruption where ``crc`` (CRC-32C) is given and not theirs.
        """
        end = offset + len(data)
        if offset != self._written or end > self.record.total_bytes:
            raise InvalidArgument(
                f"bytes {offset} to {end} came where {self._written} to {self.record.total_bytes} are due",
                field="chunk.offset",
                hint="send the file on from committed_bytes, in order",
            )
        if crc is not None and crc32c(data) != crc:
            raise Corruption(
                f"the CRC-32C of the bytes from {offset} on does not hold",
                path=self.part_path,
                offset=offset,
                reason="CHECKSUM_MISMATCH",
                hint="send the file again: it goes on from what is here",
            )
        with self.changing():
            self._file.pwrite([data], offset)
        self._written = end
        if end - self.committed_bytes < SYNC_BYTES and end < self.record.total_bytes:
            return False
        self.sync(now_us)
        return True

    def sync(self, now_us: int) -> None:
        """Make durable what was written, and keep how far that is. What a failure has lost has to come again."""
        written, self._written = self._written, self.committed_bytes
        if written == self.committed_bytes:
            return
        with self.changing():
            self._file.sync()
            # The kernel reports a lost write once: only now is it known that there was none.
            self._written = written
            self.record = replace(self.record, committed_bytes=written, touched_us=now_us)
            self._uploads.note(self.record)

    @property
    def complete(self) -> bool:
        """Whether all of it is here, durable."""
        return self.committed_bytes == self.record.total_bytes


def refused_upload(path: str) -> AbstractContextManager[None]:
    """What an error of the disk makes of the upload to ``path``."""
    return disk_errors_of(f"the upload to {path}")
