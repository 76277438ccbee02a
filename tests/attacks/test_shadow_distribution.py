from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.attacks.evidence import BoolArray, FloatArray, IntArray
from edgeaudit.attacks.shadow_distribution import Curve, ShadowDistribution


def models(k: int, labels: IntArray, seed: int = 0) -> tuple[FloatArray, BoolArray]:
    """Signals of k models: difficulties of records, what a model has of its own, and more on what it trained on."""
    rng = np.random.default_rng(seed)
    n = len(labels)
    trained = rng.permuted(np.repeat(np.arange(n)[None] < n // 2, k, axis=0), axis=1)
    return rng.normal(size=n) + rng.normal(scale=0.5, size=(k, n)) + 1.0 * trained, trained


def online(labels: IntArray, k: int = 8, seed: int = 0) -> tuple[ShadowDistribution, FloatArray]:
    (target, *shadows), _ = models(k + 1, labels, seed)
    return ShadowDistribution.of(np.array(shadows), labels), target


def test_a_curve_by_hand() -> None:
    # Places of 1, 2 (twice) and 4 among four values: 1/8, 1/2, 7/8 of quantiles at 1/4 and 3/4.
    curve = Curve.to_quantiles(np.array([2.0, 4.0, 1.0, 2.0]), np.array([10.0, 20.0]))
    np.testing.assert_array_equal(curve.knots, [1, 2, 4])
    np.testing.assert_allclose(curve.values, [10, 15, 20])
    # Between knots linear, beyond them with the slope from the middle knot to that end.
    np.testing.assert_allclose(curve.at(np.array([1.5, 3.0, 0.0, 6.0])), [12.5, 17.5, 5.0, 25.0])


def test_equal_values_have_no_slope_of_their_own() -> None:
    curve = Curve.to_quantiles(np.full(3, 7.0), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(curve.at(np.array([7.0, 8.0])), [2.0, 3.0])


def test_a_target_like_its_shadows_keeps_its_values() -> None:
    labels = np.arange(2000) % 4
    moved = []
    for seed in range(10):
        distribution, target = online(labels, seed=seed)
        match = distribution.match(target)
        moved.append(np.abs(match.apply(target, labels) - target).mean())
    # Where a weight is not 0, the target is moved by less than models differ.
    assert np.median(moved) < 0.02


def test_a_monotone_change_of_all_records_is_undone() -> None:
    labels = np.zeros(2000, dtype=np.int64)
    distribution, target = online(labels)
    changed = np.exp(target) - 5
    match = distribution.match(changed)
    assert match.weight > 0.95
    assert np.abs(match.apply(changed, labels) - target).mean() < 0.1


def test_other_records_are_matched_by_the_same_curve() -> None:
    """Offline: shadows and target are compared where neither trained; members lie beyond."""
    labels = np.zeros(3000, dtype=np.int64)
    shadows, trained = models(8, labels)
    served = (~trained).sum(axis=0) > 1
    labels = labels[served]
    distribution = ShadowDistribution.of(shadows[:, served], labels, ~trained[:, served])
    rng = np.random.default_rng(5)
    known = rng.normal(scale=np.sqrt(1.25), size=len(labels))
    match = distribution.match(3 * known)
    members = 1 + rng.normal(scale=np.sqrt(1.25), size=len(labels))
    assert np.abs(match.apply(3 * members, labels) - members).mean() < 0.15


@pytest.mark.parametrize("classes", [2, 30])
def test_a_target_like_its_shadows_is_hardly_ranked_within_classes(classes: int) -> None:
    labels = np.arange(900) % classes
    found = []
    for seed in range(40):
        distribution, target = online(labels, k=4, seed=seed)
        found.append(distribution.match(target).weights.mean())
    # Of two classes one contrast is estimated, with 4 shadows: tau^2 is above 0 by chance in about a third of targets.
    assert np.mean(found) < {2: 0.25, 30: 0.1}[classes]


def test_classes_of_models_that_differ_by_class_are_left_alone() -> None:
    # Every model has offsets by class of its own: one more model does, too.
    labels = np.arange(3000) % 30
    rng = np.random.default_rng(2)
    found = []
    for seed in range(20):
        (target, *shadows), _ = models(9, labels, seed)
        offsets = rng.normal(scale=0.5, size=(9, 30))
        given = np.array(shadows) + offsets[1:, labels]
        found.append(ShadowDistribution.of(given, labels).match(target + offsets[0, labels]).weights.mean())
    assert np.mean(found) < 0.15


def test_an_offset_by_class_is_removed() -> None:
    labels = np.arange(900) % 3
    distribution, target = online(labels)
    moved = np.where(labels == 1, target + 4, target)
    match = distribution.match(moved)
    assert match.weights.min() > 0.95
    assert np.abs(match.apply(moved, labels) - target).mean() < 0.2
    # Without classes the offset stays.
    one = np.zeros(900, dtype=np.int64)
    pooled, _ = online(one)
    assert np.abs(pooled.match(moved).apply(moved, one) - target).mean() > 0.5


def test_order_is_kept_within_a_class_and_equal_values_stay_equal() -> None:
    labels = np.arange(90) % 3
    distribution, target = online(labels)
    rounded = np.asarray(np.round(np.where(labels == 1, target + 4, target)), dtype=np.float64)
    given = distribution.match(rounded).apply(rounded, labels)
    for one in range(3):
        within, values = given[labels == one], rounded[labels == one]
        for first, second in zip(*np.triu_indices(30, 1), strict=True):
            assert np.sign(within[first] - within[second]) == np.sign(values[first] - values[second])


def test_a_class_of_one_record_keeps_what_is_known_of_it() -> None:
    labels = np.where(np.arange(400) == 0, 2, np.arange(400) % 2)
    distribution, target = online(labels)
    found = distribution.match(np.where(labels == 1, target + 1, target)).weights
    assert found[2] < 0.5
    assert found[1] > 0.9


def test_shadows_without_an_answer_to_count_are_passed_over() -> None:
    labels = np.arange(60) % 2
    shadows, trained = models(6, labels)
    counted = ~trained
    counted[0] = False
    counted[1:3] = True
    found = ShadowDistribution.of(shadows, labels, counted).match(shadows[1]).apply(shadows[1], labels)
    assert np.isfinite(found).all()


def test_knots_that_are_hardly_apart_give_finite_values() -> None:
    """Saturated answers differ in the last bits of tiny numbers."""
    curve = Curve(np.array([0.0, 1e-310, 3e-310, 1.0]), np.array([-5.0, 2.0, 7.0, 8.0]))
    found = curve.at(np.array([-1.0, 0.0, 2e-310, 0.5, 2.0]))
    assert np.isfinite(found).all()
    assert (np.diff(found) >= 0).all()
