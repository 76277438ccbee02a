"""Paired tests of two scores of the same records (two formats, two attacks); positive = the first leaks more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.leakage.intervals import placements, same_pairs
from edgeaudit.leakage.roc import (
    BoolArray,
    FloatArray,
    allowed_false_positives,
    split_scores,
    tpr_at_fpr,
)

__all__ = ["Difference", "auc_difference", "chance_p_value", "tpr_difference"]


@dataclass(frozen=True)
class Difference:
    """A paired difference.

    value: figure of the first score minus that of the second. low, high: interval. p_value: two-sided, of H0 "no
    difference". All None where a figure is not resolvable; note gives the reason, or a caveat.
    """

    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    note: str | None = None


def auc_difference(first: FloatArray, second: FloatArray, members: BoolArray, level: float = 0.95) -> Difference:
    """Paired DeLong test of AUC(first) - AUC(second).

    The mean of the records' placement differences is the difference of the AUCs, so the covariance of DeLong, DeLong &
    Clarke-Pearson (Biometrics 1988) is the variance of those differences.

    Where that variance is 0 (as for two equal rankings) the normal interval would have width 0. Then, as in `delong`,
    min(m, n) disjoint pairs all gave the same difference v. The interval is [q v - (1 - q), q v + 1 - q], and p is 1
    for v = 0, else that of the sign test on those pairs. With a single member or nonmember the interval is (-1, 1) and
    p = 1.

    Args:
        first: float [n].
        second: float [n], scores of the same records.
        members: bool [n].
        level: coverage of the interval.

    Examples:
        >>> import numpy as np
        >>> members = np.array([True, False, True, False])
        >>> scores = np.array([4.0, 3.0, 2.0, 1.0])
        >>> auc_difference(scores, -scores, members).value
        0.5
        >>> auc_difference(scores, scores, members).p_value
        1.0
    """
    a_members, a_nonmembers = placements(first, members)
    b_members, b_nonmembers = placements(second, members)
    of_members, of_nonmembers = a_members - b_members, a_nonmembers - b_nonmembers
    m, n = len(of_members), len(of_nonmembers)
    value = float(of_members.mean())
    if min(m, n) == 1:
        return Difference(value, -1.0, 1.0, 1.0, "a single member or nonmember cannot bound a difference")
    variance = float(of_members.var(ddof=1) / m + of_nonmembers.var(ddof=1) / n)
    # Placements are multiples of 1/(2n) and 1/(2m); a variance below this is a rounding error.
    if variance < 1e-24:
        q = same_pairs(min(m, n), level)
        p_value = 1.0 if abs(value) < 1e-12 else min(1.0, 2 * 0.5 ** min(m, n))
        return Difference(value, max(-1.0, q * value - (1 - q)), min(1.0, q * value + 1 - q), p_value)
    se = math.sqrt(variance)
    half = float(scipy.stats.norm.isf((1 - level) / 2)) * se
    p_value = float(2 * scipy.stats.norm.sf(abs(value) / se))
    return Difference(value, max(-1.0, value - half), min(1.0, value + half), p_value)


def tpr_difference(
    first: FloatArray,
    second: FloatArray,
    members: BoolArray,
    alpha: float,
    rng: np.random.Generator,
    resamples: int = 1000,
    level: float = 0.95,
) -> Difference:
    """Paired bootstrap over records of the TPR at FPR <= alpha of the first score minus that of the second.

    Members and nonmembers are resampled separately, since the audit fixes their numbers, and both scores use the same
    resample. Each resample determines its own threshold as `tpr_at_fpr` does; one without an operating point counts as
    TPR 0. Where `tpr_at_fpr` cannot resolve one of the two figures (too few nonmembers, ties), the difference is not
    resolvable either: a saturated format must not appear to leak less. Percentile interval (Efron & Tibshirani 1993,
    chapter 13); p = 2 min(#{d <= 0}, #{d >= 0}) with one added to counts and resamples, at most 1.

    Args:
        first: float [n].
        second: float [n], scores of the same records.
        members: bool [n].
        alpha: in (0, 1].
        rng: generator of the resamples; the call advances it.
        resamples: number of resamples.
        level: coverage of the interval.
    """
    inside, outside = zip(split_scores(first, members), split_scores(second, members), strict=True)
    points = [tpr_at_fpr(scores, members, alpha) for scores in (first, second)]
    rates = [point.tpr for point in points if point.tpr is not None]
    if len(rates) < 2:
        notes = dict.fromkeys(point.note for point in points if point.note)
        return Difference(None, None, None, None, "; ".join(notes))
    value = rates[0] - rates[1]
    allowed = allowed_false_positives(alpha, len(outside[0]))
    draws = np.array([_resampled(inside, outside, allowed, rng) for _ in range(resamples)])
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    same = "every resample gave the same difference, so the interval has no width"
    return Difference(
        value, float(low), float(high), min(1.0, 2 * (tail + 1) / (resamples + 1)), same if np.ptp(draws) == 0 else None
    )


def chance_p_value(scores: FloatArray, members: BoolArray) -> float | None:
    """Return the two-sided p-value of AUC = 0.5; None where it is not resolvable (see `auc_difference`).

    A constant score has AUC 0.5 without variance, so the paired test against it is the test against 0.5.
    """
    return auc_difference(scores, np.zeros(len(scores)), members).p_value


def _resampled(
    inside: tuple[FloatArray, ...], outside: tuple[FloatArray, ...], allowed: int, rng: np.random.Generator
) -> float:
    """Return the difference on one resample of members and nonmembers, shared by both scores."""
    m, n = len(inside[0]), len(outside[0])
    m_rows, n_rows = rng.integers(m, size=m), rng.integers(n, size=n)
    first, second = (_tpr(x[m_rows], y[n_rows], allowed) for x, y in zip(inside, outside, strict=True))
    return first - second


def _tpr(inside: FloatArray, outside: FloatArray, allowed: int) -> float:
    """Return the TPR at the largest set {score >= t} with at most `allowed` nonmembers.

    That set is {score > c}, with c the (allowed + 1)-th largest score of a nonmember: it contains at most `allowed`
    nonmembers, and any larger set of this form contains c and so at least `allowed` + 1.
    """
    if allowed >= len(outside):
        return 1.0
    rank = len(outside) - 1 - allowed
    return float((inside > np.partition(outside, rank)[rank]).mean())
