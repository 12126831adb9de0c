"""What Linux tells about a process: bytes sent to the disk, anonymous memory."""

from __future__ import annotations

from pathlib import Path


def bytes_written(pid: int | str = "self") -> int:
    """Bytes that the process caused to be sent to the disk; 0 where the kernel does not count them."""
    return _field(Path(f"/proc/{pid}/io"), "write_bytes")


def anonymous_memory(pid: int | str = "self") -> int:
    """Resident memory, in bytes, that is not backed by a file and so cannot be dropped under pressure."""
    return _field(Path(f"/proc/{pid}/status"), "RssAnon") * 1024


def resident_memory(pid: int | str = "self") -> int:
    """Resident memory in bytes, mapped files included."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS") * 1024


def _field(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise LookupError(f"{path} has no {name}; this benchmark needs Linux 4.5 or newer")
