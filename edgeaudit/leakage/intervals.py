"""Confidence intervals of the figures, 95% by default."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from scipy import special

from edgeaudit.leakage.clusters import Side, sides
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


def clopper_pearson(successes: float, trials: float, level: float = 0.95) -> Interval:
    """Return the exact interval of a binomial rate; (0, 1) without trials. Coverage is at least `level` for every rate.

    Examples:
        >>> low, high = clopper_pearson(9, 10)
        >>> round(low, 4), round(high, 4)
        (0.555, 0.9975)
    """
    if trials == 0:
        return 0.0, 1.0
    tail, failures = (1 - level) / 2, max(0.0, trials - successes)
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


def delong(scores: FloatArray, members: BoolArray, level: float = 0.95, groups: IntArray | None = None) -> AucInterval:
    """Return the AUC with DeLong's variance and Student's t interval on the logit scale.

    The interval is logit(A) +- t se / (A (1 - A)): near 1 the plain normal interval's lower end misses in up to 8% of
    audits of 200 records a side, this one's in about 3%. The degrees of freedom are Satterthwaite's, from the scatter
    of the variance's own terms, and at most those of the side with fewer groups: where a few records decide the
    variance (an AUC near 1) it is known badly.

    Related records enter the variance by group (Obuchowski 1997): the structural components of DeLong are summed over a
    group first, so that groups of one record give DeLong's own variance.

    Binary scores (at most two values) have AUC = (1 + TPR - FPR) / 2 and its interval, see `rate_difference`.

    Degenerate cases (our choice, since a width of 0 would claim certainty): the variance estimate is 0 exactly if
    members and nonmembers are separated (AUC 0 or 1) or all scores tie (AUC 1/2). Then min(m, n) disjoint
    member/nonmember pairs (of groups, if records are related) are independent and all gave the same v in {0, 1/2, 1};
    with q the Clopper-Pearson lower bound of the share of such pairs, the AUC is between q v and q v + 1 - q. With a
    single group of members or nonmembers the interval is (0, 1).

    Args:
        scores: float [n].
        members: bool [n].
        level: coverage of the two-sided interval.
        groups: int64 [n], groups of related records; None: records are independent.

    Examples:
        >>> import numpy as np
        >>> interval = delong(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, True, False]))
        >>> interval.auc
        0.75

    Source: DeLong, DeLong & Clarke-Pearson (Biometrics 1988); Obuchowski, "Nonparametric analysis of clustered ROC
    curve data" (Biometrics 1997); Satterthwaite (Biometrics Bulletin 1946); the logit scale: Pepe, "The Statistical
    Evaluation of Medical Tests" (2003), 5.2.
    """
    of_members, of_nonmembers = placements(scores, members)
    value = float(of_members.mean())
    inside, outside = sides(members, groups)
    fewest = min(inside.count, outside.count)
    if fewest == 1:
        return AucInterval(value, math.nan, 0.0, 1.0)
    if np.ptp(of_members) == 0 and np.ptp(of_nonmembers) == 0:
        q = same_pairs(fewest, level)
        return AucInterval(value, 0.0, q * value, min(1.0, q * value + 1 - q))
    variance = inside.variance_of_mean(of_members) + outside.variance_of_mean(of_nonmembers)
    binary = _binary_interval(scores, members, (inside, outside), level)
    if binary is not None:
        return AucInterval(value, variance, *binary)
    noise = inside.variance_of_variance(of_members) + outside.variance_of_variance(of_nonmembers)
    freedom = max(1.0, min(fewest - 1, 2 * variance**2 / noise)) if noise > 0 else fewest - 1
    half = float(scipy.stats.t.isf((1 - level) / 2, freedom)) * math.sqrt(variance) / (value * (1 - value))
    low, high = special.expit(special.logit(value) + np.array([-half, half]))
    return AucInterval(value, variance, float(low), float(high))


def _binary_interval(scores: FloatArray, members: BoolArray, both: tuple[Side, Side], level: float) -> Interval | None:
    """Return the AUC's interval where the scores have two values, else None."""
    largest = scores.max()
    high = scores == largest
    if np.ptp(scores[~high]) != 0:
        return None
    rates = (high[members].astype(np.float64), high[~members].astype(np.float64))
    m, n = (side.effective_size(rate) for side, rate in zip(both, rates, strict=True))
    low, top = rate_difference(float(rates[0].mean() * m), m, float(rates[1].mean() * n), n, level)
    return (1 + low) / 2, (1 + top) / 2


def rate_difference(hits: float, m: float, alarms: float, n: float, level: float = 0.95) -> Interval:
    """Return an interval of hits/m - alarms/n, a difference of independent binomial rates (advantage = TPR - FPR).

    Square-and-add (MOVER) of the two Clopper-Pearson intervals: in exact enumeration over rates and sizes of 200 to
    10,000 it covers at least 95%, and each end misses in at most 3.1% (with Wilson's intervals: 5.2%). Its width is
    never 0. Balanced accuracy is (1 + advantage) / 2, and so are its bounds.

    Args:
        hits: members accused, of `m`; fractional for effective sizes (`Side.effective_size`).
        m: number of members.
        alarms: nonmembers accused, of `n`.
        n: number of nonmembers.
        level: coverage of the two-sided interval.

    Examples:
        >>> low, high = rate_difference(hits=30, m=100, alarms=10, n=100)
        >>> round(low, 3), round(high, 3)
        (0.084, 0.312)

    Source: Zou & Donner, "Construction of confidence limits about effect measures: a general approach" (Statistics in
    Medicine 2008).
    """
    tpr, fpr = hits / m, alarms / n
    tpr_low, tpr_high = clopper_pearson(hits, m, level)
    fpr_low, fpr_high = clopper_pearson(alarms, n, level)
    low = tpr - fpr - math.hypot(tpr - tpr_low, fpr_high - fpr)
    high = tpr - fpr + math.hypot(tpr_high - tpr, fpr - fpr_low)
    return max(-1.0, low), min(1.0, high)


def ppv(tpr: float, fpr: float, prior: float) -> float | None:
    """Return P[member | called member] for a share `prior` of members; None where no record is called a member.

    Examples:
        >>> round(ppv(tpr=0.3, fpr=0.1, prior=0.1), 6)
        0.25
    """
    positive = prior * tpr + (1 - prior) * fpr
    return prior * tpr / positive if positive > 0 else None


def ppv_interval(hits: float, m: float, alarms: float, n: float, prior: float, level: float = 0.95) -> Interval:
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
