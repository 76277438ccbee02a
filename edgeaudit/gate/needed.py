"""How many records a budget needs: before an audit, and where a finished one could not decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.budgets import CLASSES, EVERY_CLASS, METRIC_RANGES, BudgetSpec
from edgeaudit.gate.attack_set import set_of
from edgeaudit.gate.requirements import budgets_of
from edgeaudit.leakage.decision import TAIL, Bounds
from edgeaudit.leakage.operating_points import tpr_interval
from edgeaudit.leakage.targets import FEWEST_TARGETS

__all__ = ["POWER", "BudgetNeed", "budget_needs", "factor_that_decides", "pass_probability", "records_to_pass"]

POWER = 0.8
"""The share of audits of a model that leaks nothing in which a budget is to pass."""
# Of two attacks' figures over draws of the records, assumed before any is measured: two attacks with scores that
# correlate by .7 agree less on who is in the top 1%.
_CORRELATION = 0.7
_CORRELATION_IN_THE_TAIL = 0.3

_LARGEST = 10**6
_ENOUGH_POWER = float(scipy.stats.norm.isf(1 - POWER))


@dataclass(frozen=True)
class BudgetNeed:
    """What a budget needs, before anything is measured.

    metric, limit, level, scope, subset: of the budget. attacks: size of its attack set.
    records: members, and as many nonmembers, with which a model that leaks nothing passes in `POWER` of the audits
    (each class's, for a budget on classes); None where it is not known beforehand, and `note` gives the reason.
    alone: the same for one attack. available: the audit's, the smaller side; of a class the mean. chance: with them,
    the share of such audits that pass. decidable: false where the audit cannot decide the budget, whatever it finds.
    """

    metric: str
    limit: str
    level: str
    scope: str
    subset: str
    attacks: int
    records: int | None
    available: int | None
    chance: float | None
    note: str | None = None
    alone: int | None = None
    decidable: bool = True

    @property
    def enough(self) -> bool:
        """Whether nothing is known to be missing."""
        return self.decidable and (self.chance is None or self.chance >= POWER)


def budget_needs(spec: AuditSpec, members: int, nonmembers: int, classes: int) -> Iterator[BudgetNeed]:
    """Yield what each budget needs.

    Args:
        spec: the audit.
        members: number of audited members.
        nonmembers: number of audited nonmembers.
        classes: of the records.
    """
    for metric, budget in budgets_of(spec):
        yield _need(spec, metric, budget, (members, nonmembers), classes)


def _need(spec: AuditSpec, metric: str, budget: BudgetSpec, sizes: tuple[int, int], classes: int) -> BudgetNeed:
    attacks, of_classes = len(set_of(spec, budget)), 1
    if budget.subset.startswith(CLASSES):
        of_classes = classes if budget.subset == EVERY_CLASS else 1
        sizes = (sizes[0] // classes, sizes[1] // classes)
    limit = f"<= {budget.max:g}" if budget.max is not None else f"<= {budget.against} + {budget.max_increase:g}"
    about = (metric, limit, budget.level, budget.scope, budget.subset, attacks)
    if budget.max is None:
        return BudgetNeed(*about, None, min(sizes), None, "they depend on how alike both formats answer")
    if budget.scope == "pipeline":
        enough, count = spec.targets >= FEWEST_TARGETS, "1 is" if spec.targets == 1 else f"{spec.targets} are"
        note = "they depend on how much targets differ"
        if not enough:
            note = (
                f"nothing can be decided with fewer than {FEWEST_TARGETS} targets, and {count} planned; raise 'targets'"
            )
        return BudgetNeed(*about, None, min(sizes), None, note, decidable=enough)
    if budget.subset != "all" and not budget.subset.startswith(CLASSES):
        note = "how many records the subset has is not known before the audit"
        return BudgetNeed(*about, records_to_pass(metric, budget.max, attacks), None, None, note)
    needed = records_to_pass(metric, budget.max, attacks, of_classes)
    chance = pass_probability(metric, budget.max, *sizes, attacks, of_classes) if min(sizes) > 1 else 0.0
    alone = records_to_pass(metric, budget.max)
    return BudgetNeed(*about, needed, min(sizes), chance, alone=alone)


def records_to_pass(metric: str, limit: float, attacks: int = 1, classes: int = 1) -> int:
    """Return the members, and as many nonmembers, with which a model that leaks nothing passes in `POWER` of audits.

    Rounded up to two digits; at most 1e6.

    Examples:
        >>> records_to_pass("auc", 0.55), records_to_pass("auc", 0.55, attacks=10)
        (530, 850)
    """
    low, high = 10, 20
    while high < _LARGEST and pass_probability(metric, limit, high, high, attacks, classes) < POWER:
        low, high = high, 2 * high
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        enough = pass_probability(metric, limit, middle, middle, attacks, classes) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return min(_LARGEST, rounded_up(high))


def pass_probability(
    metric: str, limit: float, members: int, nonmembers: int, attacks: int = 1, classes: int = 1
) -> float:
    """Return the probability that a budget passes where no attack finds anything.

    Estimates of AUC and balanced accuracy are normal; of TPR at an FPR the number of members above the threshold is
    beta-binomial, and the upper end is that of `tpr_interval`. Scores of two attacks
    are taken to correlate by .7, classes are independent.

    Args:
        metric: one of `METRIC_RANGES`.
        limit: `max` of the budget.
        members: number on their side (of each class).
        nonmembers: likewise.
        attacks: all of them must be within.
        classes: all of them must be within.
    """
    if metric.startswith("tpr@"):
        single, shared = (
            _tpr_pass(float(metric.rpartition("=")[2]), limit, members, nonmembers),
            _CORRELATION_IN_THE_TAIL,
        )
    else:
        shared = _CORRELATION
        margin = (limit - METRIC_RANGES[metric].guessing) / _standard_error(metric, members, nonmembers)
        single = float(scipy.stats.norm.cdf(margin - scipy.stats.norm.isf(TAIL)))
    return _all_within(single, attacks, shared) ** classes


def _standard_error(metric: str, m: int, n: int) -> float:
    if metric == "auc":
        return math.sqrt((m + n + 1) / (12 * m * n))
    # At a threshold in the middle, where rates scatter most.
    advantage = math.sqrt(0.25 / m + 0.25 / n)
    return advantage if metric == "advantage" else advantage / 2


def _tpr_pass(alpha: float, limit: float, m: int, n: int) -> float:
    rank = max(1, round(alpha * n))
    ranks = np.arange(n + 2)

    def upper(hits: int) -> float:
        # The members above other ranks are in proportion.
        above = np.minimum(m, hits * ranks / rank)
        above[-1] = m
        return tpr_interval(above, m, n, alpha)[1]

    if upper(0) > limit:
        return 0.0
    low, high = 0, m
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if upper(middle) <= limit else (low, middle)
    return float(scipy.stats.betabinom.cdf(low, m, rank, n - rank + 1))


def _all_within(single: float, attacks: int, correlation: float) -> float:
    """Return the probability that all of `attacks` equicorrelated normal figures are within, each with `single`."""
    if attacks == 1 or single in (0.0, 1.0):
        return single
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    edge = scipy.stats.norm.ppf(single)
    given = scipy.stats.norm.cdf((edge - math.sqrt(correlation) * nodes) / math.sqrt(1 - correlation))
    return float(weights @ given**attacks / weights.sum())


def factor_that_decides(limit: float, bounds: Sequence[Bounds], tests: int) -> float | None:
    """Return by what factor more records (or targets) an undecided budget needs, if its figures stay what they are.

    With them a pass, or where a figure is beyond the limit a fail, has a probability of `POWER`. None where a figure
    has no interval.

    Args:
        limit: of the budget.
        bounds: of every attack.
        tests: attacks times classes.
    """
    factors = []
    for one in bounds:
        if one.value is None or one.low is None or one.high is None:
            return None
        tail = TAIL / tests if one.value > limit else TAIL
        half = (one.value - one.low if one.value > limit else one.high - one.value) / scipy.stats.norm.isf(TAIL)
        distance = abs(one.value - limit)
        wanted = half * (scipy.stats.norm.isf(tail) + _ENOUGH_POWER)
        factors.append((one.value > limit, math.inf if distance == 0 else float(wanted / distance) ** 2))
    beyond = [factor for over, factor in factors if over]
    # One attack beyond the limit is enough for a fail; all must be within for a pass.
    return min(beyond) if beyond else max(factor for _, factor in factors)


def rounded_up(number: float) -> int:
    """Return a number rounded up to two digits: 1,234 -> 1,300."""
    unit = int(10 ** max(0, math.floor(math.log10(max(1, number))) - 1))
    return math.ceil(number / unit) * unit
