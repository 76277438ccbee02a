from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from edgeaudit.leakage.intervals import (
    clopper_pearson,
    clopper_pearson_bounds,
    delong,
    placements,
    ppv,
    ppv_interval,
    rate_difference,
)
from edgeaudit.leakage.roc import auc

TIED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=40).filter(
    lambda pairs: 2 <= sum(member for _, member in pairs) <= len(pairs) - 2
)


def test_clopper_pearson_by_hand() -> None:
    # 0 of n: the upper bound u solves (1 - u)^n = .025.
    low, high = clopper_pearson(0, 10)
    assert low == 0.0
    assert high == pytest.approx(1 - 0.025**0.1)
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    # Fault 11: one false positive of 1,000 is anything from .0025% to .56%.
    low, high = clopper_pearson(1, 1000)
    assert low == pytest.approx(0.000025, abs=5e-7)
    assert high == pytest.approx(0.0056, abs=5e-5)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.975])
@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 10), (10, 10), (17, 2500)])
def test_clopper_pearson_against_statsmodels(successes: int, trials: int, level: float) -> None:
    expected = proportion_confint(successes, trials, alpha=1 - level, method="beta")
    assert clopper_pearson(successes, trials, level) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_clopper_pearson_of_many_counts_is_that_of_each(level: float) -> None:
    counts = np.arange(31)
    expected = np.array([clopper_pearson(int(count), 30, level) for count in counts])
    np.testing.assert_allclose(np.stack(clopper_pearson_bounds(counts, 30, level), axis=1), expected, atol=1e-9)
    np.testing.assert_array_equal(np.stack(clopper_pearson_bounds(np.array([0, 1]), 1))[[0, 1], [0, 1]], [0.0, 1.0])


def brute_force_placements(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside, outside = scores[members][:, None], scores[~members][None, :]
    wins = (inside > outside) + 0.5 * (inside == outside)
    return wins.mean(axis=1), wins.mean(axis=0)


@settings(derandomize=True, deadline=None)
@given(TIED)
def test_delong_against_the_double_sum(pairs: list[tuple[int, bool]]) -> None:
    scores, members = np.array([float(s) for s, _ in pairs]), np.array([m for _, m in pairs])
    expected = brute_force_placements(scores, members)
    for got, wanted in zip(placements(scores, members), expected, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-12)
    interval = delong(scores, members)
    variance = expected[0].var(ddof=1) / members.sum() + expected[1].var(ddof=1) / (~members).sum()
    assert interval.auc == pytest.approx(auc(scores, members))
    assert interval.variance == pytest.approx(variance, abs=1e-12)
    assert 0 <= interval.low <= interval.auc <= interval.high <= 1
    assert interval.low < interval.high
    if variance > 1e-12:
        assert interval.low == pytest.approx(max(0, interval.auc - 1.959964 * math.sqrt(variance)), abs=1e-6)


def test_delong_covers_at_its_nominal_rate() -> None:
    # AUC Phi(1 / sqrt 2). 1500 runs: standard error of the coverage sqrt(.95 * .05 / 1500) = .0056; the normal
    # interval of 80 + 80 records is short by up to about .01 (second-order error, 1/n).
    rng = np.random.default_rng(0)
    members = np.arange(160) < 80
    truth = stats.norm.cdf(1 / math.sqrt(2))
    covered = [
        interval.low <= truth <= interval.high
        for interval in (delong(rng.normal(size=160) + members, members) for _ in range(1500))
    ]
    assert 0.95 - 0.01 - 4 * 0.0056 < np.mean(covered) < 0.95 + 4 * 0.0056


def test_degenerate_aucs_keep_a_width() -> None:
    members = np.arange(60) < 40
    # 20 disjoint pairs all gave the same: q = .025^(1/20) = .8316.
    q = 0.025 ** (1 / 20)
    perfect = delong(np.where(members, 1.0, 0.0), members)
    assert (perfect.auc, perfect.variance) == (1.0, 0.0)
    assert (perfect.low, perfect.high) == pytest.approx((q, 1.0))
    inverse = delong(np.where(members, 0.0, 1.0), members)
    assert (inverse.auc, inverse.low, inverse.high) == pytest.approx((0.0, 0.0, 1 - q))
    tied = delong(np.zeros(60), members)
    assert (tied.auc, tied.low, tied.high) == pytest.approx((0.5, q / 2, 1 - q / 2))
    single = delong(np.arange(3.0), np.array([False, True, False]))
    assert (single.auc, single.low, single.high) == (0.5, 0.0, 1.0)
    assert math.isnan(single.variance)


@pytest.mark.parametrize(
    ("hits", "m", "alarms", "n"), [(56, 70, 48, 80), (0, 10, 0, 20), (10, 10, 0, 20), (3, 500, 1, 400)]
)
def test_rate_difference_against_statsmodels(hits: int, m: int, alarms: int, n: int) -> None:
    expected = confint_proportions_2indep(hits, m, alarms, n, method="newcomb", compare="diff")
    low, high = rate_difference(hits, m, alarms, n)
    assert (low, high) == pytest.approx(expected, abs=1e-9)
    assert low < high


def test_rate_difference_against_newcombe_s_paper() -> None:
    # Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80 = .2000, interval .0524 to .3339.
    assert rate_difference(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_ppv_by_hand() -> None:
    # TPR .2, FPR .01. Prior .1: .02 / (.02 + .009) = 20/29. Prior .01: .002 / (.002 + .0099) = 20/119.
    assert ppv(0.2, 0.01, 0.1) == pytest.approx(20 / 29)
    assert ppv(0.2, 0.01, 0.01) == pytest.approx(20 / 119)
    assert ppv(0.3, 0.3, 0.5) == pytest.approx(0.5)
    assert ppv(0.0, 0.0, 0.5) is None


def test_ppv_interval_is_at_the_corners() -> None:
    tpr, fpr = clopper_pearson(200, 1000, 0.975), clopper_pearson(10, 1000, 0.975)
    low, high = ppv_interval(200, 1000, 10, 1000, 0.1)
    assert low == pytest.approx(0.1 * tpr[0] / (0.1 * tpr[0] + 0.9 * fpr[1]))
    assert high == pytest.approx(0.1 * tpr[1] / (0.1 * tpr[1] + 0.9 * fpr[0]))
    # No false positive is no proof: 5 of 100 against 0 of 100 at a prior of 1%.
    low, high = ppv_interval(5, 100, 0, 100, 0.01)
    assert high == 1.0
    assert low < 0.01


def test_ppv_interval_covers() -> None:
    # Conservative by Bonferroni: at least .95, less four standard errors of 400 runs, .0109 each.
    rng = np.random.default_rng(1)
    truth = ppv(0.3, 0.1, 0.1)
    assert truth is not None
    hits, alarms = rng.binomial(200, 0.3, 400), rng.binomial(200, 0.1, 400)
    bounds = [ppv_interval(int(h), 200, int(a), 200, 0.1) for h, a in zip(hits, alarms, strict=True)]
    assert np.mean([low <= truth <= high for low, high in bounds]) > 0.95 - 4 * 0.0109
