"""Health per service, by the standard protocol: NOT_SERVING for what the engine cannot do any more."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2

ALWAYS = ("holdfast.v1.StorageService", "holdfast.v1.OperationService")
"""They answer in every state, so that an operator can find out what is wrong."""
WHILE_WRITABLE = (
    "",
    "holdfast.v1.CollectionService",
    "holdfast.v1.VectorService",
    "holdfast.v1.SnapshotService",
    "holdfast.v1.WalService",
)


class HealthService:
    """Health of every service. ``writable``: asked at each check; ``refresh`` tells those who watch."""

    def __init__(self, writable: Callable[[], bool]) -> None:
        self._writable = writable
        self._servicer = health.HealthServicer(experimental_non_blocking=True)
        self._shown: bool | None = None
        self._stopping = False
        for name in ALWAYS:
            self._servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        self.refresh()

    def refresh(self) -> None:
        """Publish a change of state. Cheap while there is none; any thread."""
        serving = self._writable()
        if serving is self._shown or self._stopping:
            return
        self._shown = serving
        response = health_pb2.HealthCheckResponse
        for name in WHILE_WRITABLE:
            self._servicer.set(name, response.SERVING if serving else response.NOT_SERVING)

    def stop(self) -> None:
        """Nothing is served from now on."""
        self._stopping = True
        self._servicer.enter_graceful_shutdown()

    def check(self, raw: bytes, context: grpc.ServicerContext) -> health_pb2.HealthCheckResponse:
        """Answer one check."""
        self.refresh()
        response: health_pb2.HealthCheckResponse = self._servicer.Check(
            health_pb2.HealthCheckRequest.FromString(raw), context
        )
        return response

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:  # type: ignore[type-arg]
        """The methods of grpc.health.v1.Health. A watch holds no thread."""
        serialize = health_pb2.HealthCheckResponse.SerializeToString
        parse = health_pb2.HealthCheckRequest.FromString
        return {
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(self.check, None, serialize),
            "/grpc.health.v1.Health/Watch": grpc.unary_stream_rpc_method_handler(
                self._servicer.Watch, parse, serialize
            ),
        }
