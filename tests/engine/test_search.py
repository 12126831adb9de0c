"""Exact search against a float64 brute force that shares no code with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from holdfastd.engine import search
from holdfastd.engine.search import Block, top_k
from holdfastd.errors import InvalidArgument
from holdfastd.format.norms import row_norms
from holdfastd.model import Float32Array, Int64Array, Metric

Exact = NDArray[np.float64]


def block(vectors: Float32Array, live: NDArray[np.bool_] | None = None) -> Block:
    return Block(vectors, row_norms(vectors), live)


def true_scores(query: Float32Array, vectors: Float32Array, metric: Metric) -> Exact:
    """(n,) scores in float64, computed row by row in the plainest way."""
    q, x = query.astype(np.float64), vectors.astype(np.float64)
    if metric is Metric.EUCLIDEAN:
        return np.array([float(np.sqrt(np.sum((row - q) ** 2))) for row in x])
    dots = np.array([float(np.sum(row * q)) for row in x])
    if metric is Metric.DOT:
        return dots
    lengths = np.array([float(np.sqrt(np.sum(row**2) * np.sum(q**2))) for row in x])
    return np.where(lengths == 0, 0.0, dots / np.where(lengths == 0, 1.0, lengths))


def check(queries: Float32Array, blocks: list[Block], metric: Metric, k: int, tolerance: float = 1e-6) -> None:
    """The result has the right length and order, true scores, and leaves out nothing that is clearly better."""
    sign = 1 if metric is Metric.EUCLIDEAN else -1
    for query, (at, row, score) in zip(queries, top_k(queries, blocks, metric, k), strict=True):
        truth = [true_scores(query, b.vectors, metric) for b in blocks]
        live = [np.ones(len(b.vectors), bool) if b.live is None else b.live for b in blocks]
        pool = np.sort(sign * np.concatenate([t[m] for t, m in zip(truth, live, strict=True)]))
        assert len(at) == len(row) == len(score) == min(k, len(pool))
        assert np.isfinite(score).all()
        pairs = list(zip(at.tolist(), row.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        assert all(live[a][r] for a, r in pairs)
        assert (sign * score[1:] >= sign * score[:-1]).all()
        limit, least = np.float64(np.finfo(np.float32).max), np.finfo(np.float32).tiny
        keyed = [(sign * float(s), a, r) for s, (a, r) in zip(score, pairs, strict=True) if least < abs(s) < limit]
        assert keyed == sorted(keyed)
        chosen = np.array([truth[a][r] for a, r in pairs])
        np.testing.assert_allclose(score.astype(np.float64), np.clip(chosen, -limit, limit), rtol=tolerance, atol=1e-12)
        np.testing.assert_allclose(np.sort(sign * chosen), pool[: len(chosen)], rtol=tolerance, atol=1e-12)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Float32Array, list[Block]]:
    """Queries and blocks with duplicates, zero rows, dead rows, offsets that cancel, and scales up to the extremes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    d = draw(st.sampled_from([1, 2, 3, 16, 33]))
    scale = np.float32(draw(st.sampled_from([1.0, 1.0, 1e-3, 1e4, 1e-20, 1e-36, 1e18, 1e30, 1e38])))
    offset = draw(st.sampled_from([0.0, 0.0, 1000.0])) if scale < 1e30 else 0.0
    spread = draw(st.booleans())

    def vectors(n: int) -> Float32Array:
        x = rng.uniform(-1, 1, (n, d)) + offset
        if draw(st.booleans()):
            x = np.round(x)  # many exact ties
        if spread:
            x *= 10.0 ** rng.integers(-4, 1, (n, 1))
        x[rng.random(n) < 0.1] = 0
        return (x * scale).astype(np.float32)

    blocks = []
    for n in draw(st.lists(st.integers(0, 90), min_size=1, max_size=4)):
        alive = draw(st.sampled_from([None, 0.0, 0.1, 0.5, 0.95]))
        blocks.append(block(vectors(n), None if alive is None else rng.random(n) < alive))
    return vectors(draw(st.sampled_from([1, 1, 2, 7]))), blocks


@settings(max_examples=150, deadline=None)
@given(case=cases(), metric=st.sampled_from(list(Metric)), k=st.sampled_from([1, 2, 5, 40, 1000]))
def test_agrees_with_brute_force(case: tuple[Float32Array, list[Block]], metric: Metric, k: int) -> None:
    queries, blocks = case
    check(queries, blocks, metric, k)


@pytest.mark.parametrize("scale", [1.0, 1e-22, 1e-41, 1e17, 1e37])
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("count", [1, 3])
def test_near_ties_are_decided_by_exact_scores(metric: Metric, count: int, scale: float) -> None:
    """Scores closer together than float32 sums can tell apart: only the right rows, in the right order, will do."""
    rng = np.random.default_rng(4)
    base = rng.normal(size=384)
    vectors = ((base + rng.normal(size=(600, 384)) * 1e-5) * scale).astype(np.float32)
    queries = ((base + rng.normal(size=(count, 384)) * 0.1) * scale).astype(np.float32)
    for query, (_, rows, _) in zip(queries, top_k(queries, [block(vectors)], metric, 20), strict=True):
        truth = true_scores(query, vectors, metric) * (1 if metric is Metric.EUCLIDEAN else -1)
        mantissa, exponent = np.frexp(truth)
        expected = np.lexsort((np.arange(600), np.ldexp(mantissa.astype(np.float32).astype(np.float64), exponent)))
        assert rows.tolist() == expected[:20].tolist()


def test_distances_that_round_to_the_same_number_tie() -> None:
    """Every vector is a speck beside the query: all are equally far as far as a float32 can say."""
    vectors = (np.random.default_rng(3).normal(size=(2000, 4)) * 1e-6).astype(np.float32)
    vectors[::3] = 0
    _, rows, score = top_k(np.full((1, 4), 1e4, np.float32), [block(vectors)], Metric.EUCLIDEAN, 9)[0]
    assert rows.tolist() == list(range(9))
    assert set(score.tolist()) == {20000.0}


def test_a_query_at_the_edge_of_float32_reaches_ordinary_vectors() -> None:
    vectors = np.random.default_rng(2).normal(size=(300, 4)).astype(np.float32) * np.float32(1e5)
    vectors[:, 0] = np.arange(300) * 1e3
    queries = np.array([[3e38, -3e38, 3e38, 3e38], [1, 2, 3, 4]], np.float32)
    for metric in Metric:
        check(queries, [block(vectors)], metric, 5)
        check(queries[:1], [block(vectors)], metric, 5)


def test_no_score_is_negative_zero() -> None:
    vectors = np.array([[-1e-30], [0], [1e-30]], np.float32)
    for metric in Metric:
        for query in (-1e-30, 0.0, 1e-30):
            _, _, score = top_k(np.array([[query]], np.float32), [block(vectors)], metric, 3)[0]
            assert not np.signbit(score[score == 0]).any()


def test_threshold_is_rounded_as_scores_are() -> None:
    """0.7 is shown for float32(0.7), which is less than 0.7."""
    _, rows, _ = top_k(np.ones((1, 1), np.float32), [block(np.array([[0.7]], np.float32))], Metric.DOT, 1, 0.7)[0]
    assert rows.tolist() == [0]


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("queries", [1, 3])
def test_group_maxima_do_not_lose_rows(metric: Metric, queries: int) -> None:
    """Enough rows for the grouped bound; the best rows share a column group."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(4000, 8)).astype(np.float32)
    query = rng.normal(size=(queries, 8)).astype(np.float32)
    vectors[::500] = query[0] * np.float32(3) if metric is Metric.DOT else query[0]
    check(query, [block(vectors)], metric, 8)


@pytest.mark.parametrize("metric", list(Metric))
def test_chunks_and_query_groups_are_seamless(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(3000, 12)).astype(np.float32)
    queries = rng.normal(size=(9, 12)).astype(np.float32)
    live = rng.random(3000) < 0.9
    blocks = [block(vectors[:1700], live[:1700]), block(vectors[1700:], np.arange(1300) % 20 == 0)]
    whole = top_k(queries, blocks, metric, 25)
    monkeypatch.setattr(search, "_SCORE_CELLS", 500)
    monkeypatch.setattr(search, "_QUERY_GROUP", 4)
    monkeypatch.setattr(search, "_COPY_BYTES", 4096)
    for one, other in zip(whole, top_k(queries, blocks, metric, 25), strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("metric", list(Metric))
def test_ties_are_ordered_by_block_and_row(metric: Metric) -> None:
    """Every row is the same; kernels round the edges of a matrix differently, exact scores do not."""
    row = np.random.default_rng(7).normal(size=37).astype(np.float32)
    blocks = [block(np.tile(row, (n, 1))) for n in (3, 1001, 50)]
    at, rows, score = top_k(row[None] * np.float32(0.7), blocks, metric, 7)[0]
    assert at.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert rows.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert len(set(score.tolist())) == 1


def test_cosine_of_multiples_ties_at_one() -> None:
    row = np.random.default_rng(8).normal(size=19).astype(np.float32)
    vectors = np.stack([row * np.float32(2.0**e) for e in (3, -5, 0, 40, -60)])
    _, rows, score = top_k(row[None], [block(vectors)], Metric.COSINE, 5)[0]
    assert rows.tolist() == [0, 1, 2, 3, 4]
    assert score.tolist() == [1.0] * 5


def test_zero_vectors_score_zero_under_cosine() -> None:
    vectors = np.array([[-1, 0], [0, 0], [1, 0]], np.float32)
    _, rows, score = top_k(np.array([[1, 0]], np.float32), [block(vectors)], Metric.COSINE, 3)[0]
    assert rows.tolist() == [2, 1, 0]
    assert score.tolist() == [1.0, 0.0, -1.0]
    _, rows, score = top_k(np.zeros((1, 2), np.float32), [block(vectors)], Metric.COSINE, 2)[0]
    assert rows.tolist() == [0, 1]
    assert score.tolist() == [0.0, 0.0]


def test_far_from_the_origin_distances_do_not_cancel() -> None:
    """|x|² is 10⁸ times the squared distances: ||x||² + ||q||² - 2xq in float32 would be noise."""
    rng = np.random.default_rng(9)
    vectors = (rng.normal(size=(500, 24)) * 0.01 + 1000).astype(np.float32)
    check(vectors[:4] + np.float32(0.001), [block(vectors)], Metric.EUCLIDEAN, 10)


def test_one_outlier_does_not_blunt_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A huge row is scored exactly by itself; the other rows keep their own small error."""
    rng = np.random.default_rng(10)
    vectors = rng.normal(size=(5000, 16)).astype(np.float32)
    vectors[77] = 3e38
    scored: list[int] = []
    exact = search._exact_keys

    def counting(queries: search._Queries, query: Int64Array, rows: Float32Array) -> Exact:
        scored.append(len(query))
        return exact(queries, query, rows)

    monkeypatch.setattr(search, "_exact_keys", counting)
    for metric in Metric:
        scored.clear()
        check(vectors[:1] + np.float32(0.1), [block(vectors)], metric, 10)
        assert 10 <= sum(scored) < 60


def test_inner_product_beyond_float32_saturates() -> None:
    vectors = np.array([[3e38, 3e38], [-3e38, -3e38], [1, 1]], np.float32)
    _, rows, score = top_k(vectors[:1], [block(vectors)], Metric.DOT, 3)[0]
    assert rows.tolist() == [0, 2, 1]
    limit = np.finfo(np.float32).max
    assert score[0] == limit
    assert score[2] == -limit


@pytest.mark.parametrize(
    ("metric", "threshold", "expected"),
    [
        (Metric.COSINE, 0.6, [0, 1]),
        (Metric.COSINE, 2.0, []),
        (Metric.DOT, 0.6, [0, 1]),
        (Metric.EUCLIDEAN, 0.0, [0]),
        (Metric.EUCLIDEAN, 1.5, [0, 1, 2]),
        (Metric.EUCLIDEAN, -1.0, []),
        (Metric.EUCLIDEAN, float("inf"), [0, 1, 2, 3]),
    ],
)
def test_threshold_is_inclusive(metric: Metric, threshold: float, expected: list[int]) -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)
    _, rows, _ = top_k(np.array([[1, 0]], np.float32), [block(vectors)], metric, 10, threshold)[0]
    assert rows.tolist() == expected


def test_read_only_and_mapped_vectors(tmp_path: object) -> None:
    path = f"{tmp_path}/vectors.npy"
    np.save(path, np.random.default_rng(11).normal(size=(100, 7)).astype(np.float32))
    mapped = np.load(path, mmap_mode="r")
    check(np.ones((2, 7), np.float32), [block(mapped)], Metric.EUCLIDEAN, 5)


def test_no_queries_no_blocks_no_rows() -> None:
    assert top_k(np.empty((0, 3), np.float32), [], Metric.COSINE, 5) == []
    for blocks in ([], [block(np.empty((0, 3), np.float32))]):
        ((at, rows, score),) = top_k(np.ones((1, 3), np.float32), blocks, Metric.COSINE, 5)
        assert len(at) == len(rows) == len(score) == 0


@pytest.mark.parametrize(
    ("queries", "k", "threshold", "field"),
    [
        (np.ones((1, 3), np.float32), 0, None, "k"),
        (np.ones((1, 3), np.float32), 1, float("nan"), "threshold"),
        (np.ones((1, 4), np.float32), 1, None, "queries"),
        (np.ones(3, np.float32), 1, None, "queries"),
        (np.array([[1, np.nan, 0]], np.float32), 1, None, "queries"),
    ],
)
def test_refusals(queries: Float32Array, k: int, threshold: float | None, field: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        top_k(queries, [block(np.ones((2, 3), np.float32))], Metric.COSINE, k, threshold)
    assert refusal.value.field == field


@pytest.mark.parametrize("metric", list(Metric))
def test_norms_as_wrong_as_float32_sums_may_be_drop_no_row(metric: Metric) -> None:
    rng = np.random.default_rng(7)
    n, d = 4000, 768
    vectors = (rng.standard_normal(d) + 1e-4 * rng.standard_normal((n, d))).astype(np.float32)
    off = 1 + rng.choice([-1.0, 1.0], n) * (d / 2 + 1) * 2.0**-24
    blocks = [Block(vectors, (row_norms(vectors) * off).astype(np.float32))]
    for scale in (1, 0.01):  # one by one: the longest query of a group decides the bound of all
        query = (scale * vectors[:1] + 1e-3 * rng.standard_normal((1, d))).astype(np.float32)
        check(query, blocks, metric, 10, tolerance=1e-7)
