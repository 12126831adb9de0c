"""An empty RPC over a Unix socket: grpcio's sync server in a process of its own, and clients that call it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc

from benchmarks import load

METHOD = "/benchmarks.Echo/Call"
WORKERS = 64
REPOSITORY = Path(__file__).resolve().parent.parent


@contextmanager
def server(socket: Path) -> Iterator[str]:
    """Starts the server process; yields its address."""
    command = [sys.executable, "-m", "benchmarks.echo", str(socket)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit("error: the echo server did not start; its own message is above")
        yield f"unix:{socket}"
    finally:
        process.terminate()
        process.wait()


def drive(address: str, clients: int, seconds: float) -> load.Load:
    """Each client has a channel and a connection of its own."""
    channels = [grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(clients)]
    try:
        return load.drive([_client(channel) for channel in channels], seconds)
    finally:
        for channel in channels:
            channel.close()


def _client(channel: grpc.Channel) -> Callable[[], bytes]:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
    return lambda: call(b"")


def _answer(request: bytes, context: grpc.ServicerContext) -> bytes:
    return b""


def _serve(socket: str) -> None:
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(_answer)
    service = grpc.method_handlers_generic_handler("benchmarks.Echo", {"Call": handler})
    listening = grpc.server(futures.ThreadPoolExecutor(WORKERS))
    listening.add_generic_rpc_handlers((service,))
    listening.add_insecure_port(f"unix:{socket}")
    listening.start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    _serve(sys.argv[1])
