"""TPR at an FPR: the operating point, and its interval with the threshold's own uncertainty.

The estimand is the ROC curve of the population at alpha: P[member's score > c], with c the threshold that a share alpha
of all nonmembers exceeds. Where scores tie, an attacker may decide a tied group by coin flips, so the curve is the
straight line across it, and a tied record counts as the share of random orders in which it is accused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import scipy
from scipy import special

from edgeaudit.errors import AttackError
from edgeaudit.leakage.clusters import Side, sides, too_few_groups
from edgeaudit.leakage.intervals import Interval
from edgeaudit.leakage.roc import BoolArray, FloatArray, IntArray, split_scores

__all__ = [
    "OperatingPoint", "accused_rank", "least_nonmembers", "members_above", "nonmembers_for_a_lower_end", "saturated",
    "tpr_at_fpr", "tpr_interval",
]  # fmt: skip

# Ranks of less total probability are left out of the mixture.
_NEGLIGIBLE = 1e-9
# Absolute error of a quantile, far below what is printed.
_PRECISION = 1e-12


@dataclass(frozen=True)
class OperatingPoint:
    """TPR at an expected FPR of at most alpha. All None where not resolvable, and `note` gives the reason.

    tpr: share of members above the threshold; tied ones count by the share of random orders that accuse them.
    low, high: interval; see `tpr_interval`. Both are given even where `tpr` is not resolvable: the upper end is valid
    for any number of nonmembers.
    threshold: score of the nonmember at which accusation begins (that nonmember is not accused).
    expected_fpr: over samples of nonmembers, rank / (n + 1) <= alpha. realised_fpr: of these nonmembers. fpr_interval:
    of the population's FPR at this threshold, which is Beta(rank, n + 1 - rank) over samples of nonmembers.
    accused_members, accused_nonmembers: counts, fractional where scores tie.
    """

    tpr: float | None
    low: float | None
    high: float | None
    threshold: float | None
    expected_fpr: float | None
    realised_fpr: float | None
    fpr_interval: Interval | None
    accused_members: float
    accused_nonmembers: float
    n_members: int
    n_nonmembers: int
    note: str | None


def accused_rank(alpha: float, n_nonmembers: int) -> int:
    """Return r = floor(alpha (n + 1)) in exact arithmetic: records above the r-th largest nonmember are accused.

    The expected FPR of that threshold is r / (n + 1), so at most alpha; 0 where alpha is not resolvable.

    Raises:
        AttackError: alpha outside (0, 1).

    Examples:
        >>> accused_rank(0.01, 1000), accused_rank(0.01, 98), accused_rank(0.29, 99)
        (10, 0, 29)
    """
    if not 0 < alpha < 1:
        raise AttackError(f"a false positive rate must be between 0 and 1, both excluded: {alpha}")
    # The product may be rounded either way, the quotient of two whole numbers equals the decimal if it is the same.
    rank = int(alpha * (n_nonmembers + 1)) + 1
    while rank / (n_nonmembers + 1) > alpha:
        rank -= 1
    return rank


def least_nonmembers(alpha: float) -> int:
    """Return the fewest nonmembers for which TPR at an FPR of `alpha` has a point estimate: .01 -> 99."""
    needed = max(1, int(1 / alpha) - 2)
    while accused_rank(alpha, needed) < 1:
        needed += 1
    return needed


def nonmembers_for_a_lower_end(alpha: float, level: float = 0.95) -> int:
    """Return the fewest nonmembers for which the interval's lower end can be above 0: .01 -> 368, .001 -> 3688.

    With fewer, no member need lie above the population's threshold, so a breach cannot be shown.
    """
    return math.ceil(math.log((1 - level) / 2) / math.log1p(-alpha))


def saturated(outside: FloatArray, alpha: float) -> str | None:
    """Return a note if more nonmembers tie at the highest score than an FPR of `alpha` allows, else None.

    Then every figure at alpha is a straight line across one tied group, and says nothing of the records. It is a
    figure of that score; its difference from another score is not resolvable, or else a saturated format would appear
    to leak less.

    Args:
        outside: float64 [n], scores of nonmembers.
        alpha: in (0, 1).
    """
    tied, n = int((outside == outside.max()).sum()), len(outside)
    if tied <= accused_rank(alpha, n):
        return None
    return f"not resolvable: {tied} of {n} nonmembers tie at the highest score, more than an FPR of {alpha:g}"


def members_above(inside: FloatArray, outside: FloatArray) -> FloatArray:
    """Return K[0..n+1]: how many members lie above the r-th largest nonmember; K[0] = 0, K[n+1] = m.

    Ties are averaged over random orders: of t nonmembers and s members with one score, s j / (t + 1) members lie above
    the j-th of those nonmembers.

    Args:
        inside: float64 [m], scores of members.
        outside: float64 [n], scores of nonmembers.
    """
    m, n = len(inside), len(outside)
    x, y = np.sort(inside), np.sort(outside)
    top = y[::-1]
    last, first = np.searchsorted(y, top, "right"), np.searchsorted(y, top, "left")
    above = m - np.searchsorted(x, top, "right")
    tied = m - above - np.searchsorted(x, top, "left")
    place = np.arange(1, n + 1) - (n - last)  # 1 to the size of the tied group
    return np.concatenate(([0.0], above + tied * place / (last - first + 1), [float(m)]))


def tpr_interval(
    above: FloatArray,
    n_members: int,
    n_nonmembers: int,
    alpha: float,
    level: float = 0.95,
    effective: tuple[float, float] | None = None,
) -> Interval:
    """Return an interval of the ROC curve at `alpha`: Clopper-Pearson averaged over the unknown rank of the threshold.

    N, the number of nonmembers above the population's threshold, is binomial (n, alpha). Given N, the members above it
    number between K[N] and K[N + 1] and are binomial (m, ROC(alpha)). N is not seen, so the Beta distributions of the
    exact binomial bounds are mixed over it. Deterministic, and never of width 0.

    Each end misses in at most 2.9% of simulated audits at a nominal 2.5% (benchmarks/coverage).

    Args:
        above: K, see `members_above`.
        n_members: m.
        n_nonmembers: n.
        alpha: in (0, 1).
        level: coverage.
        effective: sizes of both sides where records are related, see `Side.effective_size`; at most m and n.

    Source: a generalised fiducial interval in the sense of Hannig, "On generalized fiducial inference" (Statistica
    Sinica 2009); effective sizes as in Korn & Graubard (Survey Methodology 1998).
    """
    m_effective, n_effective = effective or (float(n_members), float(n_nonmembers))
    trials = max(1, round(n_effective))
    counts, weights = _binomial(trials, alpha)
    # Ranks among all nonmembers, rounded away from the estimate.
    scale = n_nonmembers / trials
    lower = np.floor(counts * scale + _NEGLIGIBLE).astype(np.int64)
    upper = np.minimum(np.ceil((counts + 1) * scale - _NEGLIGIBLE), n_nonmembers + 1).astype(np.int64)
    share = m_effective / n_members
    hits_low, hits_high = above[lower] * share, above[upper] * share
    tail = (1 - level) / 2
    return (
        _mixture_quantile(weights, hits_low, m_effective - hits_low + 1, tail),
        _mixture_quantile(weights, hits_high + 1, m_effective - hits_high, 1 - tail),
    )


def _mixture_quantile(weights: FloatArray, a: FloatArray, b: FloatArray, probability: float) -> float:
    """Return a quantile of a mixture of Beta(a, b); Beta(0, .) is 0 and Beta(., 0) is 1, exactly."""
    at_zero, at_one = a <= _NEGLIGIBLE, b <= _NEGLIGIBLE
    below, above = float(weights[at_zero].sum()), float(weights[at_one].sum())
    if below >= probability:
        return 0.0
    if 1 - above <= probability:
        return 1.0
    # Ranks of one K are one component: there are far fewer of them where members are few.
    pairs, index = np.unique(np.stack((a, b))[:, ~(at_zero | at_one)], axis=1, return_inverse=True)
    shares = np.bincount(index, weights[~(at_zero | at_one)])

    def excess(x: float) -> float:
        return below + float(shares @ special.betainc(pairs[0], pairs[1], x)) - probability

    return float(scipy.optimize.brentq(excess, 0.0, 1.0, xtol=_PRECISION))


@lru_cache(maxsize=32)
def _binomial(trials: int, rate: float) -> tuple[IntArray, FloatArray]:
    """Return the counts of Binomial(trials, rate) that matter, int64, and their probabilities, float64."""
    binomial = scipy.stats.binom(trials, rate)
    counts = np.arange(int(binomial.ppf(_NEGLIGIBLE)), int(binomial.isf(_NEGLIGIBLE)) + 1, dtype=np.int64)
    weights = binomial.pmf(counts)
    return counts, weights / weights.sum()


def tpr_at_fpr(
    scores: FloatArray, members: BoolArray, alpha: float, groups: IntArray | None = None, level: float = 0.95
) -> OperatingPoint:
    """Return the TPR at the threshold whose expected FPR is at most `alpha`, with its interval.

    Records above the r-th largest nonmember are accused, r = floor(alpha (n + 1)): the expected FPR over samples of
    nonmembers is r / (n + 1). (A threshold with floor(alpha n) false positives among these nonmembers has an expected
    FPR above alpha: 1.49% for 1% and 200 nonmembers.)

    Args:
        scores: float [n], higher = member.
        members: bool [n].
        alpha: in (0, 1).
        groups: int64 [n], groups of related records; None: records are independent.
        level: coverage of the interval.

    Raises:
        AttackError: see `split_scores`, `sides` and `accused_rank`.

    Examples:
        >>> import numpy as np
        >>> scores, members = np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, True, False, False])
        >>> tpr_at_fpr(scores, members, 0.5).tpr
        1.0
        >>> tpr_at_fpr(scores, members, 0.01).note
        'not resolvable: an FPR of 0.01 needs 99 nonmembers, and there are 2'
    """
    inside, outside = split_scores(scores, members)
    m, n = len(inside), len(outside)
    of_members, of_nonmembers = sides(members, groups)
    rank = accused_rank(alpha, n)
    above = members_above(inside, outside)
    few = too_few_groups((of_members, of_nonmembers))
    if few is not None:
        return OperatingPoint(None, None, None, None, None, None, None, 0.0, 0.0, m, n, few)
    threshold = float(np.sort(outside)[::-1][max(rank, 1) - 1])
    effective = _effective_sizes(inside, outside, threshold, (of_members, of_nonmembers))
    low, high = tpr_interval(above, m, n, alpha, level, effective)
    if rank < 1:
        note = f"not resolvable: an FPR of {alpha:g} needs {least_nonmembers(alpha)} nonmembers, and there are {n}"
        return OperatingPoint(None, low, high, None, None, None, None, 0.0, 0.0, m, n, note)
    accused, alarms = float(above[rank]), float(rank - 1)
    notes = []
    needed = nonmembers_for_a_lower_end(alpha, level)
    if round(effective[1]) < needed:
        what = "nonmembers" if of_nonmembers.single else "independent nonmembers"
        notes.append(f"cannot show a breach: with fewer than {needed} {what} the interval begins at 0")
    tied = int((outside == outside.max()).sum())
    if tied > rank:
        notes.append(
            f"{int((inside == outside.max()).sum())} members and {tied} nonmembers tie at the highest score; ties are "
            "decided at random"
        )
    return OperatingPoint(
        accused / m, low, high, threshold, rank / (n + 1), alarms / n, _fpr_interval(rank, n, effective[1], level),
        accused, alarms, m, n, "; ".join(notes) or None,
    )  # fmt: skip


def _fpr_interval(rank: int, n: int, n_effective: float, level: float) -> Interval:
    """Return the interval of the population's FPR above the `rank`-th largest of n nonmembers."""
    above = rank * n_effective / n
    shape, tail = (above, max(0.0, n_effective - above) + n_effective / n), (1 - level) / 2
    return float(special.betaincinv(*shape, tail)), float(special.betainccinv(*shape, tail))


def _effective_sizes(
    inside: FloatArray, outside: FloatArray, threshold: float, both: tuple[Side, Side]
) -> tuple[float, float]:
    """Return the effective sizes of both sides for the indicator "above the threshold", a tied score counting half."""
    first, second = (
        side.effective_size((scores > threshold) + 0.5 * (scores == threshold))
        for side, scores in zip(both, (inside, outside), strict=True)
    )
    return first, second
