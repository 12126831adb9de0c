"""The daemon's settings: flags before ``HOLDFASTD_*`` variables before the TOML file before defaults.

One table describes every setting: its name in the file, and so its flag and variable, its default, what is allowed and
what it is for. A wrong value is refused with the place where it was given, and so is a key that nobody knows.
"""

from __future__ import annotations

import argparse
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import msgspec

from . import __version__
from .engine.schedule import Schedule
from .errors import InvalidArgument
from .format.urls import is_object_url, place_of, repeatable
from .schedule_tables import SCHEDULE, schedules_of

ENVIRONMENT_PREFIX = "HOLDFASTD_"
_SIZE_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATH_COLON = re.compile(r":(?!//)")
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")

EXAMPLES = """\
examples:
  holdfastd                                         ./holdfast-data, and a socket inside it
  holdfastd --data-dir /var/lib/holdfast --socket /run/holdfast/holdfast.sock
  holdfastd --listen 127.0.0.1:7075                 TCP as well, on this machine alone
  holdfastd --config /etc/holdfast/holdfastd.toml   settings from a file
  holdfastd dump wal ./holdfast-data/wal            look into files without a daemon

Every flag is also a variable, such as HOLDFASTD_DATA_DIR for --data-dir, and a key of the file, such as data_dir.
Schedules of snapshots stand in the file alone, as [[schedule]] tables.
Exit codes: 0 stopped in order, 64 wrong command line, 78 wrong settings, 75 the data directory is in use, 65 damaged or
foreign data, 69 an address cannot be bound, 74 the disk failed, 70 a fault of the daemon."""


class ConfigError(Exception):
    """A setting that cannot be used; the text says which, where it was given, and what is allowed."""


class UsageError(ConfigError):
    """A command line that makes no sense."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that the daemon is told. Paths are absolute; sizes in bytes, durations in seconds."""

    data_dir: str
    socket: str
    listen: str | None
    log_level: str
    log_format: str
    auto_compact: bool
    recovery: str
    memtable_size: int
    disk_reserve: int
    background_rate: int
    snapshot_max_links: int
    snapshot_max_increment_percent: int
    recovery_point_objective: float
    verify_within: float
    max_message_size: int
    max_streams: int
    max_unary_calls: int
    max_connections: int
    idle_timeout: float
    shutdown_grace: float
    allowed_paths: tuple[str, ...]
    archive_path: str = ""
    archive_interval: float = 60.0
    archive_keep_within: float = 0.0
    schedules: tuple[Schedule, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. ``parse`` takes the text of a flag or variable, or the value of a key; ValueError says what is
    allowed."""

    name: str
    metavar: str
    default: str
    parse: Callable[[object], Any]
    help: str

    @property
    def flag(self) -> str:
        """Its flag, such as ``--data-dir``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def variable(self) -> str:
        """Its environment variable, such as ``HOLDFASTD_DATA_DIR``."""
        return f"{ENVIRONMENT_PREFIX}{self.name.upper()}"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def _path(value: object) -> str:
    text = _text(value)
    if not text or "\0" in text or "://" in text:
        raise ValueError("a path of this machine")
    return text


def _place(value: object) -> str:
    """A directory of this machine or an object store's URL; "" for none."""
    text = _text(value)
    try:
        place = place_of(text) if text else ""
    except InvalidArgument as error:
        raise ValueError(f"a directory, or the URL of an object store ({error.message})") from None
    if "\0" in place or ("://" in place and not is_object_url(place)):
        raise ValueError("a directory, or the URL of an object store")
    return place


def _paths(value: object) -> tuple[str, ...]:
    """A list in the file; elsewhere separated by colons, but for those of URLs."""
    items = value if isinstance(value, list) else [part for part in _PATH_COLON.split(_text(value)) if part]
    return tuple(map(_allowed, items))


def _allowed(item: object) -> str:
    try:
        place = place_of(_text(item))
    except InvalidArgument as error:
        raise ValueError(f"absolute paths, and URLs of object stores ({error.message})") from None
    if not posixpath.isabs(place) and not is_object_url(place):
        raise ValueError("absolute paths, and URLs of object stores")
    return place if is_object_url(place) else posixpath.normpath(place)


def _address(value: object) -> str | None:
    text = _text(value)
    if not text:
        return None
    split_address(text)
    return text


def _choice(*allowed: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if value not in allowed:
            raise ValueError(", ".join(allowed[:-1]) + f" or {allowed[-1]}")
        return str(value)

    return parse


def _switch(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value not in ("on", "off"):
        raise ValueError("on or off")
    return value == "on"


def _count(least: int, most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"a number from {least} to {most}")
        return int(text)

    return parse


def _amount(value: object, units: Mapping[str, float]) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    match = _AMOUNT.fullmatch(str(value).strip())
    unit = None if match is None else units.get(match[2])
    return None if match is None or unit is None else float(match[1]) * unit


def _size(least: str, most: str) -> Callable[[object], int]:
    smallest, largest = _amount(least, _SIZE_UNITS) or 0, _amount(most, _SIZE_UNITS) or 0

    def parse(value: object) -> int:
        text = value.upper().replace("IB", "B") if isinstance(value, str) else value
        size = _amount(text, _SIZE_UNITS)
        if size is None or not smallest <= size <= largest or size != int(size):
            raise ValueError(f"a size from {least} to {most}, such as 64MB")
        return int(size)

    return parse


def _duration(least: str, most: str) -> Callable[[object], float]:
    shortest, longest = _amount(least, _DURATION_UNITS) or 0, _amount(most, _DURATION_UNITS) or 0

    def parse(value: object) -> float:
        seconds = _amount(value, _DURATION_UNITS)
        if seconds is None or not shortest <= seconds <= longest:
            raise ValueError(f"a duration from {least} to {most}, such as 30s")
        return seconds

    return parse


OPTIONS: Sequence[Option] = (
    Option("data_dir", "DIR", "./holdfast-data", _path, "where the store lives"),
    Option("socket", "PATH", "", lambda value: _text(value), "Unix socket to serve (default: DIR/holdfast.sock)"),
    Option("listen", "HOST:PORT", "", _address, "TCP address to serve as well; loopback only (default: none)"),
    Option("log_level", "LEVEL", "info", _choice("debug", "info", "warning", "error"), "debug, info, warning or error"),
    Option("log_format", "FORMAT", "line", _choice("line", "json"), "line (key=value) or json"),
    Option("auto_compact", "on|off", "on", _switch, "drop dead rows and merge small segments in the background"),
    Option(
        "recovery",
        "HOW",
        "strict",
        _choice("strict", "point-in-time"),
        "what to do with a damaged log: strict (refuse to start) or point-in-time (keep a copy, cut it there)",
    ),
    Option("memtable_size", "SIZE", "128MB", _size("1MB", "16GB"), "a collection is written to segments beyond that"),
    Option(
        "background_rate",
        "SIZE",
        "300MB",
        _size("0", "1TB"),
        "what checkpoints and restores write a second while clients write; backups write a fifth of it",
    ),
    Option("disk_reserve", "SIZE", "16MB", _size("0", "16GB"), "space kept free for deletes when the disk is full"),
    Option(
        "snapshot_max_links",
        "N",
        "100",
        _count(0, 10_000),
        "links of a chain, after which an incremental snapshot is a full one; 0: no limit",
    ),
    Option(
        "snapshot_max_increment_percent",
        "N",
        "100",
        _count(0, 10_000),
        "the same once increments take so much of the size of their full one, and 64MB; 0: no limit",
    ),
    Option(
        "recovery_point_objective",
        "TIME",
        "0s",
        _duration("0s", "366d"),
        "an alarm once what was written is in no snapshot for so long; 0: none",
    ),
    Option(
        "verify_within",
        "TIME",
        "0s",
        _duration("0s", "366d"),
        "an alarm once no snapshot was verified for so long; 0: none",
    ),
    Option(
        "archive_path",
        "DIR|URL",
        "",
        _place,
        "where the log is archived while it is written: a directory, or an object store's URL (default: nowhere)",
    ),
    Option(
        "archive_interval",
        "TIME",
        "60s",
        _duration("1s", "1d"),
        "how often what is durable by then goes there; a power cut and a lost disk cost no more than that",
    ),
    Option(
        "archive_keep_within",
        "TIME",
        "0s",
        _duration("0s", "36600d"),
        "where a schedule prunes its snapshots, the archive is pruned as well, of what is older; 0: by command alone",
    ),
    Option("max_message_size", "SIZE", "64MB", _size("1MB", "1GB"), "largest request or reply"),
    Option("max_streams", "N", "320", _count(1, 10_000), "streams open at a time"),
    Option("max_unary_calls", "N", "64", _count(1, 1_000), "other calls at a time"),
    Option("max_connections", "N", "1000", _count(1, 100_000), "connections at a time"),
    Option("idle_timeout", "TIME", "1h", _duration("10s", "7d"), "close a connection after so long without a call"),
    Option("shutdown_grace", "TIME", "30s", _duration("0s", "1h"), "time for running calls to finish on SIGTERM"),
    Option("allowed_paths", "DIR:DIR", "", _paths, "directories and URLs that paths sent over TCP may lead into"),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def make_parser() -> argparse.ArgumentParser:
    """The command line of the daemon."""
    parser = _Parser(
        prog="holdfastd",
        description="A durable vector store, served over gRPC.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"holdfastd {__version__}")
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    for option in OPTIONS:
        shown = f" (default: {option.default})" if option.default else ""
        parser.add_argument(option.flag, metavar=option.metavar, help=option.help.replace("%", "%%") + shown)
    return parser


def load(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    read: Callable[[str], bytes],
    working_directory: str,
) -> ServerConfig:
    """The settings. ``read`` gives a file's bytes. Raises ConfigError; SystemExit for --help and --version."""
    flags = vars(make_parser().parse_args(arguments))
    file = flags.pop("config") or environment.get(f"{ENVIRONMENT_PREFIX}CONFIG")
    keys = _read_file(posixpath.join(working_directory, file), read) if file else {}
    _check_known(environment, keys, file)
    values = {option.name: _value(option, flags, environment, keys, file) for option in OPTIONS}
    data_dir = _absolute(values["data_dir"], working_directory)
    socket = values["socket"] or posixpath.join(data_dir, "holdfast.sock")
    socket = _absolute(socket.removeprefix("unix://").removeprefix("unix:"), working_directory)
    try:
        schedules = schedules_of(keys.get(SCHEDULE, []))
    except ValueError as error:
        raise ConfigError(f"{file}: {error}") from None
    archive = values["archive_path"]
    if archive and not is_object_url(archive):
        archive = _absolute(archive, working_directory)
    absolute = {"data_dir": data_dir, "socket": socket, "archive_path": archive}
    return ServerConfig(**{**values, **absolute}, schedules=schedules)


def split_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as host and port. Raises ValueError."""
    host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in host and bare == host) or not re.fullmatch(r"\d{1,5}", port, re.ASCII) or int(port) > 65535:
        raise ValueError("an address such as 127.0.0.1:7075 or [::1]:7075")
    return bare, int(port)


def _value(
    option: Option,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    keys: Mapping[str, object],
    file: str | None,
) -> Any:
    value: object
    if flags[option.name] is not None:
        value, source = flags[option.name], option.flag
    elif environment.get(option.variable):
        value, source = environment[option.variable], option.variable
    elif option.name in keys:
        value, source = keys[option.name], f"{file}: {option.name}"
    else:
        value, source = option.default, "default"
    try:
        return option.parse(value)
    except (ValueError, InvalidArgument) as error:
        raise ConfigError(f"{source} is {repeatable(value)}, it must be {error}") from None


def _read_file(path: str, read: Callable[[str], bytes]) -> dict[str, object]:
    try:
        return msgspec.toml.decode(read(path), type=dict[str, object])
    except OSError as error:
        raise ConfigError(f"--config {path} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} is no valid TOML: {error}") from None


def _check_known(environment: Mapping[str, str], keys: Mapping[str, object], file: str | None) -> None:
    names = {SCHEDULE, *(option.name for option in OPTIONS)}
    for key in keys:
        if key not in names:
            raise ConfigError(f"{file}: the key {key!r} is not known; known are {', '.join(sorted(names))}")
    variables = {f"{ENVIRONMENT_PREFIX}CONFIG", *(option.variable for option in OPTIONS)}
    for name in environment:
        if name.startswith(ENVIRONMENT_PREFIX) and name not in variables:
            raise ConfigError(f"the variable {name} is not known; `holdfastd --help` lists the settings")


def _absolute(path: str, working_directory: str) -> str:
    return posixpath.normpath(posixpath.join(working_directory, path))
