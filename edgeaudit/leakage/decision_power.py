"""Records that a budget needs to be decided, and the limits that given records can decide; before any score exists.

Every attack of a budget must pass, so each needs more power than the budget; and a fail is corrected for their number.
How attacks are related is unknown beforehand. A pass is planned for independent ones, which is the worst case: with ten
attacks twice the records of one, where attacks of correlation .7 need 1.6 times as many. A fail is planned for a single
attack beyond the limit.

Scores are taken to be normal with equal variance. A few members that are found with certainty have another ROC curve.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
from scipy import special

from edgeaudit.errors import AttackError
from edgeaudit.leakage.decision import TAIL, corrected_level
from edgeaudit.leakage.intervals import Interval, rate_difference
from edgeaudit.leakage.operating_points import tpr_interval
from edgeaudit.leakage.power import hanley_mcneil_variance

__all__ = ["POWER", "decidable_limit", "guessing", "records_to_decide"]

POWER = 0.8
_TPR = "tpr@fpr="
# More records than any audit has.
_MOST = 2_000_000
# Simulated audits for one plan of a TPR: a power of .8 is known within about .025.
_DRAWS = 250


def guessing(metric: str) -> float:
    """Return a figure's value where the attack knows nothing: auc .5, tpr@fpr=a a, balanced_accuracy .5, advantage 0.

    Raises:
        AttackError: another metric.
    """
    if metric.startswith(_TPR):
        return float(metric.removeprefix(_TPR))
    values = {"auc": 0.5, "balanced_accuracy": 0.5, "advantage": 0.0}
    if metric not in values:
        raise AttackError(f"'{metric}' cannot be planned; {', '.join(values)} and tpr@fpr=<rate> can")
    return values[metric]


def decidable_limit(
    metric: str,
    truth: float,
    n_members: int,
    n_nonmembers: int,
    attacks: int = 1,
    outcome: Literal["pass", "fail"] = "pass",
    power: float = POWER,
) -> float:
    """Return the smallest limit that is passed, or the largest that is failed, with `power`.

    It is the interval's end that an estimate at the quantile `power` of its distribution has (for a pass of A attacks
    power^(1/A)). A TPR's ends are simulated, in a second or less.

    Args:
        metric: auc, tpr@fpr=<a>, balanced_accuracy or advantage.
        truth: the figure's true value, of all attacks (pass) or of one (fail).
        n_members: at least 2.
        n_nonmembers: at least 2.
        attacks: number of attacks of the budget.
        outcome: pass or fail.
        power: in (0, 1).

    Raises:
        AttackError: another metric, or an argument out of range.

    Examples:
        >>> round(decidable_limit("auc", 0.5, 1000, 1000), 3), round(decidable_limit("auc", 0.5, 1000, 1000, 10), 3)
        (0.536, 0.551)
    """
    lowest = -1.0 if metric == "advantage" else 0.0
    guessing(metric)  # checks the metric
    if not lowest < truth < 1 or not 0 < power < 1 or min(n_members, n_nonmembers) < 2 or attacks < 1:
        raise AttackError(
            f"cannot plan {metric} of {truth:g} with {n_members} members, {n_nonmembers} nonmembers, {attacks} attacks "
            f"and power {power:g}"
        )
    sizes = (n_members, n_nonmembers)
    if outcome == "pass":
        probability, level = power ** (1 / attacks), 1 - 2 * TAIL
    else:
        probability, level = 1 - power, corrected_level(attacks)
    if metric.startswith(_TPR):
        alpha = float(metric.removeprefix(_TPR))
        return _tpr_limit(truth, alpha, sizes, level, power=probability, upper=outcome == "pass")
    z = float(scipy.stats.norm.ppf(probability))
    return _ends(metric, truth, sizes, z, level)[int(outcome == "pass")]


def records_to_decide(
    metric: str,
    limit: float,
    truth: float | None = None,
    attacks: int = 1,
    power: float = POWER,
    nonmembers_per_member: float = 1.0,
) -> tuple[int, int] | None:
    """Return the members and nonmembers, to 1%, with which a budget is decided with `power`.

    A truth below the limit must pass, one above it must fail.

    Args:
        metric: auc, tpr@fpr=<a>, balanced_accuracy or advantage.
        limit: of the budget.
        truth: the figure's true value; None: guessing.
        attacks: number of attacks of the budget.
        power: in (0, 1).
        nonmembers_per_member: ratio, above 0.

    Returns:
        (members, nonmembers); None where two million of either do not suffice, and where truth and limit are equal.

    Raises:
        AttackError: another metric, or an argument out of range.

    Examples:
        >>> records_to_decide("auc", 0.55), records_to_decide("auc", 0.55, attacks=10)
        ((524, 524), (1048, 1048))
    """
    if not 0 < nonmembers_per_member < math.inf:
        raise AttackError(f"nonmembers per member must be above 0: {nonmembers_per_member}")
    value = guessing(metric) if truth is None else truth
    if value == limit:
        return None
    outcome: Literal["pass", "fail"] = "pass" if value < limit else "fail"

    def nonmembers(m: int) -> int:
        return max(2, math.ceil(m * nonmembers_per_member))

    def enough(m: int) -> bool:
        edge = decidable_limit(metric, value, m, nonmembers(m), attacks, outcome, power)
        return edge <= limit if outcome == "pass" else edge > limit

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if max(high, nonmembers(high)) > _MOST:
            return None
    # To 1%, which is finer than what is assumed of the scores.
    while high - low > max(1, low // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high, nonmembers(high)


def _ends(metric: str, truth: float, sizes: tuple[int, int], z: float, level: float) -> Interval:
    """Return the interval that an estimate `z` of its standard deviations above the truth has."""
    m, n = sizes
    if metric == "auc":
        return _auc_ends(truth, m, n, z, level)
    even = (1 + truth) / 2 if metric == "advantage" else truth
    # Both rates are taken as symmetric: TPR = 1 - FPR, which has the largest variance.
    found = min(1.0, max(0.0, even + z * math.sqrt(even * (1 - even) * (1 / m + 1 / n)) / 2))
    low, high = rate_difference(found * m, m, (1 - found) * n, n, level)
    return (low, high) if metric == "advantage" else ((1 + low) / 2, (1 + high) / 2)


def _auc_ends(truth: float, m: int, n: int, z: float, level: float) -> Interval:
    def se(area: float) -> float:
        return math.sqrt(hanley_mcneil_variance(area, m, n)) / (area * (1 - area))

    found = float(special.expit(special.logit(truth) + z * se(truth)))
    half = float(scipy.stats.t.isf((1 - level) / 2, min(m, n) - 1)) * se(found)
    low, high = special.expit(special.logit(found) + np.array([-half, half]))
    return float(low), float(high)


@lru_cache(maxsize=256)
def _tpr_limit(truth: float, alpha: float, sizes: tuple[int, int], level: float, *, power: float, upper: bool) -> float:
    """Return the quantile `power` of the interval's upper (or lower) end over simulated audits.

    The ends depend on the order of members and nonmembers at the highest scores, so they are drawn: from a generator
    with a fixed seed, for a plan that does not change.
    """
    m, n = sizes
    shift = float(scipy.stats.norm.isf(alpha) - scipy.stats.norm.isf(truth))
    ranks = min(n, int(scipy.stats.binom.isf(1e-10, n, alpha)) + 2)
    rng = np.random.default_rng(0)
    ends = np.empty(_DRAWS)
    for i in range(_DRAWS):
        # FPR at the 1st to `ranks`-th largest nonmember: order statistics of n uniforms.
        steps = np.cumsum(rng.exponential(size=ranks))
        fpr = steps / (steps[-1] + rng.gamma(n + 1 - ranks))
        tpr = special.ndtr(special.ndtri(fpr) + shift)
        members = np.sort(rng.random(rng.binomial(m, tpr[-1]))) * tpr[-1]
        above = np.concatenate(([0.0], np.searchsorted(members, tpr).astype(np.float64)))
        if ranks == n:
            above = np.append(above, float(m))
        ends[i] = tpr_interval(above, m, n, alpha, level)[int(upper)]
    return float(np.quantile(ends, power))
