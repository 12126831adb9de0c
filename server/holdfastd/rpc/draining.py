"""Whether the server is on its way out: streams without an end of their own look here."""

from __future__ import annotations

import grpc

from ..errors import Unavailable


class Draining:
    """Set once, by whoever stops the server; read by any thread."""

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """From now on endless streams end."""
        self._begun = True

    def goes_on(self, context: grpc.ServicerContext) -> bool:
        """Whether a stream should go on; False when its client has gone. Raises Unavailable when the server stops."""
        self.check()
        return context.is_active()

    def check(self) -> None:
        """Raise Unavailable when the server stops."""
        if self._begun:
            raise Unavailable("the daemon is stopping", reason="STOPPING", hint="connect again when it is back")
