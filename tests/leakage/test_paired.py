from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeaudit.leakage.paired import _tpr, auc_difference, tpr_difference
from edgeaudit.leakage.roc import allowed_false_positives, auc, tpr_at_fpr

MEMBERS = np.arange(200) < 90


def two_scores(seed: int, shift: float = 1.0, other: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Correlated scores of the same records, rounded so that there are ties."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=200)
    first = common + 0.7 * rng.normal(size=200) + shift * MEMBERS
    second = common + 0.7 * rng.normal(size=200) + other * MEMBERS
    return np.round(first, 1), np.round(second, 1)


def test_auc_difference_against_the_covariance_matrix() -> None:
    # DeLong 1988 as written: S10 and S01 from all member x nonmember pairs, contrast (1, -1).
    first, second = two_scores(0)

    def wins(scores: np.ndarray) -> np.ndarray:
        a, b = scores[MEMBERS][:, None], scores[~MEMBERS][None, :]
        return np.asarray((a > b) + 0.5 * (a == b))

    s10 = np.cov([wins(x).mean(axis=1) for x in (first, second)])
    s01 = np.cov([wins(x).mean(axis=0) for x in (first, second)])
    contrast = np.array([1.0, -1.0])
    variance = contrast @ (s10 / 90 + s01 / 110) @ contrast
    value = auc(first, MEMBERS) - auc(second, MEMBERS)
    difference = auc_difference(first, second, MEMBERS)
    assert difference.value == pytest.approx(value)
    assert (difference.low, difference.high) == pytest.approx(
        (value - 1.959964 * math.sqrt(variance), value + 1.959964 * math.sqrt(variance)), abs=1e-6
    )
    assert difference.p_value == pytest.approx(2 * stats.norm.sf(abs(value) / math.sqrt(variance)))


def test_auc_difference_changes_sign_with_the_order() -> None:
    first, second = two_scores(1)
    there, back = auc_difference(first, second, MEMBERS), auc_difference(second, first, MEMBERS)
    assert there.value is not None
    assert there.low is not None
    assert (back.value, back.high, back.p_value) == pytest.approx((-there.value, -there.low, there.p_value))


def test_pairing_narrows_the_interval() -> None:
    first, second = two_scores(2)
    paired = auc_difference(first, second, MEMBERS)
    unpaired = auc_difference(first, two_scores(99)[1], MEMBERS)
    assert paired.high is not None
    assert paired.low is not None
    assert unpaired.high is not None
    assert unpaired.low is not None
    assert paired.high - paired.low < 0.8 * (unpaired.high - unpaired.low)


def test_auc_difference_rejects_at_its_level_under_h0() -> None:
    # 1000 runs at .05: standard error .0069.
    p = [auc_difference(*two_scores(seed, 0.8, 0.8), MEMBERS).p_value for seed in range(1000)]
    assert abs(np.mean(np.array(p, dtype=np.float64) < 0.05) - 0.05) < 4 * 0.0069


def test_the_same_ranking_twice() -> None:
    first, _ = two_scores(3)
    same = auc_difference(first, np.exp(first), MEMBERS)
    # 90 disjoint pairs without a difference: 1 - .025^(1/90) = .0402.
    half = 1 - 0.025 ** (1 / 90)
    assert (same.value, same.low, same.high, same.p_value) == pytest.approx((0.0, -half, half, 1.0))


def test_separated_against_tied() -> None:
    separated, tied = MEMBERS.astype(np.float64), np.zeros(200)
    difference = auc_difference(separated, tied, MEMBERS)
    assert difference.value == 0.5
    assert difference.low is not None
    assert 0.4 < difference.low < 0.5
    assert difference.p_value == pytest.approx(2 * 0.5**90)


def test_one_member_bounds_nothing() -> None:
    difference = auc_difference(np.arange(3.0), -np.arange(3.0), np.array([False, False, True]))
    assert (difference.value, difference.low, difference.high, difference.p_value) == (1.0, -1.0, 1.0, 1.0)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
    st.lists(st.integers(0, 5), min_size=1, max_size=20),
    st.sampled_from([0.1, 0.3, 1.0]),
)
def test_the_bootstrap_s_tpr_is_that_of_the_figure(inside: list[int], outside: list[int], alpha: float) -> None:
    scores = np.array([*inside, *outside], dtype=np.float64)
    members = np.arange(len(scores)) < len(inside)
    allowed = allowed_false_positives(alpha, len(outside))
    if allowed:
        point = tpr_at_fpr(scores, members, alpha)
        assert _tpr(scores[members], scores[~members], allowed) == (point.tpr or 0.0)


def test_tpr_difference_covers_the_truth_and_sees_it() -> None:
    # At FPR .1 a shift d has TPR Phi(d - 1.2816): .764 for 2, .389 for 1; difference .375. Standard error of each TPR
    # about sqrt(.25 / 1000) = .016 and as much from the threshold: the value is within .1.
    rng = np.random.default_rng(4)
    members = np.arange(2000) < 1000
    common = rng.normal(size=2000)
    difference = tpr_difference(common + 2 * members, common + members, members, 0.1, rng, resamples=300)
    truth = stats.norm.cdf(2 - 1.2816) - stats.norm.cdf(1 - 1.2816)
    assert difference.value is not None
    assert difference.low is not None
    assert difference.high is not None
    assert abs(difference.value - truth) < 0.1
    assert 0.2 < difference.low < difference.value < difference.high < 0.5
    assert difference.p_value == pytest.approx(2 / 301)


def test_tpr_difference_is_calibrated_under_h0() -> None:
    # Two equally good scores: 200 runs at .05 have standard error .0154. One-sided: with 11 false positives allowed the
    # figure is discrete and the percentile test conservative.
    rejected = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        first, second = rng.normal(size=(2, 200)) + MEMBERS
        p = tpr_difference(first, second, MEMBERS, 0.1, rng, resamples=100).p_value
        assert p is not None
        rejected += p < 0.05
    assert rejected / 200 < 0.05 + 4 * 0.0154


def test_tpr_difference_repeats_with_its_generator() -> None:
    first, second = two_scores(5)
    runs = [tpr_difference(first, second, MEMBERS, 0.1, np.random.default_rng(s), resamples=50) for s in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_tpr_difference_notes_degenerate_resamples() -> None:
    first, _ = two_scores(6)
    rng = np.random.default_rng(0)
    same = tpr_difference(first, first, MEMBERS, 0.1, rng, resamples=20)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert "no width" in str(same.note)


def test_tpr_difference_needs_both_figures() -> None:
    first, _ = two_scores(6)
    rng = np.random.default_rng(0)
    few = tpr_difference(first, first, MEMBERS, 0.001, rng)
    assert (few.value, few.low, few.high, few.p_value) == (None, None, None, None)
    assert "1000 nonmembers are needed" in str(few.note)
    # A format that puts all records on one value is not one that leaks less.
    for one, other in ((first, np.zeros(200)), (np.zeros(200), first)):
        tied = tpr_difference(one, other, MEMBERS, 0.1, rng)
        assert tied.value is None
        assert "tie at the highest score" in str(tied.note)
