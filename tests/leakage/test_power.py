from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.power import TTestPower

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson, delong
from edgeaudit.leakage.operating_points import tpr_at_fpr
from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.power import (
    hanley_mcneil_variance,
    nonmembers_to_bound_fpr,
    nonmembers_to_resolve,
    paired_t_power,
    records_for_auc,
    records_for_auc_difference,
    targets_for_difference,
)
from edgeaudit.leakage.targets import paired_over_targets


def test_nonmembers_by_hand() -> None:
    # .999^n <= .05: n >= log .05 / log .999 = 2994.2; at .025: 3687.0 (3687.04).
    assert math.log(0.05) / math.log(0.999) == pytest.approx(2994.2, abs=0.05)
    assert nonmembers_to_bound_fpr(0.001) == 2995
    assert nonmembers_to_bound_fpr(0.001, level=0.975) == math.ceil(math.log(0.025) / math.log(0.999)) == 3688
    assert nonmembers_to_resolve(0.001) == 999


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(0, 20), st.sampled_from([0.001, 0.01, 0.05, 0.3]), st.sampled_from([0.9, 0.95, 0.975]))
def test_nonmembers_are_the_fewest_that_bound(alarms: int, alpha: float, level: float) -> None:
    n = nonmembers_to_bound_fpr(alpha, alarms, level)
    assert clopper_pearson(alarms, n, 2 * level - 1)[1] <= alpha + 1e-12
    if n > alarms + 1:
        assert clopper_pearson(alarms, n - 1, 2 * level - 1)[1] > alpha


def test_one_nonmember_fewer_is_not_resolvable() -> None:
    n = nonmembers_to_resolve(0.01)
    for nonmembers, resolvable in ((n, True), (n - 1, False)):
        scores = np.arange(nonmembers + 5.0)
        point = tpr_at_fpr(scores, scores >= nonmembers, 0.01)
        assert (point.tpr is not None) == resolvable


def test_hanley_mcneil_by_hand() -> None:
    # A = 1/2: Q1 = Q2 = 1/3, so [1/4 + (m + n - 2)/12] / mn = (m + n + 1) / (12 mn), Mann-Whitney's under H0.
    assert hanley_mcneil_variance(0.5, 30, 50) == pytest.approx(81 / (12 * 1500))
    # Exponential scores, where Q1 and Q2 are exact: members with mean 3 beat nonmembers with mean 1 with 3/4.
    rng = np.random.default_rng(0)
    inside, outside = 3 * rng.exponential(size=(3000, 40)), rng.exponential(size=(3000, 40))
    values = [(a[:, None] > b[None, :]).mean() for a, b in zip(inside, outside, strict=True)]
    # Relative standard error of a variance of 3000: sqrt(2 / 3000) = .026.
    assert np.var(values) == pytest.approx(hanley_mcneil_variance(0.75, 40, 40), rel=4 * 0.026)


@pytest.mark.parametrize(("auc", "ratio"), [(0.5, 1.0), (0.7, 1.0), (0.7, 3.0)])
def test_records_for_auc_reach_the_width(auc: float, ratio: float) -> None:
    # Normal scores, for which Hanley-McNeil is near: mean half width within 7% of what was asked.
    m, n = records_for_auc(auc, 0.03, ratio)
    assert n == math.ceil(ratio * m)
    rng = np.random.default_rng(1)
    members = np.arange(m + n) < m
    shift = math.sqrt(2) * stats.norm.ppf(auc)
    found = [delong(rng.normal(size=m + n) + shift * members, members) for _ in range(40)]
    assert np.mean([(row.high - row.low) / 2 for row in found]) == pytest.approx(0.03, rel=0.07)
    half = 1.959964 * math.sqrt(hanley_mcneil_variance(auc, m - 1, math.ceil(ratio * (m - 1))))
    assert half > 0.03


def correlated(rng: np.random.Generator, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two scores of the same records whose AUCs differ by .0405 (Phi(1 / sqrt 3) - Phi(.8 / sqrt 3)), members last."""
    members = np.arange(m + n) >= n
    common = rng.normal(size=m + n)
    first, second = (common + math.sqrt(0.5) * rng.normal(size=m + n) + shift * members for shift in (1.0, 0.8))
    return first, second, members


def test_records_for_a_difference_reach_the_power() -> None:
    rng = np.random.default_rng(2)
    difference = float(stats.norm.cdf(1 / math.sqrt(3)) - stats.norm.cdf(0.8 / math.sqrt(3)))
    m, n = records_for_auc_difference(*correlated(rng, 1000, 2000), difference)
    assert n == pytest.approx(2 * m, abs=2)
    p_values = [auc_difference(*correlated(rng, m, n)).p_value for _ in range(400)]
    # Power .8, standard error .02; the pilot's variance is good to some percent, which moves it by about .02.
    assert abs(np.mean([p is not None and p <= 0.05 for p in p_values]) - 0.8) < 4 * 0.02 + 0.02


def test_records_for_a_difference_fall_with_its_square() -> None:
    pilot = correlated(np.random.default_rng(3), 300, 300)
    few, many = (records_for_auc_difference(*pilot, d)[0] for d in (0.04, 0.004))
    assert many == pytest.approx(100 * few, rel=0.02)
    assert records_for_auc_difference(*pilot, -0.04)[0] == few


@pytest.mark.parametrize(("effect", "power"), [(0.5, 0.8), (1.0, 0.8), (2.0, 0.9), (0.05, 0.8)])
def test_targets_against_statsmodels(effect: float, power: float) -> None:
    expected = TTestPower().solve_power(effect_size=effect, power=power, alpha=0.05)
    assert targets_for_difference(0.02 * effect, 0.02, power) == math.ceil(expected)
    for targets in (3, 5, 10):
        assert paired_t_power(targets, -effect, 1.0) == pytest.approx(TTestPower().power(effect, targets, 0.05))


@pytest.mark.parametrize("targets", [2, 3, 10, 1000])
@pytest.mark.parametrize("shift", [0.5, 6.9, 7.1, 8.0, 12.0, 31.0, 36.0, 100.0])
def test_power_against_the_integral_over_the_variance(targets: int, shift: float) -> None:
    # Given (T - 1) s^2 / sd^2 = c, a chi-square draw, the test rejects where |Z + shift| > edge sqrt(c / (T - 1)).
    # statsmodels and scipy's nct.cdf are NaN at some of these.
    df = targets - 1
    edge = float(stats.t.isf(0.025, df))

    def at(c: float) -> float:
        limit = edge * math.sqrt(c / df)
        return float(stats.chi2.pdf(c, df) * (stats.norm.sf(limit - shift) + stats.norm.cdf(-limit - shift)))

    low, *inner, high = (float(stats.chi2.ppf(q, df)) for q in (1e-15, 0.01, 0.1, 0.5, 0.9, 0.99, 1 - 1e-15))
    expected = integrate.quad(at, low, high, points=inner, limit=200)[0]
    assert paired_t_power(targets, shift / math.sqrt(targets), 1.0) == pytest.approx(expected, abs=1e-7)


def test_targets_reach_the_power() -> None:
    # One standard deviation: 10 targets have .8031; 1000 simulations, standard error .0126.
    targets = targets_for_difference(1.0, 1.0)
    assert targets == 10
    rng = np.random.default_rng(4)
    rows = [paired_over_targets(list(rng.normal(1, 1, targets)), [0.0] * targets) for _ in range(1000)]
    found = np.mean([row.p_value is not None and row.p_value <= 0.05 for row in rows])
    assert abs(found - paired_t_power(targets, 1.0, 1.0)) < 4 * 0.0126


def test_power_of_what_cannot_be_missed() -> None:
    assert paired_t_power(200, 100.0, 1.0) == 1.0
    assert paired_t_power(5, 0.0, 1.0) == pytest.approx(0.05)


def test_invalid_arguments_are_rejected() -> None:
    flat = np.zeros(6)
    for call in (
        lambda: nonmembers_to_bound_fpr(0.0),
        lambda: nonmembers_to_bound_fpr(0.1, -1),
        lambda: nonmembers_to_bound_fpr(0.1, level=1.0),
        lambda: nonmembers_to_resolve(1.0),
        lambda: hanley_mcneil_variance(0.7, 0, 5),
        lambda: records_for_auc(1.0, 0.03),
        lambda: records_for_auc(0.7, 0.03, 0.0),
        lambda: records_for_auc(0.7, 1e-7),
        lambda: records_for_auc_difference(flat, flat, np.arange(6) < 3, 0.1),
        lambda: records_for_auc_difference(flat, flat, np.arange(6) < 1, 0.1),
        lambda: records_for_auc_difference(flat, flat, np.arange(6) < 3, 0.0),
        lambda: targets_for_difference(0.0, 1.0),
        lambda: targets_for_difference(1.0, 0.0),
        lambda: paired_t_power(1, 1.0, 1.0),
    ):
        with pytest.raises(AttackError):
            call()
