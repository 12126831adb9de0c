"""Tar headers: what we write other programs read, and what no snapshot holds is refused by name."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.format.tar import (
    BLOCK,
    MAX_USTAR_SIZE,
    TarHeader,
    decode_extended,
    decode_header,
    encode_header,
    member_bytes,
)
from tests.format.flips import unnoticed_flips

NAMES = st.from_regex(r"[a-z]{1,20}(/[a-z0-9.-]{1,20}){0,3}", fullmatch=True).filter(lambda n: ".." not in n.split("/"))


@given(NAMES, st.integers(0, MAX_USTAR_SIZE), st.integers(0, 2**33 - 1))
def test_a_header_is_read_back_by_us_and_by_tarfile(name: str, size: int, mtime: int) -> None:
    header = encode_header(name, size, mtime)
    assert len(header) == BLOCK
    assert decode_header(header) == TarHeader(name, size)
    info = tarfile.TarInfo.frombuf(header, "ascii", "strict")
    assert (info.name, info.size, info.mtime, info.isreg(), info.mode) == (name, size, mtime, True, 0o600)


@pytest.mark.parametrize("size", [MAX_USTAR_SIZE + 1, 2**40, 99_999_999_999, 100_000_000_000, 2**62])
def test_a_size_beyond_eight_gib_travels_in_an_extended_header(size: int) -> None:
    header = encode_header("big", size, 0)
    assert len(header) == 3 * BLOCK
    first = decode_header(header[:BLOCK])
    assert first is not None
    assert first.extended
    assert decode_extended(header[BLOCK : BLOCK + first.size]) == size
    with tarfile.open(fileobj=io.BytesIO(header), mode="r|") as tar:
        info = tar.next()
        assert info is not None
        assert (info.name, info.size) == ("big", size)
    assert member_bytes(size) == 3 * BLOCK + -(-size // BLOCK) * BLOCK


def test_an_empty_block_is_the_end() -> None:
    assert decode_header(bytes(BLOCK)) is None


def test_every_bit_flip_in_a_header_is_noticed() -> None:
    assert unnoticed_flips(decode_header, encode_header("collections/a/0/rows.npy", 4711, 1)) == []


def header_of(name: str = "a", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info.tobuf(tarfile.USTAR_FORMAT)[:BLOCK]


KINDS = [
    (tarfile.LNKTYPE, "a hard link"),
    (tarfile.SYMTYPE, "a symbolic link"),
    (tarfile.CHRTYPE, "a character device"),
    (tarfile.BLKTYPE, "a block device"),
    (tarfile.DIRTYPE, "a directory"),
    (tarfile.FIFOTYPE, "a FIFO"),
    (tarfile.CONTTYPE, "a contiguous file"),
    (tarfile.GNUTYPE_LONGNAME, "a GNU long name"),
    (tarfile.GNUTYPE_LONGLINK, "a GNU long link name"),
    (tarfile.GNUTYPE_SPARSE, "a sparse file"),
    (tarfile.XGLTYPE, "a global extended header"),
    (b"Z", "of unknown type b'Z'"),
]


@pytest.mark.parametrize(("kind", "name"), KINDS, ids=[name for _, name in KINDS])
def test_anything_but_a_plain_file_is_refused_by_its_name(kind: bytes, name: str) -> None:
    with pytest.raises(ValueError, match=f"is {name}; a snapshot holds plain files only"):
        decode_header(header_of(kind=kind, link="/etc/passwd"))


NAMES_REFUSED = [
    ("/etc/passwd", "is an absolute path"),
    ("..", "leads out of the archive"),
    ("../x", "leads out of the archive"),
    ("a/../../x", "leads out of the archive"),
    ("a/..", "leads out of the archive"),
    ("a\nb", "is not a plain name"),
]


@pytest.mark.parametrize(("name", "reason"), NAMES_REFUSED, ids=[repr(name) for name, _ in NAMES_REFUSED])
def test_names_that_lead_elsewhere_are_refused_when_read_and_when_written(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_header(header_of(name))
    with pytest.raises(ValueError, match=reason):
        encode_header(name, 1, 0)


def test_a_name_prefix_and_other_dialects_are_refused() -> None:
    with pytest.raises(ValueError, match="has a name prefix"):
        decode_header(header_of("p" * 80 + "/" + "n" * 60))
    gnu = tarfile.TarInfo("a").tobuf(tarfile.GNU_FORMAT)[:BLOCK]
    with pytest.raises(ValueError, match="not a POSIX ustar header"):
        decode_header(gnu)


EXTENDED = [b"", b"11 size=12", b"11 path=12\n", b"12 size=123\n18 path=x\n", b"99 size=123\n", b"12 size=-12\n", b"x"]


@pytest.mark.parametrize("record", EXTENDED)
def test_an_extended_header_says_one_size_and_nothing_else(record: bytes) -> None:
    with pytest.raises(ValueError, match="extended header"):
        decode_extended(record)


@given(st.binary(min_size=BLOCK, max_size=BLOCK))
def test_random_blocks_are_no_headers(block: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        decode_header(b"x" + block[1:])
