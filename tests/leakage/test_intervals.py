from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import (
    AucInterval,
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
    if variance > 1e-12 and len(np.unique(scores)) > 2:
        half = stats.t.isf(0.025, freedom_of(*expected)) * math.sqrt(variance)
        half /= interval.auc * (1 - interval.auc)
        odds = math.log(interval.auc / (1 - interval.auc))
        assert interval.low == pytest.approx(1 / (1 + math.exp(half - odds)), abs=1e-9)
        assert interval.high == pytest.approx(1 / (1 + math.exp(-half - odds)), abs=1e-9)


def freedom_of(*placed: np.ndarray) -> float:
    """Satterthwaite's degrees of freedom of a sum of terms with estimated variances, at most those of one side."""
    terms = [(values - values.mean()) ** 2 / len(values) ** 2 for values in placed]
    variance = sum(len(t) / (len(t) - 1) * t.sum() for t in terms)
    noise = sum(((t - t.mean()) ** 2).sum() for t in terms)
    most = min(len(t) for t in terms) - 1
    return float(max(1, min(most, 2 * variance**2 / noise))) if noise else most


def test_delong_covers_at_its_nominal_rate() -> None:
    # AUC Phi(d / sqrt 2). 1500 runs: standard error of the coverage sqrt(.95 * .05 / 1500) = .0056, of each end's
    # misses .0040. At d = 3 (AUC .983) the lower end of the plain normal interval misses in 5.5% and more.
    rng = np.random.default_rng(0)
    members = np.arange(160) < 80
    for d in (1, 3):
        truth = stats.norm.cdf(d / math.sqrt(2))
        rows = [delong(rng.normal(size=160) + d * members, members) for _ in range(1500)]
        above, below = (np.mean([x > truth for x in (r.low for r in rows)]), np.mean([r.high < truth for r in rows]))
        assert above < 0.025 + 4 * 0.0040
        assert below < 0.025 + 4 * 0.0040
        assert above + below > 0.05 - 4 * 0.0056


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
def test_rate_difference_is_square_and_add(hits: int, m: int, alarms: int, n: int) -> None:
    # Zou & Donner 2008, equation 2, of statsmodels' Clopper-Pearson intervals.
    (a, b), (c, d) = (proportion_confint(k, of, method="beta") for k, of in ((hits, m), (alarms, n)))
    p, q = hits / m, alarms / n
    low, high = rate_difference(hits, m, alarms, n)
    assert low == pytest.approx(max(-1, p - q - math.sqrt((p - a) ** 2 + (d - q) ** 2)), abs=1e-9)
    assert high == pytest.approx(min(1, p - q + math.sqrt((b - p) ** 2 + (q - c) ** 2)), abs=1e-9)
    # The same with Wilson's intervals is Newcombe's method 10, which is too narrow where rates are small.
    wilson = confint_proportions_2indep(hits, m, alarms, n, method="newcomb", compare="diff")
    assert -1 <= low <= wilson[0] + 1e-9
    assert wilson[1] - 1e-9 <= high <= 1
    assert low < p - q or p - q == -1
    assert p - q < high or p - q == 1


def test_rate_difference_of_effective_sizes_is_continuous() -> None:
    whole = rate_difference(30, 100, 10, 100)
    assert rate_difference(30 * 0.9999, 99.99, 10 * 0.9999, 99.99) == pytest.approx(whole, abs=1e-4)
    halves = rate_difference(15.5, 51.7, 5.2, 52.0)
    assert halves[0] < whole[0] < whole[1] < halves[1]


def test_rate_difference_misses_by_enumeration() -> None:
    # All counts of 60 + 60, weighted by their probability: no simulation.
    m = 60
    k = np.arange(m + 1)
    ends = np.array([[rate_difference(int(a), m, int(b), m) for b in k] for a in k])
    for p, q in ((0.5, 0.5), (0.1, 0.05), (0.02, 0.02), (0.9, 0.3)):
        weights = np.outer(stats.binom.pmf(k, m, p), stats.binom.pmf(k, m, q))
        assert weights[ends[:, :, 0] > p - q + 1e-12].sum() <= 0.031
        assert weights[ends[:, :, 1] < p - q - 1e-12].sum() <= 0.031
        assert weights[(ends[:, :, 0] <= p - q) & (p - q <= ends[:, :, 1])].sum() >= 0.95


def test_an_auc_of_two_values_has_the_interval_of_its_rates() -> None:
    # 30 of 100 members and 10 of 100 nonmembers have the higher one: AUC (1 + .3 - .1) / 2.
    scores = np.repeat([7.0, -2.0, 7.0, -2.0], [30, 70, 10, 90])
    interval = delong(scores, np.arange(200) < 100)
    low, high = rate_difference(30, 100, 10, 100)
    assert interval.auc == pytest.approx(0.6)
    assert (interval.low, interval.high) == pytest.approx(((1 + low) / 2, (1 + high) / 2))


def pairs_of(scores: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.repeat(scores, 2), np.repeat(members, 2), np.repeat(np.arange(len(scores)), 2)


def test_groups_of_one_are_no_groups() -> None:
    rng = np.random.default_rng(5)
    scores, members = rng.normal(size=90), rng.random(90) < 0.4
    one, none = delong(scores, members, groups=rng.permutation(90) + 17), delong(scores, members)
    assert (one.auc, one.variance, one.low, one.high) == pytest.approx(
        (none.auc, none.variance, none.low, none.high), rel=1e-12
    )


def test_doubled_records_know_no_more() -> None:
    rng = np.random.default_rng(6)
    members = np.arange(120) < 50
    scores = rng.normal(size=120) + members
    one, (twice, doubled, groups) = delong(scores, members), pairs_of(scores, members)
    two = delong(twice, doubled, groups=groups)
    # The same placements, summed in pairs: the variance and the degrees of freedom of the single records.
    assert (two.auc, two.variance, two.low, two.high) == pytest.approx((one.auc, one.variance, one.low, one.high))
    naive = delong(twice, doubled)
    # 1/2 of the variance, up to (m - 1) / (m - 1/2).
    assert naive.variance == pytest.approx(one.variance / 2, rel=0.02)
    binary = (scores > 0.5).astype(np.float64)
    one, two = delong(binary, members), delong(*pairs_of(binary, members)[:2], groups=groups)
    # The design effect of copies is 2 (m - 1/2) / (m - 1): nearly the same size.
    assert (two.auc, two.low, two.high) == pytest.approx((one.auc, one.low, one.high), abs=2e-3)


def test_clustered_variance_against_the_double_sum() -> None:
    # Obuchowski 1997, section 2, written out: within a side the products of all records of one group.
    rng = np.random.default_rng(7)
    members = np.arange(60) < 24
    groups = np.concatenate((rng.integers(0, 8, 24), 100 + rng.integers(0, 11, 36)))
    scores = np.round(rng.normal(size=60) + np.where(members, 0.5, 0.0), 1)
    placed = dict(zip((True, False), brute_force_placements(scores, members), strict=True))
    variance = 0.0
    for side, values in placed.items():
        of, deviations = groups[members == side], values - values.mean()
        count = len(set(of.tolist()))
        total = sum(deviations[i] * deviations[j] for i in range(len(of)) for j in range(len(of)) if of[i] == of[j])
        variance += count / (count - 1) * total / len(of) ** 2
    found = delong(scores, members, groups=groups)
    assert found.variance == pytest.approx(variance)
    sums = [
        np.array([(values - values.mean())[groups[members == side] == g].sum() for g in set(groups[members == side])])
        for side, values in placed.items()
    ]
    terms = [of**2 / len(values) ** 2 for of, values in zip(sums, placed.values(), strict=True)]
    freedom = min(7, 2 * variance**2 / sum(len(t) * t.var() for t in terms))
    half = stats.t.isf(0.025, freedom) * math.sqrt(variance) / (found.auc * (1 - found.auc))
    assert math.log(found.high / (1 - found.high)) - math.log(found.auc / (1 - found.auc)) == pytest.approx(half)


def test_users_of_several_records_are_covered() -> None:
    # 25 users of 8 records a side, within-user correlation .5, nothing leaks: 600 runs, standard error .0089.
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(50), 8)
    members = groups < 25
    plain = grouped = 0
    for _ in range(600):
        scores = rng.normal(size=50)[groups] + rng.normal(size=400)
        plain += _covers(delong(scores, members), 0.5)
        grouped += _covers(delong(scores, members, groups=groups), 0.5)
    assert grouped / 600 > 0.95 - 4 * 0.0089
    assert plain / 600 < 0.8


def _covers(interval: AucInterval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def test_a_single_group_bounds_nothing() -> None:
    members = np.arange(40) < 20
    one = delong(np.arange(40.0), members, groups=np.where(members, 0, np.arange(40)))
    assert (one.low, one.high) == (0.0, 1.0)


def test_separated_groups_are_as_many_pairs_as_groups() -> None:
    members = np.arange(60) < 40
    found = delong(members.astype(np.float64), members, groups=np.arange(60) // 5)
    # 8 groups of members and 4 of nonmembers: 4 disjoint pairs.
    assert (found.low, found.high) == pytest.approx((0.025 ** (1 / 4), 1.0))


def test_groups_that_do_not_fit_are_rejected() -> None:
    scores, members = np.arange(6.0), np.arange(6) < 3
    for groups in (np.arange(5), np.arange(6.0), np.zeros((6, 1), np.int64)):
        with pytest.raises(AttackError, match="one integer for each of 6 records"):
            delong(scores, members, groups=groups)  # type: ignore[arg-type]


@settings(derandomize=True, deadline=None, max_examples=50)
@given(TIED, st.randoms(use_true_random=False))
def test_delong_ignores_order_and_monotone_maps(pairs: list[tuple[int, bool]], random: Random) -> None:
    shuffled = list(enumerate(pairs))
    random.shuffle(shuffled)
    groups = np.arange(len(pairs)) // 2
    one = delong(*_unzip(pairs), groups=groups)
    other = delong(*_unzip([pair for _, pair in shuffled]), groups=groups[[i for i, _ in shuffled]])
    scores, members = _unzip(pairs)
    mapped = delong(np.exp(3 * scores).astype(np.float64), members, groups=groups)
    for found in (other, mapped):
        assert (found.auc, found.low, found.high) == pytest.approx((one.auc, one.low, one.high), abs=1e-9)


def _unzip(pairs: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([float(score) for score, _ in pairs]), np.array([member for _, member in pairs])


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
