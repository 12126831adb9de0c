"""Parquet through pyarrow: a clear word where it is missing, the same rows where it is there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import holdfast
from tests.client.conftest import Outcome


def test_without_pyarrow_it_says_what_to_install(
    cli: Callable[..., Outcome], products: holdfast.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "v.parquet").write_bytes(b"PAR1")
    outcome = cli("vector", "insert-batch", "products", "--file", str(tmp_path / "v.parquet"))
    assert (outcome.code, outcome.out) == (15, "")
    assert "pip install pyarrow" in outcome.err
    outcome = cli("vector", "export", "products", "--file", str(tmp_path / "out.parquet"))
    assert outcome.code == 15
    assert "pip install pyarrow" in outcome.err
    assert not (tmp_path / "out.parquet").exists()


def test_with_pyarrow_rows_come_back_bit_for_bit(
    cli: Callable[..., Outcome], db: holdfast.Client, products: holdfast.Collection, tmp_path: Path
) -> None:
    path = str(tmp_path / "v.parquet")
    assert cli("vector", "export", "products", "--file", path).json["exported"] == 3
    copy = db.collections.create("copy", 2)
    assert cli("vector", "insert-batch", "copy", "--file", path).json["inserted"] == 3
    assert list(copy.export()) == list(products.export())
