"""The gRPC server: one pool, one table of routes, the limits, and the listeners."""

from __future__ import annotations

import ipaddress
import posixpath
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

from holdfast.v1 import collection_pb2, operation_pb2, snapshot_pb2, storage_pb2, vector_pb2, wal_pb2

from ..errors import FailedPrecondition, InvalidArgument, Unavailable
from ..storage.clock import Clock
from .admission import Admission, InFlight, Slots, WorkerPool
from .collections import CollectionService
from .draining import Draining
from .health import HealthService
from .operations import OperationService
from .requests import Callers, Paths
from .routes import Routes
from .snapshots import SnapshotService
from .storage import StorageService
from .upserts import UpsertStreams
from .vectors import VectorService
from .wal import WalService

if TYPE_CHECKING:
    from ..engine.engine import Engine

MAX_SOCKET_PATH_BYTES = 107
HEALTH_SLOTS = 16
HANDSHAKE_TIMEOUT_MS = 10_000
STOP_POLL_SECONDS = 0.02
_REPLY_MARGIN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server bears. Sizes in bytes; a connection is closed after so long without a call."""

    max_message_bytes: int = 64 << 20
    max_unary_calls: int = 64
    max_streams: int = 320
    max_connections: int = 1000
    idle_seconds: int = 3600


class RpcServer:
    """Serves one engine. Listeners are added before ``start``; gRPC's own threads do the rest."""

    def __init__(
        self,
        engine: Engine,
        *,
        clock: Clock,
        limits: Limits,
        allowed_paths: tuple[str, ...] = (),
        only: str | None = None,
    ) -> None:
        self._admission = Admission(
            Slots("short calls", limits.max_unary_calls),
            Slots("streams", limits.max_streams),
            Slots("health checks", HEALTH_SLOTS),
        )
        self._pool = WorkerPool(self._admission.workers)
        self._readers = ThreadPoolExecutor(limits.max_streams, thread_name_prefix="upsert-reader")
        self._draining = Draining()
        self.health = HealthService(lambda: engine.failure is None)
        self._server = grpc.server(
            self._pool, options=_options(limits), maximum_concurrent_rpcs=self._admission.workers
        )
        self.writes = InFlight(clock)
        paths = Paths(engine.status().data_dir, allowed_paths, engine.real_path)
        routes = Routes(self._pool, limits.max_message_bytes, self.writes)
        self._add_routes(routes, self._servicers(engine, clock, limits, paths, Callers(only)))
        self._server.add_generic_rpc_handlers([routes])

    def listen_unix(self, path: str) -> None:
        """Bind a Unix socket; its mode follows the caller's umask. Raises InvalidArgument or Unavailable."""
        if len(path.encode()) > MAX_SOCKET_PATH_BYTES or not posixpath.isabs(path):
            raise InvalidArgument(
                f"{path!r} cannot be a socket: its path must be absolute and have at most "
                f"{MAX_SOCKET_PATH_BYTES} bytes",
                field="socket",
                hint="give a shorter --socket, such as /run/holdfast/holdfast.sock",
            )
        self._bind(f"unix:{path}", f"the socket {path}")

    def listen_tcp(self, host: str, port: int) -> int:
        """Bind a TCP port of this machine's loopback; 0 picks a free one. Returns the port."""
        if not is_loopback(host):
            raise FailedPrecondition(
                f"{host} is reachable from other machines, and this daemon does not encrypt TCP yet",
                reason="TLS_REQUIRED",
                hint="listen on 127.0.0.1 or ::1, and reach it from elsewhere through an ssh tunnel",
            )
        shown = f"[{host}]" if ":" in host else host
        return self._bind(f"{shown}:{port}", f"the address {shown}:{port}")

    def start(self) -> None:
        """Accept calls."""
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, end endless streams, let running calls finish within the grace. Blocks."""
        self._draining.begin()
        self.health.stop()
        ended = self._server.stop(grace_seconds)
        while not ended.wait(STOP_POLL_SECONDS):
            # What is left then are watches of health, which end only when they are cancelled.
            if not self._admission.unary.in_use and not self._admission.streams.in_use:
                self._server.stop(0)
        self._pool.shutdown(wait=True)
        self._readers.shutdown(wait=True)

    def _servicers(
        self, engine: Engine, clock: Clock, limits: Limits, paths: Paths, callers: Callers
    ) -> list[tuple[FileDescriptor, object]]:
        """Each file of the API with what serves it."""
        upserts = UpsertStreams(engine.points, callers, self._readers, self._draining, self.writes)
        max_vectors_bytes = limits.max_message_bytes - _REPLY_MARGIN_BYTES
        return [
            (collection_pb2.DESCRIPTOR, CollectionService(engine, callers)),
            (vector_pb2.DESCRIPTOR, VectorService(engine, callers, upserts, max_vectors_bytes)),
            (storage_pb2.DESCRIPTOR, StorageService(engine, callers, clock)),
            (snapshot_pb2.DESCRIPTOR, SnapshotService(engine, callers, paths, clock, self._draining)),
            (wal_pb2.DESCRIPTOR, WalService(engine, callers, paths, clock, self._draining)),
            (operation_pb2.DESCRIPTOR, OperationService(engine.operations, callers, self._draining)),
        ]

    def _add_routes(self, routes: Routes, servicers: Iterable[tuple[FileDescriptor, object]]) -> None:
        slots = self._admission
        names = ["grpc.health.v1.Health", reflection.SERVICE_NAME]
        for file, servicer in servicers:
            for service in file.services_by_name.values():
                routes.add(service, servicer, unary=slots.unary, streams=slots.streams)
                names.append(service.full_name)
        mirror = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
        routes.add(mirror, reflection.ReflectionServicer(names), unary=slots.unary, streams=slots.streams)
        for name, handler in self.health.handlers().items():
            routes.add_handler(name, handler, slots.health)

    def _bind(self, address: str, shown: str) -> int:
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError:
            raise Unavailable(
                f"{shown} cannot be bound",
                reason="CANNOT_LISTEN",
                hint="another process may hold it, its directory may be missing, or access is not allowed",
            ) from None


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.max_message_bytes),
        ("grpc.max_send_message_length", limits.max_message_bytes),
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.max_concurrent_streams", limits.max_unary_calls + limits.max_streams + HEALTH_SLOTS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
        ("grpc.max_connection_idle_ms", limits.idle_seconds * 1000),
    ]
