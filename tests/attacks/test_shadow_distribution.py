from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.attacks.evidence import FloatArray, IntArray
from edgeaudit.attacks.shadow_distribution import ShadowDistribution


def models(k: int, labels: IntArray, seed: int = 0) -> FloatArray:
    """Signals of k models: a difficulty of each record, what a model has of its own, and memberships in halves."""
    rng = np.random.default_rng(seed)
    n = len(labels)
    trained = rng.permuted(np.repeat(np.arange(n)[None] < n // 2, k, axis=0), axis=1)
    return np.asarray(rng.normal(size=n) + rng.normal(scale=0.5, size=(k, n)) + 1.0 * trained, dtype=np.float64)


def weights(distribution: ShadowDistribution, values: FloatArray) -> FloatArray:
    by_rank = np.empty(len(values))
    by_rank[np.argsort(values, kind="stable")] = distribution.quantiles
    return distribution.weights(by_rank)


def test_a_monotone_change_of_all_records_is_undone() -> None:
    labels = np.arange(600) % 3
    target, *shadows = models(9, labels)
    distribution = ShadowDistribution.of(np.array(shadows), labels)
    np.testing.assert_allclose(distribution.give(np.exp(2 * target) - 5), distribution.give(target))


@pytest.mark.parametrize("classes", [2, 30])
def test_a_target_like_its_shadows_is_hardly_ranked_within_classes(classes: int) -> None:
    labels = np.arange(900) % classes
    found = []
    for seed in range(40):
        target, *shadows = models(5, labels, seed)
        found.append(weights(ShadowDistribution.of(np.array(shadows), labels), target).mean())
    # Of two classes one contrast is estimated, with 4 shadows: tau^2 is above 0 by chance in about a third of targets.
    assert np.mean(found) < {2: 0.25, 30: 0.1}[classes]


def test_an_offset_by_class_is_removed() -> None:
    labels = np.arange(900) % 3
    target, *shadows = models(9, labels)
    distribution = ShadowDistribution.of(np.array(shadows), labels)
    moved = np.where(labels == 1, target + 4, target)
    assert weights(distribution, moved).min() > 0.95
    assert np.abs(distribution.give(moved) - distribution.give(target)).mean() < 0.1
    # Without classes the offset stays.
    pooled = ShadowDistribution.of(np.array(shadows), np.zeros(900, dtype=np.int64))
    assert np.abs(pooled.give(moved) - pooled.give(target)).mean() > 0.5


def test_order_is_kept_within_a_class_and_equal_values_stay_equal() -> None:
    labels = np.arange(90) % 3
    target, *shadows = models(9, labels)
    target = np.round(np.where(labels == 1, target + 4, target))
    given = ShadowDistribution.of(np.array(shadows), labels).give(target)
    for one in range(3):
        within, values = given[labels == one], target[labels == one]
        for first, second in zip(*np.triu_indices(30, 1), strict=True):
            assert np.sign(within[first] - within[second]) == np.sign(values[first] - values[second])


def test_a_class_of_one_record_keeps_what_is_known_of_it() -> None:
    labels = np.where(np.arange(400) == 0, 2, np.arange(400) % 2)
    target, *shadows = models(9, labels)
    moved = np.where(labels == 1, target + 1, target)
    found = weights(ShadowDistribution.of(np.array(shadows), labels), moved)
    assert found[2] < 0.5
    assert found[1] > 0.9
