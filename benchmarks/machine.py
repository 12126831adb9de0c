"""The machine that the figures belong to, in words."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import workplace

PACKAGES = ("grpcio", "protobuf", "numpy")


def describe(root: Path) -> dict[str, str]:
    """Label → value, in the order to print."""
    mount = workplace.mount_of(root)
    return {
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
        "Memory": f"{_memory() / 1e9:.0f} GB",
        "Disk": f"{mount.device} ({_disk_model(mount.device)}), {mount.kind} on {mount.point}",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Packages": ", ".join(_versions(PACKAGES)),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk_model(device: str) -> str:
    block = Path("/sys/class/block") / Path(device).name
    model = block / "device" / "model"
    if model.exists():
        return model.read_text().strip()
    return "virtual disk" if (block / "device" / "driver").exists() else "model unknown"


def _versions(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"
