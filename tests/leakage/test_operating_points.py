"""TPR at an FPR: ranks by hand, K and the interval against slow implementations, coverage with a moving threshold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import clopper_pearson
from edgeaudit.leakage.operating_points import (
    accused_rank,
    least_nonmembers,
    members_above,
    nonmembers_for_a_lower_end,
    saturated,
    tpr_at_fpr,
    tpr_interval,
)

SCORES = st.lists(st.integers(-2, 2), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("alpha", "n", "rank"),
    [(0.01, 99, 1), (0.01, 98, 0), (0.001, 999, 1), (0.001, 1000, 1), (0.29, 99, 29), (0.07, 99, 7), (0.5, 1, 1),
     (0.01, 1000, 10), (0.01, 1099, 11), (0.01, 1098, 10), (0.999, 3, 3), (1 / 3, 2, 1)],
)  # fmt: skip
def test_rank(alpha: float, n: int, rank: int) -> None:
    assert accused_rank(alpha, n) == rank


@settings(derandomize=True)
@given(st.integers(1, 10**6), st.sampled_from([0.001, 0.003, 0.01, 0.05, 0.07, 0.29, 0.57, 0.9]))
def test_rank_is_the_largest_whose_expected_fpr_is_allowed(n: int, alpha: float) -> None:
    # In whole numbers: alpha is a decimal of three digits.
    assert accused_rank(alpha, n) == round(1000 * alpha) * (n + 1) // 1000


@pytest.mark.parametrize(("alpha", "needed"), [(0.01, 99), (0.001, 999), (0.03, 33), (0.5, 1), (0.9, 1), (1 / 49, 48)])
def test_fewest_nonmembers(alpha: float, needed: int) -> None:
    assert least_nonmembers(alpha) == needed
    assert accused_rank(alpha, needed) >= 1
    assert needed == 1 or accused_rank(alpha, needed - 1) == 0


@pytest.mark.parametrize(("alpha", "needed"), [(0.01, 368), (0.001, 3688), (0.05, 72)])
def test_nonmembers_for_a_lower_end(alpha: float, needed: int) -> None:
    assert nonmembers_for_a_lower_end(alpha) == needed
    assert (1 - alpha) ** needed <= 0.025 < (1 - alpha) ** (needed - 1)
    # All members above all nonmembers: the lower end leaves 0 there, and not before.
    for n, above in ((needed, True), (needed - 1, False)):
        low, high = tpr_interval(np.r_[0.0, np.full(n + 1, 50.0)], 50, n, alpha)
        assert (low > 0) == above
        assert high == 1.0


def test_the_expected_fpr_is_the_rank_s() -> None:
    # Uniform nonmembers: the FPR above the r-th largest is that of Beta(r, n + 1 - r). 1000 draws of n = 250 at 1%:
    # mean 2/251 = .00797 with standard error .0056 / 32 = .00018; with two false positives it would be .01195.
    rng = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        threshold = tpr_at_fpr(np.r_[rng.random(250), 0.5], np.arange(251) == 250, 0.01).threshold
        assert threshold is not None
        found.append(1 - threshold)
    point = tpr_at_fpr(rng.random(251), np.arange(251) == 250, 0.01)
    assert point.expected_fpr == 2 / 251
    assert abs(np.mean(found) - 2 / 251) < 4 * 0.0056 / math.sqrt(1000)
    # Its interval, from one draw of n: the FPR lies in it in 95% of draws (standard error .0069).
    assert point.fpr_interval is not None
    low, high = point.fpr_interval
    assert (low, high) == pytest.approx((stats.beta.ppf(0.025, 2, 249), stats.beta.ppf(0.975, 2, 249)))
    assert abs(np.mean([low <= fpr <= high for fpr in found]) - 0.95) < 4 * 0.0069


def test_by_hand() -> None:
    # 100 nonmembers 0..99; floor(.02 * 101) = 2: above 98 are the members 98.5 and 99.5 of 4, and the nonmember 99.
    scores = np.concatenate((np.arange(100.0), [98.5, 99.5, 50.0, 2.0]))
    members = np.arange(104) >= 100
    point = tpr_at_fpr(scores, members, 0.02)
    assert (point.tpr, point.realised_fpr, point.threshold) == (0.5, 0.01, 98.0)
    assert (point.accused_members, point.accused_nonmembers, point.expected_fpr) == (2.0, 1.0, 2 / 101)
    assert (point.n_members, point.n_nonmembers) == (4, 100)
    assert point.note == "cannot show a breach: with fewer than 183 nonmembers the interval begins at 0"
    assert point.low == 0.0


def naive_above(inside: np.ndarray, outside: np.ndarray, orders: int, seed: int) -> np.ndarray:
    """K over random orders of tied scores: each score gets a random second key."""
    rng = np.random.default_rng(seed)
    total = np.zeros(len(outside) + 2)
    for _ in range(orders):
        x, y = ([(score, rng.random()) for score in side] for side in (inside, outside))
        ranked = sorted(y, reverse=True)
        total += [0, *(sum(member > nonmember for member in x) for nonmember in ranked), len(x)]
    return total / orders


@settings(derandomize=True, deadline=None, max_examples=25)
@given(SCORES, SCORES)
def test_members_above_against_random_orders(inside: list[int], outside: list[int]) -> None:
    x, y = np.array(inside, dtype=np.float64), np.array(outside, dtype=np.float64)
    expected = naive_above(x, y, 400, 0)
    found = members_above(x, y)
    # A tied group of s members has a count of sd at most s/2: standard error s / 40, here at most .2.
    np.testing.assert_allclose(found, expected, atol=4 * len(x) / 40)
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (0, len(x))


def test_members_above_without_ties_is_a_count() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=30) + 1, rng.normal(size=50)
    expected = [0, *((x > value).sum() for value in np.sort(y)[::-1]), 30]
    np.testing.assert_array_equal(members_above(x, y), expected)


def test_tied_scores_by_hand() -> None:
    # 3 nonmembers and 2 members tie at the top: 2 j / 4 members precede the j-th of these nonmembers.
    np.testing.assert_allclose(
        members_above(np.array([5.0, 5.0, 1.0]), np.array([5.0, 5.0, 5.0, 2.0])), [0, 0.5, 1.0, 1.5, 2.0, 3]
    )


def naive_interval(above: np.ndarray, m: int, n: int, alpha: float, tail: float) -> tuple[float, float]:
    """Both mixtures by drawing: a rank, then a Beta."""
    rng = np.random.default_rng(2)
    rank = rng.binomial(n, alpha, 400_000)
    k, upper = above[rank], above[rank + 1]
    low = np.where(k > 0, rng.beta(np.maximum(k, 1e-3), m - k + 1), 0.0)
    high = np.where(upper < m, rng.beta(upper + 1, np.maximum(m - upper, 1e-3)), 1.0)
    return float(np.quantile(low, tail)), float(np.quantile(high, 1 - tail))


@pytest.mark.parametrize(
    ("m", "n", "alpha", "shift"), [(300, 600, 0.01, 1.0), (200, 100, 0.1, 2.0), (50, 2000, 0.01, 0.0)]
)
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_interval_against_draws(m: int, n: int, alpha: float, shift: float, level: float) -> None:
    rng = np.random.default_rng(3)
    above = members_above(rng.normal(size=m) + shift, rng.normal(size=n))
    found = tpr_interval(above, m, n, alpha, level)
    expected = naive_interval(above, m, n, alpha, (1 - level) / 2)
    # A tail quantile of 400,000 draws has a standard error of about 1% of the width.
    width = expected[1] - expected[0]
    assert found == pytest.approx(expected, abs=0.02 * width)


def test_a_known_threshold_would_give_clopper_pearson() -> None:
    # Where all ranks in reach have the same members above them the rank does not matter.
    above = np.r_[0.0, np.full(500, 30.0), 100.0]
    low, high = tpr_interval(above, 100, 500, 0.1)
    assert (low, high) == pytest.approx(clopper_pearson(30, 100), abs=1e-9)


def test_ends_are_exactly_0_and_1() -> None:
    # No member above any nonmember, and all of them.
    assert tpr_interval(np.r_[np.zeros(1001), 400.0], 400, 1000, 0.01)[0] == 0.0
    assert tpr_interval(np.r_[0.0, np.full(1001, 400.0)], 400, 1000, 0.01)[1] == 1.0
    high = tpr_interval(np.r_[np.zeros(1001), 400.0], 400, 1000, 0.01)[1]
    assert high == pytest.approx(clopper_pearson(0, 400)[1], abs=1e-9)


def test_effective_sizes_widen() -> None:
    rng = np.random.default_rng(4)
    above = members_above(rng.normal(size=500) + 1, rng.normal(size=500))
    whole = tpr_interval(above, 500, 500, 0.05)
    assert tpr_interval(above, 500, 500, 0.05, effective=(500.0, 500.0)) == whole
    for effective in ((250.3, 500.0), (500.0, 187.6), (250.3, 187.6)):
        low, high = tpr_interval(above, 500, 500, 0.05, effective=effective)
        assert low < whole[0]
        assert whole[1] < high
    # A single independent record knows nothing.
    assert tpr_interval(above, 500, 500, 0.05, effective=(1.0, 1.0))[0] == 0.0


@pytest.mark.parametrize(("law", "alpha", "n"), [("normal", 0.05, 200), ("binary", 0.05, 200), ("gap", 0.1, 100)])
def test_interval_covers_the_population_s_curve(law: str, alpha: float, n: int) -> None:
    # 1000 runs; standard error of the coverage .0069, of a miss .0049.
    rng = np.random.default_rng(5)
    members = np.arange(2 * n) < n
    if law == "normal":
        truth = stats.norm.sf(stats.norm.isf(alpha) - 1)
    else:
        # TPR .9 at FPR .7 by one threshold: the straight line from the origin.
        truth = 0.9 / 0.7 * alpha if law == "binary" else 0.3
    above = below = 0
    for _ in range(1000):
        if law == "normal":
            scores = rng.normal(size=2 * n) + members
        elif law == "binary":
            scores = (rng.random(2 * n) < np.where(members, 0.9, 0.7)).astype(np.float64)
        else:
            # 30% of members above every nonmember, the others below every one.
            scores = np.where(members, np.where(rng.random(2 * n) < 0.3, 9.0, -9.0), rng.normal(size=2 * n))
        point = tpr_at_fpr(scores, members, alpha)
        assert point.low is not None
        assert point.high is not None
        above += point.low > truth
        below += point.high < truth
    assert above / 1000 < 0.025 + 3 * 0.0049
    assert below / 1000 < 0.025 + 3 * 0.0049
    assert (above + below) / 1000 < 0.05 + 2 * 0.0069


def test_groups_of_copies_are_covered() -> None:
    # 60 groups of 5 copies a side at 20%: plain intervals miss far more. 400 runs, standard error .0109.
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(120), 5)
    members = groups < 60
    truth = stats.norm.sf(stats.norm.isf(0.2) - 1)
    plain = grouped = 0
    for _ in range(400):
        scores = (rng.normal(size=120) + (np.arange(120) < 60))[groups] + 1e-6 * rng.normal(size=600)
        one, by_group = tpr_at_fpr(scores, members, 0.2), tpr_at_fpr(scores, members, 0.2, groups)
        assert one.tpr == by_group.tpr
        plain += (one.low or 0.0) <= truth <= (one.high or 0.0)
        grouped += (by_group.low or 0.0) <= truth <= (by_group.high or 0.0)
    assert grouped / 400 > 0.95 - 3 * 0.0109
    assert plain / 400 < 0.85


def test_few_nonmembers_have_an_upper_end_alone() -> None:
    rng = np.random.default_rng(7)
    point = tpr_at_fpr(rng.normal(size=1000), np.arange(1000) < 500, 0.001)
    assert (point.tpr, point.low, point.realised_fpr, point.threshold) == (None, 0.0, None, None)
    assert point.note == "not resolvable: an FPR of 0.001 needs 999 nonmembers, and there are 500"
    assert point.high is not None
    assert 0.001 < point.high < 0.05
    one = tpr_at_fpr(np.array([1.0, 0.0]), np.array([True, False]), 0.01)
    assert (one.tpr, one.low, one.high) == (None, 0.0, 1.0)


def test_a_tied_top_is_said() -> None:
    # 30 of 1000 nonmembers and 100 members on the highest value: rank 10 of 30, 100 * 10/31 members precede it.
    scores = np.repeat([1.0, 0.0, 1.0, 0.0], [100, 900, 30, 970])
    point = tpr_at_fpr(scores, np.arange(2000) < 1000, 0.01)
    assert point.tpr == pytest.approx(100 * 10 / 31 / 1000)
    assert point.note == "100 members and 30 nonmembers tie at the highest score; ties are decided at random"
    assert point.low is not None
    assert point.high is not None
    assert point.low < 0.1 / 0.03 * 0.01 < point.high
    assert saturated(scores[1000:], 0.01) == (
        "not resolvable: 30 of 1000 nonmembers tie at the highest score, more than an FPR of 0.01"
    )
    assert saturated(scores[1000:], 0.03) is None


def test_a_score_that_says_nothing_is_at_the_diagonal() -> None:
    members = np.arange(1000) < 500
    point = tpr_at_fpr(np.zeros(1000), members, 0.05)
    # Rank floor(.05 * 501) = 25 among 500 ties: 500 * 25/501 / 500.
    assert point.tpr == pytest.approx(25 / 501)
    assert point.low is not None
    assert point.high is not None
    assert point.low < 0.05 < point.high


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=40).filter(
        lambda pairs: len({member for _, member in pairs}) == 2
    ),
    st.sampled_from([0.05, 0.25, 0.5, 0.9]),
    st.integers(0, 10**6),
)
def test_order_and_monotone_maps_change_nothing(pairs: list[tuple[int, bool]], alpha: float, seed: int) -> None:
    scores = np.array([float(score) for score, _ in pairs])
    members = np.array([member for _, member in pairs])
    one = tpr_at_fpr(scores, members, alpha)
    order = np.random.default_rng(seed).permutation(len(pairs))
    shuffled = tpr_at_fpr(scores[order], members[order], alpha)
    mapped = tpr_at_fpr(np.exp(scores / 2), members, alpha)
    alone = tpr_at_fpr(scores, members, alpha, groups=order)
    for other in (shuffled, mapped, alone):
        assert (other.tpr, other.low, other.high, other.realised_fpr, other.note) == (
            one.tpr, one.low, one.high, one.realised_fpr, one.note,
        )  # fmt: skip
    assert one.low is not None
    assert one.high is not None
    assert 0 <= one.low < one.high <= 1
    if one.tpr is not None:
        assert one.low <= one.tpr <= one.high


def test_few_groups_have_no_interval() -> None:
    scores, members = np.arange(400.0), np.arange(400) % 2 == 0
    point = tpr_at_fpr(scores, members, 0.1, groups=np.arange(400) // 25)
    assert (point.tpr, point.low, point.high) == (None, None, None)
    assert "16 groups of related members and 16 of nonmembers" in str(point.note)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, 1.5, math.nan])
def test_an_fpr_outside_its_range_is_rejected(alpha: float) -> None:
    with pytest.raises(AttackError, match="between 0 and 1, both excluded"):
        tpr_at_fpr(np.arange(4.0), np.arange(4) < 2, alpha)
