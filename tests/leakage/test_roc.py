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
from edgeaudit.leakage.roc import (
    allowed_false_positives,
    auc,
    nonmembers_needed,
    roc,
    split_scores,
    thin,
    tpr_at_fpr,
)

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


@settings(derandomize=True, deadline=None)
@given(TIED, st.sampled_from([0.05, 0.1, 0.25, 0.5, 1.0]))
def test_tpr_at_fpr_is_the_best_allowed_threshold(pairs: list[tuple[int, bool]], alpha: float) -> None:
    scores, members = unzip(pairs)
    point = tpr_at_fpr(scores, members, alpha)
    options = [
        (float((scores[members] >= t).mean()), float((scores[~members] >= t).mean()))
        for t in range(-3, 5)
        if (scores[~members] >= t).mean() <= alpha
    ]
    best = max(tpr for tpr, _ in options)
    if point.tpr is None:
        assert point.note
        assert (~members).sum() < 1 / alpha or max(tpr + fpr for tpr, fpr in options) == 0
    else:
        assert point.tpr == best
        assert point.realised_fpr is not None
        assert point.realised_fpr <= alpha
        assert point.threshold is not None
        assert point.true_positives == (scores[members] >= point.threshold).sum()
        assert point.false_positives == (scores[~members] >= point.threshold).sum()


def test_tpr_at_fpr_by_hand() -> None:
    # 100 nonmembers 0..99; 1% allows one of them: threshold just above 98 takes 99 only. Members 98.5 and 99.5 of 4.
    scores = np.concatenate((np.arange(100.0), [98.5, 99.5, 50.0, 2.0]))
    members = np.arange(104) >= 100
    point = tpr_at_fpr(scores, members, 0.01)
    assert (point.tpr, point.realised_fpr, point.true_positives, point.false_positives) == (0.5, 0.01, 2, 1)
    assert point.note is None


def test_below_one_nonmember_is_not_resolvable() -> None:
    # Fault 8: a figure "at 0.1%" with 500 nonmembers would be the one at 0 false positives.
    rng = np.random.default_rng(2)
    point = tpr_at_fpr(rng.normal(size=1000), np.arange(1000) < 500, 0.001)
    assert (point.tpr, point.realised_fpr, point.threshold) == (None, None, None)
    assert point.note == ("not resolvable: 0.001 of 500 nonmembers is less than one record; 1000 nonmembers are needed")
    assert tpr_at_fpr(rng.normal(size=2000), np.arange(2000) < 1000, 0.001).tpr is not None


def test_ties_that_leave_no_operating_point() -> None:
    # Rounded scores must not be interpolated: 30 of 1000 nonmembers are on the highest value, 1% allows 10.
    scores = np.repeat([1.0, 0.0, 1.0, 0.0], [100, 900, 30, 970])
    point = tpr_at_fpr(scores, np.arange(2000) < 1000, 0.01)
    assert point.tpr is None
    assert point.note == (
        "not resolvable: no threshold has an FPR of 0.01, since 100 members and 30 nonmembers tie at the highest "
        "score, and 10 of 1000 nonmembers are allowed"
    )


@pytest.mark.parametrize(
    ("alpha", "n", "allowed"),
    [(0.01, 100, 1), (0.001, 1000, 1), (0.29, 100, 29), (0.01, 99, 0), (1.0, 7, 7), (0.07, 100, 7)],
)
def test_allowed_false_positives(alpha: float, n: int, allowed: int) -> None:
    assert allowed_false_positives(alpha, n) == allowed


@pytest.mark.parametrize(("alpha", "needed"), [(0.01, 100), (0.001, 1000), (0.03, 34), (1.0, 1), (1 / 49, 49)])
def test_nonmembers_needed(alpha: float, needed: int) -> None:
    assert nonmembers_needed(alpha) == needed
    assert allowed_false_positives(alpha, needed) >= 1
    assert needed == 1 or allowed_false_positives(alpha, needed - 1) == 0


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
    with pytest.raises(AttackError, match="between 0 and 1"):
        allowed_false_positives(1.5, 10)
