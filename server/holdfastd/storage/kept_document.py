"""A document that can be lost without losing data: a damaged one is moved aside, and its owner begins anew."""

from __future__ import annotations

from typing import TypeVar

from ..errors import UnsupportedFormat
from ..format.document import decode_document
from .files import FileSystem, parent_of

T = TypeVar("T")


def load_or_move_aside(fs: FileSystem, path: str, kind: str, of: type[T], supported: int) -> tuple[T | None, str]:
    """The ``of`` in the document of ``kind`` at ``path``, or None; and what became of a damaged one, or "".

    Blocks; durable on return. Raises OSError, and UnsupportedFormat as ``decode_document``.
    """
    try:
        return decode_document(kind, fs.read(path), of, supported), ""
    except FileNotFoundError:
        return None, ""
    except UnsupportedFormat as error:
        error.metadata.setdefault("path", path)
        raise
    except ValueError as error:
        aside = f"{path}.damaged"
        fs.rename(path, aside)
        fs.sync_dir(parent_of(path))
        return None, f"{path} was damaged ({error}) and moved to {aside}"
