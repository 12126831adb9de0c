"""The composition root: the real files, clock and randomness, the engine, the server, and the life of the process."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import resource
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from .. import __version__, errors
from ..config import ServerConfig, split_address
from ..engine.engine import Engine
from ..engine.helpers import Helpers
from ..engine.settings import EngineConfig
from ..rpc.server import Limits, RpcServer
from ..storage import faults
from ..storage.clock import SystemClock, SystemRandomness
from ..storage.files import FileSystem
from ..storage.names import Layout
from ..storage.object_stores import ObjectStores
from ..storage.objects import ObjectFileSystem
from ..storage.osfiles import OsFileSystem
from ..storage.routing import RoutedFileSystem
from .logs import set_up_logging
from .notify import Notifier

EXIT_USAGE = 64
EXIT_DATA = 65
EXIT_UNAVAILABLE = 69
EXIT_SOFTWARE = 70
EXIT_DISK = 74
EXIT_LOCKED = 75
EXIT_CONFIG = 78

SWITCH_INTERVAL_SECONDS = 500e-6
"""A busy Python thread otherwise keeps the thread that has just synced the log waiting for 5 ms. Much shorter, and many
busy threads spend their time on taking turns."""
GC_THRESHOLDS = (50_000, 20, 50)
"""Batches make many short-lived objects and no cycles; the default of 700 collects in the middle of each."""
HELPERS = 6
"""Threads beside those that do long work, which each keep up to four of them busy."""
BEAT_SECONDS = 1.0
SOCKET_UMASK = 0o117
"""Sockets are made with 0777 & ~umask: 0660, the daemon's user and group."""
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger("holdfastd")


def run(config: ServerConfig, environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Blocks; call it on the main thread, once."""
    set_up_logging(config, environment)
    set_up_interpreter()
    allow_open_files()
    # Every thread inherits the mask, so that a signal stays pending until the main thread asks for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    notifier = Notifier(environment, os.getpid())
    try:
        _serve(config, notifier)
    except errors.HoldfastError as error:
        _log.critical(error.message, extra={"reason": error.reason, "hint": error.hint})
        return exit_code_of(error)
    except OSError as error:
        _log.critical("the operating system refused: %s", error)
        return EXIT_DISK
    except Exception:
        _log.critical("the daemon failed unexpectedly", exc_info=True)
        return EXIT_SOFTWARE
    return 0


def exit_code_of(error: errors.HoldfastError) -> int:
    """The exit code for an error that kept the daemon from starting, or stopped it."""
    if isinstance(error, errors.DataDirectoryLocked):
        return EXIT_LOCKED
    if isinstance(error, errors.Corruption | errors.UnsupportedFormat):
        return EXIT_DATA
    if isinstance(error, errors.InvalidArgument) or error.reason == "TLS_REQUIRED":
        return EXIT_CONFIG
    if isinstance(error, errors.Unavailable):
        return EXIT_UNAVAILABLE
    if isinstance(error, errors.EngineFailed | errors.ResourceExhausted) or error.reason == "DISK_ERROR":
        return EXIT_DISK
    return EXIT_DATA if isinstance(error, errors.FailedPrecondition) else EXIT_SOFTWARE


def _serve(config: ServerConfig, notifier: Notifier) -> None:
    notifier.status("recovering")
    with signals_end_the_process():
        tighten(config.data_dir)
        remembered = remember_faults(config.data_dir)
        stores = ObjectStores(os.environ)
        engine = open_engine(config, stores)
        if not remembered:
            remember_faults(config.data_dir)
    try:
        server = make_server(config, engine)
        engine.start()
        try:
            addresses = _listen(config, server)
            server.start()
            gc.collect()
            gc.freeze()
            _announce(config, engine, addresses)
            notifier.ready()
            notifier.status(f"serving {' and '.join(addresses)}")
            _live(engine, server, notifier)
        finally:
            notifier.stopping()
            stores.hurry()
            notifier.status("finishing running calls")
            server.stop(config.shutdown_grace)
    finally:
        notifier.status("syncing")
        engine.stop()
    _log.info("stopped", extra={"sequence": engine.sequence, "durable_sequence": engine.durable_sequence})


@contextlib.contextmanager
def signals_end_the_process() -> Iterator[None]:
    """Let SIGTERM and SIGINT end the process at once: what is interrupted here is taken up again at the next start."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def tighten(data_dir: str) -> None:
    """Take the data directory away from everybody but its owner, with a warning. A missing one is made so later."""
    try:
        found = Path(data_dir).stat().st_mode
    except FileNotFoundError:
        return
    mode = stat.S_IMODE(found)
    if stat.S_ISDIR(found) and mode & 0o077:  # what is no directory is refused later, and stays as it is
        Path(data_dir).chmod(mode & ~0o077)
        _log.warning("the data directory was open to others", extra={"path": data_dir, "mode": f"{mode:04o}"})


def remember_faults(data_dir: str) -> bool:
    """Have a fatal signal write its stacks into the data directory, for the next start to read; False without one."""
    try:
        faulthandler.enable(faults.open_for_last_words(Layout(data_dir)))
    except OSError:
        return False
    return True


def open_engine(config: ServerConfig, stores: ObjectStores) -> Engine:
    """Lock the data directory and recover it. Blocks; raises what ``Engine.open`` raises."""
    return Engine.open(
        EngineConfig(
            data_dir=config.data_dir,
            memtable_bytes=config.memtable_size,
            disk_reserve_bytes=config.disk_reserve,
            background_bytes_per_second=config.background_rate,
            snapshot_max_links=config.snapshot_max_links,
            snapshot_max_increment_percent=config.snapshot_max_increment_percent,
            recovery_point_objective_us=int(config.recovery_point_objective * 1_000_000),
            verify_within_us=int(config.verify_within * 1_000_000),
            host=socket.gethostname(),
            recovery=config.recovery,
            auto_compact=config.auto_compact,
            allowed_paths=config.allowed_paths,
            archive_path=config.archive_path,
            archive_interval_us=int(config.archive_interval * 1_000_000),
            archive_keep_within_us=int(config.archive_keep_within * 1_000_000),
            schedules=config.schedules,
        ),
        fs=open_files(stores),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        on_fatal=on_fatal,
    )


def open_files(stores: ObjectStores) -> FileSystem:
    """The machine's files, and the object stores. Opens nothing yet."""
    beside = Helpers(HELPERS)
    return RoutedFileSystem(OsFileSystem(beside), ObjectFileSystem(stores, beside))


def make_server(config: ServerConfig, engine: Engine) -> RpcServer:
    """The server without its listeners."""
    limits = Limits(
        max_message_bytes=config.max_message_size,
        max_unary_calls=config.max_unary_calls,
        max_streams=config.max_streams,
        max_connections=config.max_connections,
        idle_seconds=int(config.idle_timeout),
    )
    only = None if config.listen else "unix"
    return RpcServer(engine, clock=SystemClock(), limits=limits, allowed_paths=config.allowed_paths, only=only)


def on_fatal(error: BaseException) -> NoReturn:
    """The state in memory may differ from the log: nothing may be served from it any more (RULES 16)."""
    _log.critical("the process ends, because its state may differ from the log", exc_info=error)
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(EXIT_SOFTWARE)


def _listen(config: ServerConfig, server: RpcServer) -> list[str]:
    _check_socket_free(config.socket)
    before = os.umask(SOCKET_UMASK)
    try:
        server.listen_unix(config.socket)
    finally:
        os.umask(before)
    addresses = [f"unix://{config.socket}"]
    if config.listen:
        host, port = split_address(config.listen)
        port = server.listen_tcp(host, port)
        addresses.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return addresses


def _check_socket_free(path: str) -> None:
    """gRPC would take a socket away from whoever serves it now, and would replace any file."""
    try:
        kind = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise errors.InvalidArgument(
            f"{path} exists and is no socket", field="socket", hint="remove it, or give another --socket"
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return
    raise errors.Unavailable(
        f"another process serves {path}",
        reason="CANNOT_LISTEN",
        hint="stop it, or give this daemon another --socket",
    )


def _live(engine: Engine, server: RpcServer, notifier: Notifier) -> None:
    """Wait for a signal; meanwhile keep health up to date, and feed the watchdog as long as the log goes on."""
    patience = (notifier.watchdog_seconds or 0.0) / 2
    beat = min(BEAT_SECONDS, patience / 2 or BEAT_SECONDS)
    failed = stuck = False
    while True:
        received = signal.sigtimedwait(STOP_SIGNALS, beat)
        # Python hands out rubbish when the wait itself is interrupted, by a debugger or a profiler for instance.
        if received is not None and received.si_signo in STOP_SIGNALS:
            _log.info("stopping", extra={"signal": signal.Signals(received.si_signo).name})
            return
        server.health.refresh()
        failure = engine.failure
        if failure is not None and not failed:
            failed = True
            _log.critical(failure.message, extra={"reason": failure.reason, "hint": failure.hint})
            notifier.status("read-only: restart the daemon")
        waited = server.writes.oldest_seconds()
        if patience and waited > patience:
            if not stuck:
                _log.critical("the log does not go on", extra={"write_waits_seconds": round(waited, 1)})
            stuck = True
            continue
        stuck = False
        notifier.alive()


def _announce(config: ServerConfig, engine: Engine, addresses: list[str]) -> None:
    report = engine.recovery
    for warning in report.warnings:
        _log.warning(warning)
    _log.info(
        "serving",
        extra={
            "version": __version__,
            "store": str(engine.store_id),
            "timeline": engine.timeline,
            "data_dir": config.data_dir,
            "recovered_records": report.records,
            "cut_bytes": report.cut_bytes,
            "recovery_ms": round(report.duration_ms, 1),
            "sequence": engine.sequence,
            "listening": ",".join(addresses),
        },
    )


def allow_open_files() -> None:
    """Let the process have as many open files as its limit can be raised to: read without maps, each stays open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def set_up_interpreter() -> None:
    """Tune the interpreter for many threads that hand over often, and dump stacks on a signal that is fatal early."""
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    gc.set_threshold(*GC_THRESHOLDS)
    with contextlib.suppress(OSError, ValueError):
        faulthandler.enable()
