from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from edgeaudit.errors import AttackError
from edgeaudit.leakage.roc import auc, roc, split_scores, thin

# Few distinct values, so that ties are the rule.
TIED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda pairs: len({member for _, member in pairs}) == 2
)


def unzip(pairs: list[tuple[int, bool]]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    return np.array([float(score) for score, _ in pairs]), np.array([member for _, member in pairs])


def test_roc_by_hand_with_ties() -> None:
    # Scores 2: member; 1: two members and one nonmember; 0: one nonmember.
    curve = roc(np.array([2.0, 1.0, 1.0, 1.0, 0.0]), np.array([True, True, True, False, False]))
    np.testing.assert_array_equal(curve.thresholds, [np.inf, 2.0, 1.0, 0.0])
    np.testing.assert_array_equal(curve.true_positives, [0, 1, 3, 3])
    np.testing.assert_array_equal(curve.false_positives, [0, 0, 1, 2])


def test_hard_labels_reach_the_corner() -> None:
    # Fault 5: TPR .88 and FPR .626 with two score values; the area under the chords is 1/2 + (.88 - .626)/2 = .627.
    scores = np.repeat([1.0, 0.0, 1.0, 0.0], [880, 120, 626, 374])
    members = np.arange(2000) < 1000
    curve = roc(scores, members)
    assert (curve.tpr[-1], curve.fpr[-1]) == (1.0, 1.0)
    assert auc(scores, members) == pytest.approx(0.627, abs=1e-12)
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(0.627, abs=1e-12)


@settings(derandomize=True, deadline=None)
@given(TIED)
def test_roc_and_auc_against_sklearn_mann_whitney_and_counting(pairs: list[tuple[int, bool]]) -> None:
    scores, members = unzip(pairs)
    curve = roc(scores, members)
    for t, hits, alarms in zip(curve.thresholds, curve.true_positives, curve.false_positives, strict=True):
        assert hits == (scores[members] >= t).sum()
        assert alarms == (scores[~members] >= t).sum()
    assert (curve.true_positives[-1], curve.false_positives[-1]) == (members.sum(), (~members).sum())
    value = auc(scores, members)
    assert value == pytest.approx(float(roc_auc_score(members, scores)))
    u = stats.mannwhitneyu(scores[members], scores[~members], method="asymptotic").statistic
    assert value == pytest.approx(u / (members.sum() * (~members).sum()))
    assert value == pytest.approx(float(np.trapezoid(curve.tpr, curve.fpr)))


def test_gaussian_shift_has_its_auc() -> None:
    # AUC = Phi(1 / sqrt 2) = .7602; standard error below sqrt(AUC (1 - AUC) / 20000) = .0030.
    rng = np.random.default_rng(0)
    members = np.arange(40_000) < 20_000
    value = auc(rng.normal(size=40_000) + members, members)
    assert abs(value - stats.norm.cdf(1 / math.sqrt(2))) < 4 * 0.0030


def test_auc_reverses_with_the_sign_and_ignores_monotone_maps() -> None:
    rng = np.random.default_rng(1)
    scores, members = rng.normal(size=300), rng.random(300) < 0.4
    assert auc(-scores, members) == pytest.approx(1 - auc(scores, members))
    assert auc(np.exp(scores), members) == auc(scores, members)


def test_thinned_curve_is_part_of_the_curve() -> None:
    rng = np.random.default_rng(3)
    members = np.arange(20_000) < 10_000
    curve = roc(rng.normal(size=20_000) + members, members)
    fpr, tpr = thin(curve, points=100)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert len(fpr) <= 302
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    points = set(zip(curve.fpr.tolist(), curve.tpr.tolist(), strict=True))
    assert set(zip(fpr.tolist(), tpr.tolist(), strict=True)) <= points
    # The chords of the thinned curve lose little area, and low FPR is kept: 1, 2, 3 ... nonmembers.
    assert float(np.trapezoid(tpr, fpr)) == pytest.approx(float(np.trapezoid(curve.tpr, curve.fpr)), abs=0.001)
    assert (fpr < 0.001).sum() > 10
    tiny = roc(np.array([1.0, 0.0]), np.array([True, False]))
    np.testing.assert_array_equal(thin(tiny)[1], [0, 1, 1])


def test_invalid_scores_are_rejected() -> None:
    members = np.array([True, False])
    with pytest.raises(AttackError, match="1 of 2 scores are NaN or infinite"):
        split_scores(np.array([0.0, np.nan]), members)
    with pytest.raises(AttackError, match="at least one member"):
        split_scores(np.zeros(2), np.array([True, True]))
    with pytest.raises(AttackError, match="memberships bool"):
        split_scores(np.zeros(3), members)
    with pytest.raises(AttackError, match="memberships bool"):
        split_scores(np.zeros(2), np.array([1, 0]))
