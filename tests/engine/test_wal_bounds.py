"""Settings of the log out of bounds: refused in the words that people use, and the help names the same bounds."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.cli.commands.wal import enable
from holdfastd.engine.amounts import duration_words, size_words
from holdfastd.engine.wal_settings import check_ranges
from holdfastd.errors import InvalidArgument

BOUNDS = [
    ("segment_size_bytes", 1, "segment_size_bytes is 1 B; it can be 1 MiB to 4 GiB", "--segment-size"),
    ("segment_size_bytes", 5 << 30, "segment_size_bytes is 5 GiB; it can be 1 MiB to 4 GiB", "--segment-size"),
    ("flush_interval_us", 999, "flush_interval is 999 µs; it can be 1 ms to 1 h", "--flush-interval"),
    ("retention_us", -1, "retention is -1 µs; it can be 0 µs to 2,400,000 h", "--retention"),
    ("max_wal_bytes", 1 << 20, "max_size_bytes is 1 MiB; it can be 2 MiB to 8 PiB", "--max-size"),
]


@pytest.mark.parametrize(("name", "value", "words", "option"), BOUNDS)
def test_a_setting_out_of_bounds_is_told_in_the_units_of_people(name: str, value: int, words: str, option: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_ranges({name: value})
    assert str(caught.value) == words
    assert (caught.value.hint or "").startswith(f"such as {option} ")


@pytest.mark.parametrize(("name", "value", "words", "option"), BOUNDS)
def test_the_help_names_the_greatest(name: str, value: int, words: str, option: str) -> None:
    found: list[Any] = [param for param in enable.params if option in param.opts]
    assert words.rpartition(" to ")[2] in found[0].help


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1,023 B"), (1 << 10, "1 KiB"), (3 << 29, "1,536 MiB"), (10**6, "1,000,000 B")],
)
def test_a_size_is_exact(size: int, words: str) -> None:
    assert size_words(size) == words


@pytest.mark.parametrize(
    ("microseconds", "words"), [(0, "0 µs"), (1, "1 µs"), (1_500_000, "1,500 ms"), (60_000_000, "1 min")]
)
def test_a_duration_is_exact(microseconds: int, words: str) -> None:
    assert duration_words(microseconds) == words
