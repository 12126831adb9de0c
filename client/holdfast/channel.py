"""The gRPC channel: options, transport security, and the token that goes with every call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from holdfast.address import Address
from holdfast.errors import InvalidArgument

if TYPE_CHECKING:
    import grpc

_UNLIMITED = -1
_MAX_SOCKET_PATH_BYTES = 107
_LOCAL_RECONNECT_MS = 100
_REMOTE_RECONNECT_MS = 1000


class Tls(NamedTuple):
    """Files for TLS. ca: whom to trust (None: the system's roots); certificate and key: who we are, for mTLS."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


TlsOption: TypeAlias = "Tls | str | bool | None"
"""None: TLS beyond loopback; True: TLS with the system's roots; a path: the CA's file; False: plain text."""


def open_channel(address: Address, tls: TlsOption) -> grpc.Channel:
    """A channel that connects at its first call. InvalidArgument if gRPC could not use the TLS files or the path."""
    import grpc

    _check_path(address)
    if not uses_tls(address, tls):
        return grpc.insecure_channel(address.target, options=_options(address))
    files = tls if isinstance(tls, Tls) else Tls(ca=tls if isinstance(tls, str) else None)
    _check_ca(files.ca)
    _check_pair(files.certificate, files.key)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(files.ca), private_key=_read(files.key), certificate_chain=_read(files.certificate)
    )
    return grpc.secure_channel(address.target, credentials, options=_options(address))


def uses_tls(address: Address, tls: TlsOption) -> bool:
    """Whether calls are encrypted: never on a Unix socket, always beyond loopback unless refused by ``tls=False``."""
    if address.is_local:
        return False
    return not address.is_loopback if tls is None else tls is not False


def call_metadata(address: Address, token: str | None, tls: TlsOption) -> tuple[tuple[str, str], ...]:
    """The bearer token as metadata. InvalidArgument rather than sending it in plain text to another machine, and for
    one that cannot be sent."""
    if token is None:
        return ()
    if not address.is_local and not address.is_loopback and not uses_tls(address, tls):
        raise InvalidArgument(
            f"a token would travel in plain text to {address}", reason="TOKEN_WITHOUT_TLS", hint="leave out tls=False"
        )
    if not token.isascii() or not token.isprintable():
        raise InvalidArgument(
            "the token has a character that no header can carry",
            reason="BAD_TOKEN",
            hint="a token is one line of ASCII: look at HOLDFAST_TOKEN, or at the file that --token-file names",
        )
    return (("authorization", f"Bearer {token}"),)


def _options(address: Address) -> list[tuple[str, str | int]]:
    """Messages of any size (the daemon has its limits), our own retries, and quick reconnects."""
    reconnect = _LOCAL_RECONNECT_MS if address.is_local else _REMOTE_RECONNECT_MS
    options: list[tuple[str, str | int]] = [
        ("grpc.max_send_message_length", _UNLIMITED),
        ("grpc.max_receive_message_length", _UNLIMITED),
        ("grpc.enable_retries", 0),
        ("grpc.initial_reconnect_backoff_ms", _LOCAL_RECONNECT_MS),
        ("grpc.min_reconnect_backoff_ms", reconnect),
        ("grpc.max_reconnect_backoff_ms", _REMOTE_RECONNECT_MS),
    ]
    return [*options, ("grpc.default_authority", "localhost")] if address.is_local else options


def _check_path(address: Address) -> None:
    """Raise InvalidArgument for a socket's path that is longer than the system's addresses."""
    size = len(os.fsencode(address.path or ""))
    if size > _MAX_SOCKET_PATH_BYTES:
        raise InvalidArgument(
            f"the path of the socket has {size} bytes, and can have at most {_MAX_SOCKET_PATH_BYTES}: {address.path}",
            reason="BAD_ADDRESS",
            hint="name it by a shorter path, such as a symbolic link to its directory",
        )


def _check_ca(path: str | None) -> None:
    """Raise InvalidArgument for a file without certificates, which gRPC would tell only in a log of its own."""
    if path is None:
        return
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=_read_text(path))
    except (ssl.SSLError, ValueError):
        raise InvalidArgument(
            f"{path} holds no certificate that can be read",
            reason="BAD_TLS_FILE",
            hint="name a file of certificates in PEM: -----BEGIN CERTIFICATE-----",
        ) from None


def _check_pair(certificate: str | None, key: str | None) -> None:
    """Raise InvalidArgument unless there is none of the two, or both, and one fits the other: gRPC would end the
    process, or tell only in a log of its own."""
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        raise InvalidArgument(
            "a certificate needs its key, and a key its certificate",
            reason="BAD_TLS_FILE",
            hint="give both: --tls-cert FILE --tls-key FILE",
        )
    _read(certificate), _read(key)
    import ssl

    try:
        # Without a password, which would be asked for on the terminal, a key that needs one is refused.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError):
        raise InvalidArgument(
            f"{certificate} and {key} are no certificate and the key that belongs to it",
            reason="BAD_TLS_FILE",
            hint="name two files in PEM: the certificate, with those that lead to it, and its key without a password",
        ) from None


def _read_text(path: str) -> str:
    """What stands in a PEM file; UnicodeDecodeError, which is a ValueError, for one that is none."""
    return (_read(path) or b"").decode("ascii")


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    from pathlib import Path

    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}", reason="BAD_TLS_FILE") from None
