"""What systemd is told: ready, status, alive, stopping. Without systemd every call does nothing."""

from __future__ import annotations

import socket
from collections.abc import Mapping


class Notifier:
    """Sends to the socket named by NOTIFY_SOCKET. Never raises: systemd's absence is no reason to stop serving."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environment, pid)

    def ready(self) -> None:
        """Requests are served."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.sendto(message.encode(), self._address)
        except OSError:
            return


def _watchdog_seconds(environment: Mapping[str, str], pid: int) -> float | None:
    """How often systemd expects a sign of life of this process; None if it does not."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or environment.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(microseconds) / 1e6 or None
