"""Where a pruned archive of the log begins: said by the name of a file in it, before anything goes.

<wal name>.begins    the archive begins with this WAL segment: what lies in front of it was pruned

The newest counts, and whoever reads the archive takes no notice of what lies in front of it. So an archive is pruned in
one step, however many files have to be removed behind it, and in whatever order a power cut lets them go.
"""

from __future__ import annotations

import contextlib
import posixpath

from .files import FileSystem
from .log_copy import publish_part
from .names import beginning_name
from .objects import PART

_SAID = (
    b"This archive was pruned by holdfastd: it begins with the WAL segment in this file's name, and older ones that "
    b"lie here are not read. To read those that were put back here from elsewhere, remove this file.\n"
)


def publish_beginning(fs: FileSystem, directory: str, name: str) -> None:
    """Let the archive in ``directory`` begin with the WAL segment ``name``. Blocks; durable on return.

    Raises OSError; nothing is left then, except where the last step failed, the sync of the directory.
    """
    target = posixpath.join(directory, beginning_name(name))
    part = target + PART
    file = fs.create(part, len(_SAID))
    try:
        file.pwrite([_SAID], 0)
        file.sync()
        file.close()
    except OSError:
        with contextlib.suppress(OSError):
            fs.unlink(part)
        raise
    publish_part(fs, target)
