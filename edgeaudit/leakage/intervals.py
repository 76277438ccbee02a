"""Confidence intervals of the figures, 95% by default."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from scipy import special

from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray, split_scores

__all__ = [
    "AucInterval",
    "Interval",
    "clopper_pearson",
    "clopper_pearson_bounds",
    "delong",
    "placements",
    "ppv",
    "ppv_interval",
    "rate_difference",
    "same_pairs",
]

Interval = tuple[float, float]


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return the exact interval of a binomial rate; (0, 1) without trials. Coverage is at least `level` for every rate.

    Examples:
        >>> low, high = clopper_pearson(9, 10)
        >>> round(low, 4), round(high, 4)
        (0.555, 0.9975)
    """
    if trials == 0:
        return 0.0, 1.0
    tail, failures = (1 - level) / 2, trials - successes
    # Beta quantiles directly: scipy's binomtest computes the same bounds by root search, 200 times slower.
    low = special.betaincinv(successes, failures + 1, tail) if successes else 0.0
    high = special.betainccinv(successes + 1, failures, tail) if failures else 1.0
    return float(low), float(high)


def clopper_pearson_bounds(successes: IntArray, trials: int, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Return `clopper_pearson` for many counts of the same number of trials: low and high, float64 [points] each.

    Each bound is one-sided at (1 - level) / 2.

    Args:
        successes: int [points].
        trials: at least 1.
        level: coverage of the two-sided intervals.
    """
    tail = (1 - level) / 2
    # The beta quantile is undefined where a parameter is 0; those bounds are 0 and 1.
    low = scipy.stats.beta.ppf(tail, np.maximum(successes, 1), trials - successes + 1)
    high = scipy.stats.beta.isf(tail, successes + 1, np.maximum(trials - successes, 1))
    return (
        np.where(successes == 0, 0.0, low).astype(np.float64),
        np.where(successes == trials, 1.0, high).astype(np.float64),
    )


@dataclass(frozen=True)
class AucInterval:
    """An AUC. variance: DeLong's estimate, NaN with a single member or nonmember. low, high: bounds in [0, 1]."""

    auc: float
    variance: float
    low: float
    high: float


def placements(scores: FloatArray, members: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Return DeLong's structural components, with ties counted half; O(n log n) by midranks, without an m x n matrix.

    Returns:
        For every member the share of nonmembers that it outscores, float64 [m]; for every nonmember the share of
        members that outscore it, float64 [n]; both in the order of the records. The mean of each is the AUC.

    Source: DeLong, DeLong & Clarke-Pearson (Biometrics 1988); Sun & Xu, "Fast Implementation of DeLong's Algorithm"
    (IEEE SPL 2014), equations 11 and 12.
    """
    inside, outside = split_scores(scores, members)
    m, n = len(inside), len(outside)
    ranks = scipy.stats.rankdata(np.concatenate((inside, outside)))
    of_members = (ranks[:m] - scipy.stats.rankdata(inside)) / n
    of_nonmembers = 1 - (ranks[m:] - scipy.stats.rankdata(outside)) / m
    return np.asarray(of_members, dtype=np.float64), np.asarray(of_nonmembers, dtype=np.float64)


def same_pairs(pairs: int, level: float) -> float:
    """Return the Clopper-Pearson lower bound of a rate with `pairs` successes in `pairs` trials: (a/2)^(1/pairs)."""
    return float(((1 - level) / 2) ** (1 / pairs))


def delong(scores: FloatArray, members: BoolArray, level: float = 0.95) -> AucInterval:
    """Return the AUC with DeLong's variance and the normal interval, clipped to [0, 1].

    Degenerate cases (our choice, since a width of 0 would claim certainty): the variance estimate is 0 exactly if
    members and nonmembers are separated (AUC 0 or 1) or all scores tie (AUC 1/2). Then min(m, n) disjoint
    member/nonmember pairs are independent and all gave the same v in {0, 1/2, 1}; with q the Clopper-Pearson lower
    bound of the share of such pairs, the AUC is between q v and q v + 1 - q. With a single member or nonmember the
    interval is (0, 1).

    Args:
        scores: float [n].
        members: bool [n].
        level: coverage of the two-sided interval.

    Examples:
        >>> import numpy as np
        >>> interval = delong(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
        >>> interval.auc, round(interval.low, 3), interval.high
        (0.75, 0.057, 1.0)
    """
    of_members, of_nonmembers = placements(scores, members)
    m, n = len(of_members), len(of_nonmembers)
    value = float(of_members.mean())
    if min(m, n) == 1:
        return AucInterval(value, math.nan, 0.0, 1.0)
    if np.ptp(of_members) == 0 and np.ptp(of_nonmembers) == 0:
        q = same_pairs(min(m, n), level)
        return AucInterval(value, 0.0, q * value, min(1.0, q * value + 1 - q))
    variance = float(of_members.var(ddof=1) / m + of_nonmembers.var(ddof=1) / n)
    half = float(scipy.stats.norm.isf((1 - level) / 2)) * math.sqrt(variance)
    return AucInterval(value, variance, max(0.0, value - half), min(1.0, value + half))


def rate_difference(hits: int, m: int, alarms: int, n: int, level: float = 0.95) -> Interval:
    """Return an interval of hits/m - alarms/n, a difference of independent binomial rates (advantage = TPR - FPR).

    Newcombe's hybrid score interval: square-and-add (MOVER) of the two Wilson intervals. Its coverage is near `level`
    on average, and its width is never 0. Balanced accuracy is (1 + advantage) / 2, and so are its bounds.

    Examples:
        >>> low, high = rate_difference(hits=30, m=100, alarms=10, n=100)
        >>> round(low, 3), round(high, 3)
        (0.09, 0.306)

    Source: Newcombe, "Interval estimation for the difference between independent proportions" (Statistics in
    Medicine 1998), method 10.
    """
    tpr, fpr = hits / m, alarms / n
    t = scipy.stats.binomtest(hits, m).proportion_ci(level, method="wilson")
    f = scipy.stats.binomtest(alarms, n).proportion_ci(level, method="wilson")
    low = tpr - fpr - math.hypot(tpr - t.low, f.high - fpr)
    high = tpr - fpr + math.hypot(t.high - tpr, fpr - f.low)
    return max(-1.0, low), min(1.0, high)


def ppv(tpr: float, fpr: float, prior: float) -> float | None:
    """Return P[member | called member] for a share `prior` of members; None where no record is called a member.

    Examples:
        >>> round(ppv(tpr=0.3, fpr=0.1, prior=0.1), 6)
        0.25
    """
    positive = prior * tpr + (1 - prior) * fpr
    return prior * tpr / positive if positive > 0 else None


def ppv_interval(hits: int, m: int, alarms: int, n: int, prior: float, level: float = 0.95) -> Interval:
    """Return an interval of `ppv`, which rises with TPR and falls with FPR: its bounds use opposite ends of the rates'.

    Each rate has a Clopper-Pearson interval at 1 - a/2, so both hold jointly with at least `level` (Bonferroni). The
    interval is conservative, and its width is never 0.
    """
    each = 1 - (1 - level) / 2
    tpr_low, tpr_high = clopper_pearson(hits, m, each)
    fpr_low, fpr_high = clopper_pearson(alarms, n, each)
    # The high bounds of rates are above 0, so both corners are defined.
    low, high = ppv(tpr_low, fpr_high, prior), ppv(tpr_high, fpr_low, prior)
    return (0.0 if low is None else low), (1.0 if high is None else high)
