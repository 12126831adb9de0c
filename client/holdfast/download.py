"""Copying a snapshot's file from the daemon: resumed where it broke, published only when its SHA-256 holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from holdfast.connection import Connection
from holdfast.documents import Document
from holdfast.errors import Corruption, HoldfastError, InvalidArgument, OutOfRange, Unavailable
from holdfast.files import open_alone, publish, replaceable, size_of, sync_file

if TYPE_CHECKING:
    from holdfast.v1 import common_pb2, snapshot_pb2

_CHUNK = 1 << 20
ATTEMPTS = 7
"""Times that a transfer is begun without a byte of headway: some twelve seconds, in which a daemon may restart."""


def pause_after(failures: int) -> float:
    """Seconds before a transfer is taken up again, that a daemon may have restarted meanwhile."""
    return 0.1 * float(2**failures)


def destination(to: str | Path) -> Path:
    """Where a file is to go. Raises InvalidArgument for a directory, as a slash at its end says, that is not there."""
    path = Path(to)
    if str(to).endswith("/") and not path.is_dir():
        raise InvalidArgument(
            f"there is no directory {path}", reason="CANNOT_WRITE", hint="make it, or mount what belongs there"
        )
    return path


def download(
    connection: Connection, snapshot: str, directory: str, to: Path, on_bytes: Callable[[int, int], None] | None
) -> Document:
    """Fetch into ``to`` (a directory or a file's name). The bytes wait in ``NAME.part`` until they are all there."""
    described = _describe(connection, snapshot, directory)
    target = _target(to, described.path)
    part = target.with_name(target.name + ".part")
    transfer = _Transfer(connection, described, directory, on_bytes)
    try:
        with open_alone(part) as file:
            try:
                transfer.run(file, part)
                sync_file(file)
                # While nobody else can append to it: what is published is what was checked.
                _check(file, part, transfer.sha256, described.path)
                publish(part, target)
            finally:
                _remove_if_empty(file, part)
    except OSError as error:
        raise _cannot_write(part, error) from None
    return Document(
        snapshot_id=described.id,
        path=str(target.absolute()),
        size_bytes=target.stat().st_size,
        sha256=transfer.sha256,
        status="completed",
    )


def _target(to: Path, source: str) -> Path:
    target = to / _name_of(source) if to.is_dir() else to
    try:
        return replaceable(target)
    except OSError as error:
        raise _cannot_write(target, error) from None


def _name_of(source: str) -> str:
    """The name that the file has at the daemon, which must not be any name that a file of the user's may have."""
    name = Path(source).name
    if name.startswith(".") or not name.endswith((".snap", ".gz")):
        raise Corruption(
            f"the daemon named the file {name!r}, which is no name of a snapshot",
            reason="BAD_TRANSFER",
            hint="give the file a name with --to",
        )
    return name


def _cannot_write(path: Path, error: OSError) -> InvalidArgument:
    return InvalidArgument(f"cannot write {path}: {error.strerror}", reason="CANNOT_WRITE")


def _describe(connection: Connection, snapshot: str, directory: str) -> common_pb2.Snapshot:
    """Pin ``latest`` to an id before the first byte, so that a resumed transfer is of the same snapshot."""
    from holdfast.v1 import snapshot_pb2

    request = snapshot_pb2.GetSnapshotRequest(snapshot=snapshot, working_directory=directory)
    return connection.call(connection.snapshots.GetSnapshot, request).snapshot


class _Transfer:
    """One file on its way; ``sha256`` is the daemon's word on the whole of it, once the last message is there."""

    def __init__(
        self,
        connection: Connection,
        described: common_pb2.Snapshot,
        directory: str,
        on_bytes: Callable[[int, int], None] | None,
    ) -> None:
        self._connection = connection
        self._described = described
        self._directory = directory
        self._on_bytes = on_bytes
        self.sha256 = ""

    def run(self, file: BinaryIO, part: Path) -> None:
        """Append what is missing; a connection that breaks is taken up again as long as bytes arrive."""
        failures = 0
        while not self.sha256:
            before = size_of(file)
            try:
                self._attempt(file, before)
            except OutOfRange:
                if not before:
                    raise
                # What is there is longer than the file: it is of another one.
                file.truncate(0)
            except Unavailable as error:
                failures = 0 if size_of(file) > before else failures + 1
                if failures >= ATTEMPTS:
                    raise broken(error, str(part)) from None
                self._connection.pause(pause_after(failures))

    def _attempt(self, file: BinaryIO, offset: int) -> None:
        from holdfast.v1 import snapshot_pb2

        request = snapshot_pb2.DownloadSnapshotRequest(
            snapshot=self._described.path,
            working_directory=self._directory,
            read_offset=offset,
            if_match=self._described.sha256,
        )
        for message in self._connection.stream(self._connection.snapshots.DownloadSnapshot, request, patient=False):
            self._take(message, file, offset)
            offset += len(message.data)
        if not self.sha256:
            raise Unavailable("the daemon ended the transfer before it had sent everything", reason="BAD_TRANSFER")

    def _take(self, message: snapshot_pb2.DownloadSnapshotResponse, file: BinaryIO, offset: int) -> None:
        if message.data and message.offset != offset:
            raise Corruption(f"the daemon sent byte {message.offset} where {offset} was due", reason="BAD_TRANSFER")
        if offset + len(message.data) > message.total_bytes:
            problem = f"the daemon sent more than the {message.total_bytes} bytes that it named"
            raise Corruption(problem, reason="BAD_TRANSFER")
        file.write(message.data)
        self.sha256 = message.file_sha256 or self.sha256
        if self._on_bytes is not None:
            self._on_bytes(offset + len(message.data), message.total_bytes)


def _check(file: BinaryIO, part: Path, expected: str, source: str) -> None:
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    if digest.hexdigest() == expected:
        return
    part.unlink()
    raise Corruption(
        f"what arrived of {source} does not have the SHA-256 that the daemon named",
        reason="CHECKSUM_MISMATCH",
        hint="download it again; what arrived was removed",
        metadata={"expected": expected, "found": digest.hexdigest()},
    )


def _remove_if_empty(file: BinaryIO, part: Path) -> None:
    """Leave nothing of a transfer of which nothing came: there is nothing to go on from."""
    if not size_of(file):
        part.unlink(missing_ok=True)


def broken(error: Unavailable, there: str) -> HoldfastError:
    """The error for a transfer that made no headway any more. ``there``: what the next one goes on from."""
    return Unavailable(
        f"the transfer broke: {error.message}",
        reason=error.reason,
        hint=f"run the same command again once the daemon is back: it goes on from {there}",
        metadata=error.metadata,
    )
