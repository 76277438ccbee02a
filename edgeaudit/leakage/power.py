"""Sample sizes: the records or targets that a claim needs. For shadows see `smallest_cutoff_shadows`."""

from __future__ import annotations

import math
from collections.abc import Callable

import scipy

from edgeaudit.errors import AttackError
from edgeaudit.leakage.intervals import placements
from edgeaudit.leakage.operating_points import least_nonmembers
from edgeaudit.leakage.roc import BoolArray, FloatArray

__all__ = [
    "hanley_mcneil_variance",
    "nonmembers_to_bound_fpr",
    "nonmembers_to_resolve",
    "paired_t_power",
    "records_for_auc",
    "records_for_auc_difference",
    "targets_for_difference",
]

_LARGEST = 10**9


def nonmembers_to_resolve(alpha: float) -> int:
    """Return the smallest number of nonmembers for which `tpr_at_fpr` has a point estimate.

    A resolvable FPR is not a bounded FPR, see `nonmembers_to_bound_fpr`.

    Raises:
        AttackError: alpha outside (0, 1).

    Examples:
        >>> nonmembers_to_resolve(0.001)
        999
    """
    _share("a false positive rate", alpha)
    return least_nonmembers(alpha)


def nonmembers_to_bound_fpr(alpha: float, false_positives: int = 0, level: float = 0.95) -> int:
    """Return the smallest n for which `false_positives` of n nonmembers bound the FPR at alpha (Clopper-Pearson).

    With no false positive, (1 - alpha)^n <= 1 - level: 2,995 at 0.1% and 95%, the "rule of three". The upper end of the
    two-sided 95% interval in reports is one-sided at 97.5%: 3,688 (level=0.975).

    Args:
        alpha: the rate to bound, in (0, 1).
        false_positives: the number of observed false positives.
        level: one-sided confidence.

    Raises:
        AttackError: alpha or level outside (0, 1), a negative count, or an n above 1e9.

    Examples:
        >>> nonmembers_to_bound_fpr(0.001)
        2995
    """
    _share("a false positive rate", alpha)
    _share("a level", level)
    if false_positives < 0:
        raise AttackError(f"false positives cannot be negative: {false_positives}")
    # "Upper bound <= alpha" means P[Binomial(n, alpha) <= false_positives] <= 1 - level, which decreases with n.
    return _smallest(
        lambda n: float(scipy.stats.binom.cdf(false_positives, n, alpha)) <= 1 - level,
        false_positives + 1,
        "nonmembers",
    )


def hanley_mcneil_variance(auc: float, n_members: int, n_nonmembers: int) -> float:
    """Return the expected variance of an AUC before scores are available.

    [A(1-A) + (m-1)(Q1 - A^2) + (n-1)(Q2 - A^2)] / (mn) with Q1 = A/(2-A), Q2 = 2A^2/(1+A). Q1 and Q2 are those of
    exponential scores: an approximation that is close for normal scores of equal variance. A score that identifies a
    few members with certainty has a larger variance. With scores, `delong` estimates the variance.

    Args:
        auc: A, in (0, 1).
        n_members: m.
        n_nonmembers: n.

    Raises:
        AttackError: auc outside (0, 1), or no members or no nonmembers.

    Source: Hanley & McNeil, "The Meaning and Use of the Area under a ROC Curve" (Radiology 1982).
    """
    _share("an AUC", auc)
    if min(n_members, n_nonmembers) < 1:
        raise AttackError(
            f"the variance of an AUC needs members and nonmembers; there are {n_members} members and {n_nonmembers} "
            "nonmembers"
        )
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n_members - 1) * (q1 - auc**2) + (n_nonmembers - 1) * (q2 - auc**2)
    return spread / (n_members * n_nonmembers)


def records_for_auc(
    auc: float, half_width: float, nonmembers_per_member: float = 1.0, level: float = 0.95
) -> tuple[int, int]:
    """Return the members and nonmembers with which the AUC's normal interval is expected to be within +- half_width.

    Uses the approximation of `hanley_mcneil_variance`. To detect an AUC of .5 + h in half of the audits, use
    half_width = h at auc = .5.

    Args:
        auc: the expected AUC, in (0, 1).
        half_width: half the width of the interval, in (0, 1).
        nonmembers_per_member: ratio, above 0.
        level: coverage of the two-sided interval.

    Returns:
        (members, nonmembers), at least 2 each.

    Raises:
        AttackError: an argument is out of range, or more than 1e9 records are needed.

    Examples:
        >>> records_for_auc(0.6, half_width=0.02)
        (1524, 1524)
    """
    _share("an AUC", auc)
    _share("a half width", half_width)
    _share("a level", level)
    if not 0 < nonmembers_per_member < math.inf:
        raise AttackError(f"nonmembers per member must be above 0: {nonmembers_per_member}")
    z = float(scipy.stats.norm.isf((1 - level) / 2))

    def nonmembers(m: int) -> int:
        return max(2, math.ceil(m * nonmembers_per_member))

    def narrow(m: int) -> bool:
        return z * math.sqrt(hanley_mcneil_variance(auc, m, nonmembers(m))) <= half_width

    m = _smallest(narrow, 2, "members")
    return m, nonmembers(m)


def records_for_auc_difference(
    first: FloatArray,
    second: FloatArray,
    members: BoolArray,
    difference: float,
    power: float = 0.8,
    alpha: float = 0.05,
) -> tuple[int, int]:
    """Return the members and nonmembers with which the paired DeLong test detects an AUC difference with `power`.

    The variance of the placement differences is estimated from a pilot, as in `auc_difference`. The standard error
    decreases as 1/sqrt(n) at the pilot's share of members: n = pilot * (SE (z_a/2 + z_power) / d)^2. The result is as
    uncertain as the pilot's variance. Use the smallest difference that matters, not the pilot's difference.

    Args:
        first: float [n], pilot scores.
        second: float [n], of the same records.
        members: bool [n].
        difference: in AUC, not 0.
        power: in (0, 1).
        alpha: two-sided level of the test.

    Returns:
        (members, nonmembers), at least 2 each.

    Raises:
        AttackError: see `split_scores`; also for a single member or nonmember, two equal rankings (no variance), and a
            difference of 0.
    """
    _share("a power", power)
    _share("a level", alpha)
    if difference == 0 or not math.isfinite(difference):
        raise AttackError(f"the difference to detect must be finite and not 0: {difference}")
    (a_members, a_others), (b_members, b_others) = placements(first, members), placements(second, members)
    m, n = len(a_members), len(a_others)
    if min(m, n) < 2:
        raise AttackError(f"a pilot needs two members and two nonmembers; there are {m} and {n}")
    variance = float((a_members - b_members).var(ddof=1) / m + (a_others - b_others).var(ddof=1) / n)
    if variance < 1e-24:
        raise AttackError("the two scores rank the pilot's records equally, so the variance cannot be estimated")
    z = float(scipy.stats.norm.isf(alpha / 2) + scipy.stats.norm.isf(1 - power))
    factor = variance * (z / difference) ** 2
    return max(2, math.ceil(m * factor)), max(2, math.ceil(n * factor))


def paired_t_power(targets: int, difference: float, sd: float, alpha: float = 0.05) -> float:
    """Return the power of the two-sided paired t test over targets, by the noncentral t distribution.

    Args:
        targets: number of targets, at least 2.
        difference: true mean difference, in the figure's unit.
        sd: standard deviation of the differences over targets, same unit, above 0.
        alpha: level of the test.

    Raises:
        AttackError: an argument out of range.

    Examples:
        >>> round(paired_t_power(targets=16, difference=0.02, sd=0.02), 2)
        0.96
    """
    _share("a level", alpha)
    if targets < 2 or not 0 < sd < math.inf or not math.isfinite(difference):
        raise AttackError(
            f"a paired t test needs two or more targets, an sd above 0 and a finite difference: {targets} targets, sd "
            f"{sd}, difference {difference}"
        )
    df, shift = targets - 1, abs(difference) / sd * math.sqrt(targets)
    edge = float(scipy.stats.t.isf(alpha / 2, df))
    # The opposite tail is below Phi(-shift), which is 1e-12 from 7 on, where scipy 1.17's nct.cdf is sometimes NaN
    # (nct.sf is not; the tests compare with an integral).
    wrong = float(scipy.stats.nct.cdf(-edge, df, shift)) if shift < 7 else 0.0
    return float(scipy.stats.nct.sf(edge, df, shift)) + wrong


def targets_for_difference(difference: float, sd: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """Return the smallest number of targets with which the paired t test detects `difference` with `power` or more.

    For Holm over k comparisons use alpha / k, which suffices for the comparison with the smallest p-value.

    Args:
        difference: smallest mean difference that matters, in the figure's unit, not 0.
        sd: standard deviation of the differences over targets, from a pilot or the literature, same unit.
        power: in (0, 1).
        alpha: two-sided level.

    Raises:
        AttackError: an argument is out of range, or more than 1e9 targets are needed.
    """
    _share("a power", power)
    if difference == 0:
        raise AttackError("a difference of 0 cannot be detected")
    return _smallest(lambda targets: paired_t_power(targets, difference, sd, alpha) >= power, 2, "targets")


def _share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise AttackError(f"{name} must be between 0 and 1: {value}")


def _smallest(enough: Callable[[int], bool], start: int, what: str) -> int:
    """Return the smallest number from `start` that is enough, by doubling and bisection; `enough` must be monotone."""
    low, high = start - 1, start
    while not enough(high):
        if high >= _LARGEST:
            raise AttackError(f"more than {_LARGEST:g} {what} would be needed")
        low, high = high, min(2 * high, _LARGEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
