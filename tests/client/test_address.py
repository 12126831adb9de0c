"""Where the daemon is looked for, and how the channel is secured."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.address import LOCAL_DATA, LOCAL_SOCKET, SYSTEM_SOCKET, Address, find_address, parse_address
from holdfast.channel import Tls, call_metadata, open_channel, uses_tls
from holdfast.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "address", "target"),
    [
        ("unix:///run/h.sock", Address(path="/run/h.sock"), "unix:/run/h.sock"),
        ("unix:/run/h.sock", Address(path="/run/h.sock"), "unix:/run/h.sock"),
        ("/run/h.sock", Address(path="/run/h.sock"), "unix:/run/h.sock"),
        ("db1:7411", Address(host="db1", port=7411), "db1:7411"),
        ("127.0.0.1:1", Address(host="127.0.0.1", port=1), "127.0.0.1:1"),
        ("[::1]:7411", Address(host="::1", port=7411), "[::1]:7411"),
    ],
)
def test_an_address_is_a_socket_or_host_and_port(text: str, address: Address, target: str) -> None:
    assert parse_address(text) == address
    assert address.target == target
    assert parse_address(str(address)) == address


def test_a_relative_socket_is_made_absolute() -> None:
    assert parse_address("unix:x.sock").path == str(Path.cwd() / "x.sock")


@pytest.mark.parametrize(
    "text", ["", "db1", "db1:", ":7411", "db1:0", "db1:65536", "db1:x", "::1:7411", "unix:", "db1:٣"]
)
def test_what_is_no_address_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_address(text)
    assert "unix:///path" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("given", "environment", "present", "expected"),
    [
        ("db1:1", {"HOLDFAST_ADDRESS": "db2:2"}, [SYSTEM_SOCKET], "db1:1"),
        (None, {"HOLDFAST_ADDRESS": "db2:2"}, [SYSTEM_SOCKET], "db2:2"),
        (None, {}, [SYSTEM_SOCKET, LOCAL_DATA, LOCAL_SOCKET], f"unix://{SYSTEM_SOCKET}"),
        (None, {}, [LOCAL_DATA, LOCAL_SOCKET], f"unix://{Path.cwd() / LOCAL_SOCKET}"),
        (None, {}, [LOCAL_DATA], f"unix://{Path.cwd() / LOCAL_SOCKET}"),
        (None, {}, [], f"unix://{SYSTEM_SOCKET}"),
    ],
)
def test_flag_then_environment_then_system_then_here(
    given: str | None, environment: dict[str, str], present: list[str], expected: str
) -> None:
    assert str(find_address(given, environment=environment, exists=present.__contains__)) == expected


@pytest.mark.parametrize(
    ("address", "tls", "expected"),
    [
        ("/run/h.sock", None, False),
        ("/run/h.sock", True, False),
        ("127.0.0.1:1", None, False),
        ("localhost:1", True, True),
        ("db1:1", None, True),
        ("db1:1", False, False),
        ("db1:1", Tls(ca="x"), True),
    ],
)
def test_beyond_loopback_calls_are_encrypted_unless_refused(address: str, tls: object, expected: bool) -> None:
    assert uses_tls(parse_address(address), tls) is expected  # type: ignore[arg-type]  # objects on purpose


def test_a_token_never_travels_in_plain_text_to_another_machine() -> None:
    with pytest.raises(InvalidArgument, match="plain text"):
        call_metadata(parse_address("db1:1"), "secret", False)
    assert call_metadata(parse_address("db1:1"), "secret", None) == (("authorization", "Bearer secret"),)
    assert call_metadata(parse_address("db1:1"), None, False) == ()


def test_a_tls_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"cannot read /nonexistent/ca\.pem"):
        open_channel(parse_address("db1:1"), "/nonexistent/ca.pem")


def test_a_socket_whose_path_is_too_long_is_told_before_grpc_does() -> None:
    path = "/" + "x" * 107
    with pytest.raises(InvalidArgument, match="has 108 bytes, and can have at most 107"):
        open_channel(parse_address(path), None)
    open_channel(parse_address(path[:107]), None).close()


@pytest.mark.parametrize("token", ["two\nlines", "caf\u00e9", "bell\a"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="no header can carry"):
        call_metadata(parse_address("localhost:1"), token, None)
