"""Paired tests of two scores of the same records (two formats, two attacks); positive = the first leaks more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from edgeaudit.leakage.clusters import Side, sides
from edgeaudit.leakage.intervals import placements, same_pairs
from edgeaudit.leakage.operating_points import accused_rank, nonmembers_for_a_lower_end, saturated, tpr_at_fpr
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray

__all__ = ["Difference", "auc_difference", "chance_p_value", "tpr_difference"]

# Differences of rates closer to 0 than this differ by rounding only.
_ROUNDING = 1e-12


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


def auc_difference(
    first: FloatArray, second: FloatArray, members: BoolArray, level: float = 0.95, groups: IntArray | None = None
) -> Difference:
    """Paired DeLong test of AUC(first) - AUC(second).

    The mean of the records' placement differences is the difference of the AUCs, so the covariance of DeLong, DeLong &
    Clarke-Pearson (Biometrics 1988) is the variance of those differences. Related records enter by group, as in
    `delong`; interval and test use Student's t with the degrees of freedom of the side with fewer groups.

    Where that variance is 0 (as for two equal rankings) the interval would have width 0. Then, as in `delong`, min(m,
    n) disjoint pairs all gave the same difference v. The interval is [q v - (1 - q), q v + 1 - q], and p is 1 for
    v = 0, else that of the sign test on those pairs. With a single group of members or nonmembers the interval is
    (-1, 1) and p = 1.

    Args:
        first: float [n].
        second: float [n], scores of the same records.
        members: bool [n].
        level: coverage of the interval.
        groups: int64 [n], groups of related records; None: records are independent.

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
    inside, outside = sides(members, groups)
    fewest = min(inside.count, outside.count)
    value = float(of_members.mean())
    if fewest == 1:
        return Difference(value, -1.0, 1.0, 1.0, "a single member or nonmember cannot bound a difference")
    variance = inside.variance_of_mean(of_members) + outside.variance_of_mean(of_nonmembers)
    # Placements are multiples of 1/(2n) and 1/(2m); a variance below this is a rounding error.
    if variance < 1e-24:
        q = same_pairs(fewest, level)
        p_value = 1.0 if abs(value) < 1e-12 else min(1.0, 2 * 0.5**fewest)
        return Difference(value, max(-1.0, q * value - (1 - q)), min(1.0, q * value + 1 - q), p_value)
    se = math.sqrt(variance)
    half = float(scipy.stats.t.isf((1 - level) / 2, fewest - 1)) * se
    p_value = float(2 * scipy.stats.t.sf(abs(value) / se, fewest - 1))
    return Difference(value, max(-1.0, value - half), min(1.0, value + half), p_value)


def tpr_difference(
    first: FloatArray,
    second: FloatArray,
    members: BoolArray,
    alpha: float,
    rng: np.random.Generator,
    resamples: int = 2000,
    level: float = 0.95,
    groups: IntArray | None = None,
) -> Difference:
    """Paired bootstrap over records of the TPR at FPR <= alpha of the first score minus that of the second.

    Members and nonmembers are resampled separately, since the audit fixes their numbers, and both scores use the same
    resample; related records are resampled by group. Each resample determines its own threshold as `tpr_at_fpr` does.
    Percentile interval (Efron & Tibshirani 1993, chapter 13); p = 2 min(#{d <= 0}, #{d >= 0}) with one added to counts
    and resamples, at most 1.

    Not resolvable while (1 - alpha)^n > (1 - level) / 2, where the threshold lies beyond the data too often for a
    bootstrap to know its scatter, and where one score's highest value is tied by more nonmembers than alpha allows: a
    saturated format must not appear to leak less.

    Args:
        first: float [n].
        second: float [n], scores of the same records.
        members: bool [n].
        alpha: in (0, 1).
        rng: generator of the resamples; the call advances it.
        resamples: number of resamples.
        level: coverage of the interval.
        groups: int64 [n], groups of related records; None: records are independent.
    """
    points = [tpr_at_fpr(scores, members, alpha, groups, level) for scores in (first, second)]
    outside = [scores[~members] for scores in (first, second)]
    note = _unresolvable(outside, sides(members, groups)[1], alpha, level) or next(
        (point.note for point in points if point.tpr is None), None
    )
    if note is not None or points[0].tpr is None or points[1].tpr is None:
        return Difference(None, None, None, None, note)
    value = points[0].tpr - points[1].tpr
    draws = _resampled((first, second), members, alpha, groups, rng, resamples)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    # Rounding of counts that cancel must not decide the sign.
    tail = min(int((draws <= _ROUNDING).sum()), int((draws >= -_ROUNDING).sum()))
    same = "every resample gave the same difference, so the interval has no width"
    return Difference(
        value, float(low), float(high), min(1.0, 2 * (tail + 1) / (resamples + 1)), same if np.ptp(draws) == 0 else None
    )


def _unresolvable(outside: list[FloatArray], side: Side, alpha: float, level: float) -> str | None:
    n, needed = len(side.groups), nonmembers_for_a_lower_end(alpha, level)
    if side.equivalent < needed:
        what, have = "nonmembers", f"there are {n}"
        if not side.single:
            # Rounded down, so that it does not reach what is needed.
            what = "independent nonmembers"
            have = f"the {n} in {side.count} groups of related ones count as {math.floor(side.equivalent)}"
        return f"not resolvable: a difference at an FPR of {alpha:g} needs {needed} {what}, and {have}"
    return next((note for scores in outside if (note := saturated(scores, alpha))), None)


def chance_p_value(scores: FloatArray, members: BoolArray, groups: IntArray | None = None) -> float | None:
    """Return the two-sided p-value of AUC = 0.5; None where it is not resolvable (see `auc_difference`).

    A constant score has AUC 0.5 without variance, so the paired test against it is the test against 0.5.
    """
    return auc_difference(scores, np.zeros(len(scores)), members, groups=groups).p_value


def _resampled(
    both: tuple[FloatArray, FloatArray],
    members: BoolArray,
    alpha: float,
    groups: IntArray | None,
    rng: np.random.Generator,
    resamples: int,
) -> FloatArray:
    """Return the differences on resamples of members and nonmembers, float64 [resamples]."""
    of_members, of_nonmembers = sides(members, groups)
    n = int((~members).sum())
    kept = _candidates([scores[~members] for scores in both], alpha) if of_nonmembers.single else np.ones(n, np.bool_)
    curves = [_Curve(scores[members], scores[~members][kept]) for scores in both]
    differences = np.empty(resamples)
    for i in range(resamples):
        nonmember_counts, total = _counts(of_nonmembers, kept, rng)
        rank = accused_rank(alpha, total)
        first, second = (curve.accused(nonmember_counts, rank) for curve in curves)
        differences[i] = _mean_difference(first, second, of_members, rng)
    return differences


def _candidates(outside: list[FloatArray], alpha: float) -> BoolArray:
    """Return the nonmembers that can be a threshold: the highest of either score, eight deviations beyond its rank."""
    n = len(outside[0])
    rank = accused_rank(alpha, n)
    most = min(n, rank + int(8 * math.sqrt(rank)) + 30)
    kept = np.zeros(n, np.bool_)
    for scores in outside:
        kept |= scores >= np.partition(scores, n - most)[n - most]
    return kept


def _counts(side: Side, kept: BoolArray, rng: np.random.Generator) -> tuple[IntArray, int]:
    """Return how often a resample has each kept record, int64, and the size of the resample."""
    if side.single:
        n, chosen = len(side.groups), int(kept.sum())
        # Those that are not kept share one count: they never matter one by one.
        share = np.full(chosen + 1, 1 / n)
        share[-1] = max(0.0, 1 - chosen / n)
        return rng.multinomial(n, share)[:-1].astype(np.int64), n
    drawn = rng.multinomial(side.count, np.full(side.count, 1 / side.count))
    counts = drawn[side.groups].astype(np.int64)
    return counts[kept], int(counts.sum())


def _mean_difference(first: _Accused, second: _Accused, side: Side, rng: np.random.Generator) -> float:
    """Return the mean over resampled members of "accused by the first score" minus "by the second"."""
    if not side.single:
        drawn = rng.multinomial(side.count, np.full(side.count, 1 / side.count))
        counts = drawn[side.groups]
        return float(counts @ (first.weights() - second.weights()) / counts.sum())
    # Only nine kinds of members differ (above, tied, below by each score), so their numbers are drawn, not the members.
    m = len(side.groups)
    sizes = np.bincount(3 * first.kind + second.kind, minlength=9)
    drawn = rng.multinomial(m, sizes / m).reshape(3, 3)
    return float(drawn.sum(axis=1) @ first.by_kind - drawn.sum(axis=0) @ second.by_kind) / m


@dataclass(frozen=True)
class _Accused:
    """How one threshold decides each member. kind: 0 below it, 1 tied with it, 2 above it, int [m]."""

    kind: npt.NDArray[np.int8]
    tied: float

    @property
    def by_kind(self) -> FloatArray:
        """Share of random orders that accuse a member of each kind, float64 [3]."""
        return np.array([0.0, self.tied, 1.0])

    def weights(self) -> FloatArray:
        """Return the same for each member, float64 [m]."""
        return self.by_kind[self.kind]


class _Curve:
    """One score, sorted once for all resamples."""

    def __init__(self, inside: FloatArray, outside: FloatArray) -> None:
        self._order = np.argsort(-outside, kind="stable")
        descending = outside[self._order]
        # Ends of the groups of tied nonmembers, highest score first.
        self._ends = np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)
        self._values = descending[self._ends]
        self._inside = inside

    def accused(self, nonmembers: IntArray, rank: int) -> _Accused:
        """Return the members above the `rank`-th largest resampled nonmember, ties over random orders."""
        through = np.cumsum(nonmembers[self._order])[self._ends]
        at = min(int(np.searchsorted(through, rank)), len(through) - 1)
        before = int(through[at - 1]) if at else 0
        value = self._values[at]
        kind = (self._inside >= value).astype(np.int8) + (self._inside > value)
        return _Accused(kind.astype(np.int8), (rank - before) / (int(through[at]) - before + 1))
