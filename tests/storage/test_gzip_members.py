"""Gzip in many members: what any gunzip reads, and what is damaged in any way is noticed before its end."""

from __future__ import annotations

import gzip
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfastd.storage.beside import Beside, Done
from holdfastd.storage.gzip_members import CHUNK_BYTES, MAGIC, GzipReader, GzipWriter, compress


class Sink:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(bytes(data))

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


class Source:
    def __init__(self, data: bytes, step: int = 1 << 30) -> None:
        self.data = data
        self.step = step
        self.at = 0

    def read(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + min(count, self.step)]
        self.at += len(piece)
        return piece


def written(*pieces: bytes | np.ndarray, submit: Beside = Done, cut_before_last: bool = False) -> Sink:
    sink = Sink()
    writer = GzipWriter(sink, submit)
    for number, piece in enumerate(pieces):
        if cut_before_last and number == len(pieces) - 1:
            writer.cut()
        writer.write(piece)
    writer.finish()
    return sink


def read(data: bytes, count: int = 1 << 20, step: int = 1 << 30, piece: int = 1 << 16) -> bytes:
    reader = GzipReader(Source(data, step), piece=piece)
    pieces = []
    while data := reader.read(count):
        assert len(data) <= count
        pieces.append(data)
    return b"".join(pieces)


NOISE = np.random.default_rng(1).bytes(CHUNK_BYTES + 70_000)


def test_threads_compress_in_order_and_gunzip_reads_it() -> None:
    data = NOISE + bytes(2 * CHUNK_BYTES) + NOISE
    with ThreadPoolExecutor(2) as pool:
        sink = written(data[:1000], np.frombuffer(data[1000:], np.uint8), submit=pool.submit)
    assert len(sink.pieces) == -(-len(data) // CHUNK_BYTES)
    assert gzip.decompress(sink.data) == data
    assert read(sink.data) == data
    assert sink.data == written(data).data, "the same bytes, whoever compresses them"


def test_a_cut_begins_a_member_that_can_be_read_alone() -> None:
    sink = written(b"before", b"after", cut_before_last=True)
    assert [gzip.decompress(piece) for piece in sink.pieces] == [b"before", b"after"]


@given(st.lists(st.binary(max_size=300), max_size=6), st.integers(1, 70), st.integers(1, 50), st.integers(1, 50))
def test_members_are_read_through_any_window(members: list[bytes], count: int, step: int, piece: int) -> None:
    data = b"".join(map(compress, members))
    assert read(data, count, step, piece) == b"".join(members)


def test_only_what_is_asked_for_is_decompressed() -> None:
    bomb = compress(bytes(64 << 20))
    source = Source(bomb)
    reader = GzipReader(source, piece=4096)
    assert reader.read(512) == bytes(512)
    assert source.at <= 4096


SMALL = compress(b"some text, some text, some more text") + compress(b"end")


def test_every_truncation_is_noticed() -> None:
    whole = len(compress(b"some text, some text, some more text"))
    for size in set(range(1, len(SMALL))) - {whole}:
        with pytest.raises(ValueError, match=r"cut short|no gzip"):
            read(SMALL[:size])


def test_a_bit_flip_is_noticed_wherever_it_changes_the_data() -> None:
    data = compress(NOISE[:200])
    noticed = 0
    for bit in range(10 * 8, len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            # Deflate fills up to whole bytes with bits that nobody reads.
            assert read(bytes(damaged)) == NOISE[:200]
        except ValueError:
            noticed += 1
    assert noticed >= (len(data) - 10) * 8 - 16


@pytest.mark.parametrize("tail", [b"\0", b"x", b"\x1f", b"\x1f\x8c", bytes(512), b"tar"])
def test_what_follows_the_last_member_is_refused(tail: bytes) -> None:
    with pytest.raises(ValueError, match="no gzip"):
        read(SMALL + tail)


def test_the_magic_is_that_of_gzip() -> None:
    assert SMALL.startswith(MAGIC)
