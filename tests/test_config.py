"""Settings: where they come from, what is allowed, and how a wrong one is refused."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from holdfastd.config import OPTIONS, ConfigError, ServerConfig, UsageError, load, make_parser, split_address
from holdfastd.daemon import open_engine
from holdfastd.engine.engine import Engine
from holdfastd.engine.settings import EngineConfig
from holdfastd.storage.object_stores import ObjectStores

FILES: dict[str, bytes] = {}


def loaded(*arguments: str, env: Mapping[str, str] | None = None, file: str | None = None) -> ServerConfig:
    def read(path: str) -> bytes:
        assert path == "/srv/h.toml"
        if file is None:
            raise FileNotFoundError(2, "No such file or directory", path)
        return file.encode()

    given = [*arguments, *(["--config", "h.toml"] if file is not None else [])]
    return load(given, env or {}, read=read, working_directory="/srv")


def refusal(*arguments: str, env: Mapping[str, str] | None = None, file: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(*arguments, env=env, file=file)
    return str(caught.value)


def test_by_hand_everything_lies_in_one_directory() -> None:
    config = loaded()
    assert config.data_dir == "/srv/holdfast-data"
    assert config.socket == "/srv/holdfast-data/holdfast.sock"
    assert (config.listen, config.recovery, config.auto_compact) == (None, "strict", True)


def test_flags_win_over_variables_over_the_file_over_defaults() -> None:
    env = {"HOLDFASTD_MAX_STREAMS": "11", "HOLDFASTD_LOG_LEVEL": "debug"}
    config = loaded(
        "--max-streams", "22", env=env, file='max_streams = 33\nlog_level = "error"\nrecovery = "point-in-time"'
    )
    assert (config.max_streams, config.log_level, config.recovery, config.log_format) == (
        22,
        "debug",
        "point-in-time",
        "line",
    )


def test_an_empty_variable_is_none() -> None:
    assert loaded(env={"HOLDFASTD_LISTEN": "", "HOLDFASTD_DATA_DIR": ""}).data_dir == "/srv/holdfast-data"


def test_the_file_may_be_named_by_a_variable() -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load([], {"HOLDFASTD_CONFIG": "h.toml"}, read=missing, working_directory="/srv")


def missing(path: str) -> bytes:
    raise FileNotFoundError(2, "No such file or directory", path)


@pytest.mark.parametrize(
    ("text", "value"),
    [("64MB", 64 << 20), ("64MiB", 64 << 20), ("67108864", 64 << 20), ("1.5GB", 3 << 29), ("2 gb", 2 << 30)],
)
def test_sizes_are_binary(text: str, value: int) -> None:
    assert loaded("--memtable-size", text).memtable_size == value


def test_the_file_may_hold_numbers_switches_and_lists() -> None:
    config = loaded(
        file='memtable_size = 2097152\nauto_compact = false\nidle_timeout = "5m"\nallowed_paths = ["/backup/"]'
    )
    assert (config.memtable_size, config.auto_compact, config.idle_timeout) == (2 << 20, False, 300.0)
    assert config.allowed_paths == ("/backup",)


def test_allowed_paths_may_be_urls_and_a_data_directory_may_not() -> None:
    given = "/a/:s3://bucket/shop/:file:///b:gs://other"
    assert loaded("--allowed-paths", given).allowed_paths == ("/a", "s3://bucket/shop", "/b", "gs://other")
    for wrong in ("/a:b", "s3://key:word@bucket/x"):
        assert "absolute paths, and URLs of object stores" in refusal("--allowed-paths", wrong)
    assert "a path of this machine" in refusal("--data-dir", "s3://bucket/x")


def test_a_password_in_an_url_is_not_repeated() -> None:
    for flag in ("--allowed-paths", "--data-dir", "--log-level"):
        for wrong in ("s3://key:pa55word@bucket/x", "https://host/x?sig=pa55word"):
            said = refusal(flag, wrong)
            assert flag in said
            assert "pa55word" not in said


def test_paths_are_taken_against_the_working_directory() -> None:
    config = loaded("--data-dir", "../store", "--socket", "unix:///run/h.sock")
    assert (config.data_dir, config.socket) == ("/store", "/run/h.sock")


@pytest.mark.parametrize(
    ("arguments", "env", "file", "parts"),
    [
        (["--max-streams", "0"], {}, None, ["--max-streams", "'0'", "1 to 10000"]),
        ([], {"HOLDFASTD_MEMTABLE_SIZE": "5"}, None, ["HOLDFASTD_MEMTABLE_SIZE", "'5'", "1MB to 16GB"]),
        ([], {}, "auto_compact = 3", ["h.toml: auto_compact", "3", "on or off"]),
        ([], {}, "max_streams = true", ["h.toml: max_streams", "True", "number"]),
        ([], {}, 'recovery = "hope"', ["recovery", "'hope'", "strict or point-in-time"]),
        ([], {}, "no_such_key = 1", ["h.toml", "'no_such_key'", "known are"]),
        ([], {"HOLDFASTD_NO_SUCH": "1"}, None, ["HOLDFASTD_NO_SUCH"]),
        ([], {}, "= nonsense", ["h.toml", "no valid TOML"]),
        (["--listen", "nonsense"], {}, None, ["--listen", "127.0.0.1:7075"]),
        (["--allowed-paths", "relative"], {}, None, ["--allowed-paths", "absolute"]),
        (["--idle-timeout", "soon"], {}, None, ["--idle-timeout", "10s to 7d"]),
        (["--data-dir", ""], {}, None, ["--data-dir", "a path"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(
    arguments: list[str], env: dict[str, str], file: str | None, parts: list[str]
) -> None:
    text = refusal(*arguments, env=env, file=file)
    for part in parts:
        assert part in text


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--data"], ["stray"], ["--socket"]])
def test_a_senseless_command_line(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        loaded(*arguments)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:7075", ("127.0.0.1", 7075)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert split_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", "host", ":80", "::1:80", "host:", "host:65536", "host:-1", "host:x", "[]:80"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        split_address(text)


def test_the_help_names_every_setting_and_shows_examples() -> None:
    text = make_parser().format_help()
    for option in OPTIONS:
        assert option.flag in text
    assert "examples:" in text
    assert "holdfastd dump wal" in text


def test_version_and_help_leave_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--version", "--help"):
        with pytest.raises(SystemExit) as caught:
            loaded(flag)
        assert caught.value.code == 0
    assert "holdfastd 0." in capsys.readouterr().out


def test_every_default_is_allowed() -> None:
    for option in OPTIONS:
        option.parse(option.default)


def test_the_engine_is_told_when_chains_end(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[EngineConfig] = []
    monkeypatch.setattr(Engine, "open", lambda config, **_: told.append(config))
    for arguments in ((), ("--snapshot-max-links", "7", "--snapshot-max-increment-percent", "0")):
        open_engine(loaded(*arguments), ObjectStores({}))
    assert [(each.snapshot_max_links, each.snapshot_max_increment_percent) for each in told] == [(100, 100), (7, 0)]
    assert "a number from 0 to 10000" in refusal("--snapshot-max-links", "-1")


def test_the_engine_is_told_what_is_promised_of_backups(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[EngineConfig] = []
    monkeypatch.setattr(Engine, "open", lambda config, **_: told.append(config))
    for arguments in ((), ("--recovery-point-objective", "24h", "--verify-within", "7d")):
        open_engine(loaded(*arguments), ObjectStores({}))
    promised = [(each.recovery_point_objective_us, each.verify_within_us) for each in told]
    assert promised == [(0, 0), (24 * 3_600_000_000, 7 * 86_400_000_000)], "off by default"
    assert all(each.host for each in told), "receipts say on which machine they were made"
    assert "a duration from 0s to 366d" in refusal("--verify-within", "400d")
    assert "a duration from 0s to 366d" in refusal("--recovery-point-objective", "often")


def test_the_archive_of_the_log_may_be_a_directory_or_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[EngineConfig] = []
    monkeypatch.setattr(Engine, "open", lambda config, **_: told.append(config))
    for arguments in (
        (),
        ("--archive-path", "wal-archive", "--archive-interval", "5m"),
        ("--archive-path", "s3://bucket/wal/", "--archive-interval", "1s"),
        ("--archive-path", "file:///mnt/wal"),
    ):
        open_engine(loaded(*arguments), ObjectStores({}))
    assert [(each.archive_path, each.archive_interval_us) for each in told] == [
        ("", 60_000_000),
        ("/srv/wal-archive", 300_000_000),
        ("s3://bucket/wal", 1_000_000),
        ("/mnt/wal", 60_000_000),
    ]
    assert "a duration from 1s to 1d" in refusal("--archive-interval", "500ms")
    open_engine(loaded("--archive-keep-within", "30d"), ObjectStores({}))
    assert [each.archive_keep_within_us for each in told] == [0, 0, 0, 0, 30 * 86_400_000_000]
    for wrong in ("ftp://host/wal", "s3://key:word@bucket/wal"):
        text = refusal("--archive-path", wrong)
        assert "a directory, or the URL of an object store" in text
    assert "h.toml: archive_path" in refusal(file="archive_path = 3")
