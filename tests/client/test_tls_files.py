"""Files for TLS that do not go together: gRPC would end the process, or tell in a log of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.address import parse_address
from holdfast.channel import Tls, open_channel
from holdfast.errors import InvalidArgument

# A pair that was made for this test and is known to nobody else.
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYEmI9ialK/dJ5HCO
k2maPIWnwTOeDgAuf8akqnnzyUqhRANCAAT5VnfV8QBqiT9kTW7GlCvREaXyEArh
oDDEOEm04x44A/FuBvHvlyWLOAlYHfLug7d6a+u6XjoqV3IZKDi5N3Wr
-----END PRIVATE KEY-----
"""
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIUAcK+KdG6UQX41hroZH7GS1YgYzQwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAgFw0yNjExMjcwNDQ4MTVaGA8yMTI2MTEwMzA0NDgx
NVowDzENMAsGA1UEAwwEdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPlW
d9XxAGqJP2RNbsaUK9ERpfIQCuGgMMQ4SbTjHjgD8W4G8e+XJYs4CVgd8u6Dt3pr
67peOipXchkoOLk3daujUzBRMB0GA1UdDgQWBBSmY9pckjAMnoilmaUdTaJF2VUE
aDAfBgNVHSMEGDAWgBSmY9pckjAMnoilmaUdTaJF2VUEaDAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0gAMEUCIQDT+5p6f6pQPFAFXiP8FW9pJ+HyKlnVreo1
O5NDiSj+6gIgKm0nTQ/bnUINHWPfj8i8l7x8bfW+4hj92pDJWQve4A0=
-----END CERTIFICATE-----
"""


def open_with(directory: Path, certificate: str | None, key: str | None) -> None:
    """Open a channel with these texts in files, or without a file for None; nothing is sent."""
    given = {"cert.pem": certificate, "key.pem": key}
    for name, text in given.items():
        if text is not None:
            (directory / name).write_text(text)
    paths = [None if text is None else str(directory / name) for name, text in given.items()]
    open_channel(parse_address("localhost:1"), Tls(certificate=paths[0], key=paths[1])).close()


def test_a_certificate_and_its_key_are_taken(tmp_path: Path) -> None:
    open_with(tmp_path, CERTIFICATE, KEY)


@pytest.mark.parametrize(("certificate", "key"), [(CERTIFICATE, None), (None, KEY)])
def test_one_without_the_other_is_refused(tmp_path: Path, certificate: str | None, key: str | None) -> None:
    with pytest.raises(InvalidArgument, match="a certificate needs its key"):
        open_with(tmp_path, certificate, key)


@pytest.mark.parametrize(
    ("certificate", "key"), [(KEY, CERTIFICATE), (CERTIFICATE, ""), ("words", KEY), (CERTIFICATE, KEY[:80])]
)
def test_two_that_do_not_belong_together_are_refused(tmp_path: Path, certificate: str, key: str) -> None:
    with pytest.raises(InvalidArgument, match="are no certificate and the key that belongs to it"):
        open_with(tmp_path, certificate, key)


def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    with pytest.raises(InvalidArgument, match=r"cannot read .*nowhere\.pem: No such file"):
        open_channel(parse_address("localhost:1"), Tls(certificate=str(tmp_path / "cert.pem"), key="nowhere.pem"))
