"""HopSkipJump against a linear classifier, whose distances are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeaudit.attacks.hop_skip_jump import Boundary, hop_skip_jump, least_queries

D = 20


def _world(n: int, seed: int = 0) -> tuple[Any, Any, Any, Any, Any]:
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=D), 0.3
    x = rng.normal(size=(n, D)).astype(np.float32)

    def predict(points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return (points.astype(np.float64) @ w + b > 0).astype(np.int64)

    exact = np.abs(x.astype(np.float64) @ w + b) / np.linalg.norm(w)
    return predict, x, predict(x), exact, w


def _starts(x: Any, labels: Any, predict: Any) -> Any:
    other = [np.flatnonzero(predict(x) != label) for label in labels]
    return np.stack([x[rows[i % len(rows)]] for i, rows in enumerate(other)])


def _ask(n: int, budget: int, order: Any = None) -> tuple[Boundary, Any]:
    predict, x, labels, exact, _ = _world(n)
    starts = _starts(x, labels, predict)
    rows = np.arange(n) if order is None else order
    generators = [np.random.default_rng([1, int(i)]) for i in rows]
    return hop_skip_jump(predict, x[rows], labels[rows], starts[rows], budget, generators), exact[rows]


def test_distances_to_a_plane() -> None:
    found, exact = _ask(40, 2000)
    # Never nearer than the plane but for the rounding of queries to float32, and near it after 2,000 queries.
    assert (found.distance > exact - 1e-5).all()
    assert np.median(found.distance / exact) < 1.05
    assert (found.distance / exact).max() < 1.5
    few, _ = _ask(40, 200)
    assert np.median(few.distance / exact) > np.median(found.distance / exact)
    assert np.corrcoef(found.distance, exact)[0, 1] > 0.98


@pytest.mark.parametrize("budget", [60, 151, 700])
def test_queries_are_counted_and_within_the_budget(budget: int) -> None:
    predict, x, labels, _, _ = _world(10)
    asked: list[int] = []

    def counting(points: np.ndarray[Any, Any]) -> Any:
        asked.append(len(points))
        return predict(points)

    generators = [np.random.default_rng(i) for i in range(10)]
    found = hop_skip_jump(counting, x, labels, _starts(x, labels, predict), budget, generators)
    assert found.queries.sum() == sum(asked)
    assert found.queries.max() <= budget
    assert found.queries.min() > budget - 100 * np.sqrt(budget)


def test_misclassified_records_have_no_distance_and_cost_one_query() -> None:
    predict, x, labels, _, _ = _world(10)
    wrong = labels.copy()
    wrong[:4] = 1 - wrong[:4]
    generators = [np.random.default_rng(i) for i in range(10)]
    found = hop_skip_jump(predict, x, wrong, _starts(x, labels, predict), 100, generators)
    assert (found.distance[:4] == 0).all()
    assert (found.queries[:4] == 1).all()
    assert (found.distance[4:] > 0).all()


def test_a_record_s_distance_does_not_depend_on_the_others() -> None:
    order = np.array([7, 2, 5])
    some, _ = _ask(10, 300, order)
    everyone, _ = _ask(10, 300)
    np.testing.assert_allclose(some.distance, everyone.distance[order], rtol=1e-6)


def test_queries_stay_within_the_limits() -> None:
    predict, x, labels, _, _ = _world(10)
    x = np.clip(x, -1, 1)
    labels = predict(x)
    low, high = np.full((1, D), -1, np.float32), np.full((1, D), 1, np.float32)

    def watched(points: np.ndarray[Any, Any]) -> Any:
        assert np.abs(points).max() <= 1 + 1e-6
        return predict(points)

    generators = [np.random.default_rng(i) for i in range(10)]
    starts = _starts(x, labels, predict)
    found = hop_skip_jump(watched, x, labels, starts, 300, generators, (low, high))
    assert (found.distance <= np.linalg.norm(starts - x, axis=1)).all()


def test_the_smallest_budget_allows_one_step() -> None:
    # 1 for the record, 1 for the start, a search, 10 draws, up to 10 halvings, a search: log2(20^1.5) = 6.5, so 7 each.
    assert least_queries(D) == 1 + 1 + 7 + 10 + 10 + 7
    found, _ = _ask(5, least_queries(D))
    assert (found.queries > 9 + 10).all()
