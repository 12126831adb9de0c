"""Reading and replacing the manifest: the one file that says what the store consists of.

The one before is kept as ``MANIFEST.prev.json``, for the day on which the current one is damaged, and for a power cut
between the two renames of a commit.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from ..errors import Corruption, EngineFailed, HoldfastError, ResourceExhausted, UnsupportedFormat
from ..format.manifest import Manifest, decode_manifest, encode_manifest
from .files import FileSystem, write_temporary
from .names import Layout

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class LoadedManifest:
    """A manifest and where it came from.

    ``problem`` is None when it is the current one. Otherwise it says why the previous one had to do: the caller must
    check that the log still reaches back to ``manifest.log_start_required``.
    """

    manifest: Manifest
    path: str
    problem: str | None = None


def load(fs: FileSystem, layout: Layout) -> LoadedManifest | None:
    """The current manifest, or the previous one when the current is missing or damaged; None in an empty directory.

    Blocks. Raises ``Corruption`` when there is one but none can be read, ``UnsupportedFormat`` when one is intact but
    newer than this daemon.
    """
    current, previous = _read(fs, layout.manifest), _read(fs, layout.manifest_prev)
    if isinstance(current, Manifest):
        return LoadedManifest(current, layout.manifest)
    if isinstance(previous, Manifest):
        return LoadedManifest(previous, layout.manifest_prev, f"{layout.manifest}: {current or 'missing'}")
    if current is None and previous is None:
        return None
    raise Corruption(
        f"{current or 'missing'}, and the previous manifest is no help: {previous or 'missing'}",
        path=layout.manifest,
        hint=f"put back a good copy of {layout.manifest}, or restore from a snapshot into a new data directory",
    )


def commit(fs: FileSystem, layout: Layout, manifest: Manifest) -> None:
    """Replace the manifest. Blocks; durable on return. Callers hold the one lock that orders manifest writers.

    Raises ``ResourceExhausted`` when there is no space: the old one still stands. Raises ``EngineFailed`` when it is
    unknown which manifest a restart would find. Raises ValueError when the generation does not advance.
    """
    try:
        _undo_interrupted(fs, layout)
        current = _read(fs, layout.manifest)
        if isinstance(current, Manifest) and current.generation >= manifest.generation:
            raise ValueError(f"manifest generation {manifest.generation} after {current.generation}")
        temporary = write_temporary(fs, layout.manifest, encode_manifest(manifest))
        # Whoever finds the current manifest renamed away must find the new one beside it, or know that it is damage.
        fs.sync_dir(layout.root)
    except OSError as error:
        raise _refusal(layout, error) from error
    try:
        # A damaged manifest must not push out the previous one, which is the only good one then.
        if isinstance(current, Manifest):
            fs.rename(layout.manifest, layout.manifest_prev)
        fs.rename(temporary, layout.manifest)
        fs.sync_dir(layout.root)
    except OSError as error:
        raise _failure(layout, error) from error


def _undo_interrupted(fs: FileSystem, layout: Layout) -> None:
    """Give the previous manifest its name back where a commit was cut between its renames.

    The new one, which waits for its name, is what tells this from damage; it may go only after that.
    """
    if not fs.exists(layout.manifest) and fs.exists(layout.manifest_prev):
        fs.rename(layout.manifest_prev, layout.manifest)
        fs.sync_dir(layout.root)


def _read(fs: FileSystem, path: str) -> Manifest | str | None:
    """The manifest in ``path``, or what is wrong with it, or None when there is no such file."""
    try:
        return decode_manifest(fs.read(path))
    except FileNotFoundError:
        return None
    except UnsupportedFormat as error:
        error.metadata.setdefault("path", path)
        raise
    except (ValueError, OSError) as error:
        return str(error)


def _refusal(layout: Layout, error: OSError) -> HoldfastError:
    """What a failure before the first rename means: without space nothing happened, anything else is final."""
    if error.errno not in NO_SPACE:
        return _failure(layout, error)
    return ResourceExhausted(
        f"no space to write a new manifest: {error.strerror}",
        reason="DISK_FULL",
        hint=f"free space on the file system of {layout.root}, for example by deleting snapshots",
        path=layout.manifest,
    )


def _failure(layout: Layout, error: OSError) -> EngineFailed:
    return EngineFailed(
        f"the manifest {layout.manifest} could not be replaced: {error.strerror}",
        hint="look for disk errors with dmesg, then restart holdfastd",
        path=layout.manifest,
        errno=error.errno,
    )
