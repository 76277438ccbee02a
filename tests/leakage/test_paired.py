from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.operating_points import accused_rank, tpr_at_fpr
from edgeaudit.leakage.paired import _Curve, _resampled, auc_difference, chance_p_value, tpr_difference
from edgeaudit.leakage.roc import auc

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
        (value - stats.t.isf(0.025, 89) * math.sqrt(variance), value + stats.t.isf(0.025, 89) * math.sqrt(variance))
    )
    assert difference.p_value == pytest.approx(2 * stats.t.sf(abs(value) / math.sqrt(variance), 89))


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
    st.sampled_from([0.1, 0.3, 0.9]),
)
def test_the_bootstrap_s_tpr_is_that_of_the_figure(inside: list[int], outside: list[int], alpha: float) -> None:
    scores = np.array([*inside, *outside], dtype=np.float64)
    members = np.arange(len(scores)) < len(inside)
    rank = accused_rank(alpha, len(outside))
    if rank:
        point = tpr_at_fpr(scores, members, alpha)
        curve = _Curve(scores[members], scores[~members])
        found = curve.accused(np.ones(len(outside), np.int64), rank).weights().mean()
        assert found == pytest.approx(point.tpr)


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=15),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=15),
    st.sampled_from([0.1, 0.3, 0.9]),
)
def test_a_resample_by_counts_is_one_by_records(
    inside: list[int], outside: list[tuple[int, int]], alpha: float
) -> None:
    counts = np.array([count for _, count in outside])
    repeated = np.repeat([float(score) for score, _ in outside], counts)
    rank = accused_rank(alpha, len(repeated))
    if rank:
        scores = np.concatenate((np.array(inside, dtype=np.float64), repeated))
        point = tpr_at_fpr(scores, np.arange(len(scores)) < len(inside), alpha)
        curve = _Curve(np.array(inside, dtype=np.float64), np.array([float(score) for score, _ in outside]))
        assert curve.accused(counts, rank).weights().mean() == pytest.approx(point.tpr)


def resampled_by_records(
    both: tuple[np.ndarray, np.ndarray], members: np.ndarray, alpha: float, groups: np.ndarray, seed: int, draws: int
) -> np.ndarray:
    """The paired bootstrap as written in textbooks: whole groups are drawn, their records concatenated."""
    rng = np.random.default_rng(seed)
    sides = []
    for side in (members, ~members):
        ids = np.flatnonzero(side)
        sides.append([ids[groups[ids] == g] for g in np.unique(groups[ids])])
    found = np.empty(draws)
    for i in range(draws):
        m, n = (np.concatenate([of[g] for g in rng.integers(0, len(of), len(of))]) for of in sides)
        flags = np.arange(len(m) + len(n)) < len(m)
        first, second = (tpr_at_fpr(scores[np.concatenate((m, n))], flags, alpha).tpr for scores in both)
        assert first is not None
        assert second is not None
        found[i] = first - second
    return found


@pytest.mark.parametrize("size", [1, 3])
def test_resamples_have_the_distribution_of_resampled_records(size: int) -> None:
    rng = np.random.default_rng(11)
    groups = np.arange(600) // size
    members = groups % 2 == 0
    common = rng.normal(size=600)
    both = (np.round(common + members, 1), np.round(common + 0.8 * rng.normal(size=600) + members, 1))
    fast = _resampled(both, members, 0.05, None if size == 1 else groups, np.random.default_rng(0), 4000)
    slow = resampled_by_records(both, members, 0.05, groups, 1, 500)
    # Standard errors: of the mean sd / sqrt(500) = .045 sd; of the sd .032 sd. Kolmogorov-Smirnov of 500 and 4000 (the
    # fast ones average ties of members that the slow ones average, too).
    sd = slow.std()
    assert abs(fast.mean() - slow.mean()) < 4 * 0.047 * sd
    assert fast.std() == pytest.approx(sd, rel=4 * 0.034)
    assert stats.ks_2samp(fast, slow).pvalue > 0.001


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
    # Two equally good scores: 200 runs at .05 have standard error .0154. One-sided: at rank 11 the figure is discrete
    # and the percentile test conservative.
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
    assert few.note == "not resolvable: a difference at an FPR of 0.001 needs 3688 nonmembers, and there are 110"
    # A format that puts all records on one value is not one that leaks less.
    for one, other in ((first, np.zeros(200)), (np.zeros(200), first)):
        tied = tpr_difference(one, other, MEMBERS, 0.1, rng)
        assert tied.value is None
        assert "tie at the highest score" in str(tied.note)


def test_tpr_difference_of_related_records_counts_independent_ones() -> None:
    # 400 nonmembers are enough for 1%, but not in pairs: 200 that know as much.
    rng = np.random.default_rng(9)
    members = np.arange(800) < 400
    scores = rng.normal(size=800)
    assert tpr_difference(scores, -scores, members, 0.01, rng, resamples=20).value is not None
    pairs = tpr_difference(scores, -scores, members, 0.01, rng, resamples=20, groups=np.arange(800) // 2)
    assert pairs.note == (
        "not resolvable: a difference at an FPR of 0.01 needs 368 independent nonmembers, and the 400 in 200 groups of "
        "related ones count as 200"
    )
    # 364 single ones and 18 pairs: 400^2 / (364 + 18 * 2^2) = 366.97, although there are 382 groups.
    some = np.where(np.arange(800) < 764, np.arange(800), 764 + (np.arange(800) - 764) // 2)
    few = tpr_difference(scores, -scores, members, 0.01, rng, resamples=20, groups=some)
    assert str(few.note).endswith(
        "needs 368 independent nonmembers, and the 400 in 382 groups of related ones count as 366"
    )


def test_tpr_difference_covers() -> None:
    # 300 + 400 records at 5%: 150 runs, standard error .018; the percentile interval is conservative where scores
    # agree.
    members = np.arange(700) < 300
    truth = stats.norm.cdf(1.5 - 1.6449) - stats.norm.cdf(1 - 1.6449)
    covered = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        common = rng.normal(size=700)
        first, second = (0.8 * common + 0.6 * rng.normal(size=700) + shift * members for shift in (1.5, 1.0))
        row = tpr_difference(first, second, members, 0.05, rng, resamples=200)
        covered += row.low is not None and row.high is not None and row.low <= truth <= row.high
    assert covered / 150 > 0.95 - 3 * 0.018


def test_auc_difference_by_group_against_the_double_sum() -> None:
    first, second = two_scores(12)
    groups = np.arange(200) // 3
    difference = auc_difference(first, second, MEMBERS, groups=groups)
    variance = 0.0
    for side, inside in ((MEMBERS, True), (~MEMBERS, False)):
        placed = [
            np.array([_wins(s[i], s[~side]) if inside else 1 - _wins(s[i], s[~side]) for i in np.flatnonzero(side)])
            for s in (first, second)
        ]
        deviations = placed[0] - placed[1] - (placed[0] - placed[1]).mean()
        of = groups[side]
        sums = np.array([deviations[of == g].sum() for g in np.unique(of)])
        variance += len(sums) / (len(sums) - 1) * (sums**2).sum() / len(of) ** 2
    assert difference.value is not None
    assert difference.high is not None
    # Records 0 to 89 are the members: 30 groups, the fewer.
    assert difference.high - difference.value == pytest.approx(stats.t.isf(0.025, 29) * math.sqrt(variance))


def _wins(score: float, others: np.ndarray) -> float:
    return float(np.mean(others < score) + 0.5 * np.mean(others == score))


def test_chance_by_group_is_not_exceeded_by_copies() -> None:
    # 40 records a side, each five times: the p-value is that of the 40, not of 200.
    rng = np.random.default_rng(13)
    members = np.arange(80) < 40
    scores = rng.normal(size=80) + 0.3 * members
    copies, flags, groups = np.repeat(scores, 5), np.repeat(members, 5), np.repeat(np.arange(80), 5)
    one, grouped, naive = (
        chance_p_value(scores, members), chance_p_value(copies, flags, groups), chance_p_value(copies, flags),
    )  # fmt: skip
    assert one is not None
    assert naive is not None
    assert grouped == pytest.approx(one)
    assert naive < one


def test_an_fpr_outside_its_range_is_rejected() -> None:
    first, second = two_scores(14)
    for alpha in (0.0, 1.0, -0.1, 2.0):
        with pytest.raises(AttackError, match="between 0 and 1"):
            tpr_difference(first, second, MEMBERS, alpha, np.random.default_rng(0))
