"""The rows that every contender stores: real embeddings where a directory has them, a generated mixture otherwise.

A data directory holds one `NAME.npy` (n, d) float32 and a `NAME.ndjson` of `{"id", "payload"}` in the same order.
Rows beyond its n are made from it as `row + 0.05 * noise`, renormalised, with standard normal noise per component,
which keeps the neighbourhoods; plain random vectors have none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Payload = dict[str, Any]

DIMENSIONS = 384
NOISE = np.float32(0.05)
GENERATED_ROWS = 30_000
CLUSTERS = 1_500
SEED = 20_260_101


class Batch(NamedTuple):
    """What one upsert carries: n ids, an (n, 384) float32 matrix and n JSON objects."""

    ids: list[str]
    vectors: Matrix
    payloads: list[Payload]


@dataclass(frozen=True)
class Rows:
    """A base of rows and the endless sequence made from it; row i is the same in every process."""

    ids: list[str]
    vectors: Matrix
    payloads: list[Payload]
    origin: str

    def take(self, start: int, stop: int) -> Batch:
        """Rows start to stop (exclusive) of the sequence. Allocates (stop - start) * 1,536 bytes."""
        size = len(self.ids)
        number = np.arange(start, stop)
        source, lap = number % size, number // size
        vectors = self.vectors[source]
        made = np.flatnonzero(lap)
        if made.size:
            vectors[made] = _disturbed(vectors[made], start)
        ids = [self.ids[s] if n == 0 else f"{self.ids[s]}-{n}" for s, n in zip(source, lap, strict=True)]
        return Batch(ids, vectors, [self.payloads[s] for s in source])

    def batches(self, start: int, stop: int, size: int) -> list[Batch]:
        """The same rows cut into batches of `size`, built before a clock starts."""
        whole = self.take(start, stop)
        return [
            Batch(whole.ids[i : i + size], whole.vectors[i : i + size], whole.payloads[i : i + size])
            for i in range(0, stop - start, size)
        ]


def load(directory: Path | None) -> Rows:
    """The rows of `directory`, or the generated mixture for None. Raises FileNotFoundError and ValueError."""
    return _generated() if directory is None else _read(directory)


def default_directory(repository: Path) -> Path | None:
    """The shared data directory beside the repository, if there is one."""
    beside = repository.parent / "shared" / "data"
    return beside if any(beside.glob("*.npy")) else None


def _read(directory: Path) -> Rows:
    matrices = sorted(directory.glob("*.npy"))
    if not matrices:
        raise FileNotFoundError(
            f"{directory} holds no .npy file; give --data a directory with NAME.npy and NAME.ndjson"
        )
    vectors = np.load(matrices[0])
    if vectors.dtype != np.float32 or vectors.ndim != 2 or vectors.shape[1] != DIMENSIONS:
        raise ValueError(
            f"{matrices[0]} is {vectors.dtype} {vectors.shape}; the benchmark needs float32 (n, {DIMENSIONS})"
        )
    ids, payloads = zip(*_lines(matrices[0].with_suffix(".ndjson")), strict=True)
    if len(ids) != len(vectors):
        raise ValueError(
            f"{directory}: {len(vectors)} vectors but {len(ids)} ids; the two files belong to different sets"
        )
    return Rows(list(ids), vectors, list(payloads), matrices[0].stem)


def _lines(path: Path) -> Iterator[tuple[str, Payload]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["id"], row["payload"]


def _disturbed(rows: Matrix, seed: int) -> Matrix:
    noise = np.random.default_rng((SEED, seed)).standard_normal(rows.shape, dtype=np.float32)
    return _normalised(rows + NOISE * noise)


def _normalised(rows: Matrix) -> Matrix:
    normalised: Matrix = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normalised.astype(np.float32, copy=False)


def _generated() -> Rows:
    generator = np.random.default_rng(SEED)
    centres = _normalised(generator.standard_normal((CLUSTERS, DIMENSIONS), dtype=np.float32))
    cluster = generator.integers(0, CLUSTERS, GENERATED_ROWS)
    vectors = _disturbed(centres[cluster], 0)
    payloads = [_payload(i, int(c)) for i, c in enumerate(cluster)]
    return Rows([f"row-{i:08d}" for i in range(GENERATED_ROWS)], vectors, payloads, "generated mixture")


def _payload(number: int, cluster: int) -> Payload:
    words = [f"term{(number * step) % 9973}" for step in (3, 7, 31)]
    text = " ".join(f"word{(number * step) % 7919}" for step in range(1, 12))
    return {
        "lemmas": words,
        "lexname": f"group.{cluster % 45}",
        "pos": "nvar"[cluster % 4],
        "gloss": text,
        "senses": cluster % 9,
    }
