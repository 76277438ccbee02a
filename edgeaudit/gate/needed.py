"""How many records a budget needs: before an audit, and where a finished one could not decide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import scipy

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.budgets import CLASSES, EVERY_CLASS, BudgetSpec
from edgeaudit.config.policy import ReadPolicy
from edgeaudit.gate.attack_set import set_of
from edgeaudit.gate.policy import applicable
from edgeaudit.gate.requirements import budgets_of
from edgeaudit.leakage.decision import TAIL, Bounds
from edgeaudit.leakage.decision_power import POWER, decidable_limit, guessing, records_to_decide
from edgeaudit.leakage.targets import FEWEST_TARGETS
from edgeaudit.report.model import CANARIES

__all__ = ["BudgetNeed", "Deciding", "budget_needs", "factor_that_decides", "rounded_up", "side_names"]


@dataclass(frozen=True)
class BudgetNeed:
    """What a budget needs, before anything is measured.

    metric, limit, level, scope, subset: of the budget. attacks: size of its attack set.
    records: members, and as many nonmembers, with which a model that leaks nothing passes in `POWER` of the audits
    (of each class, for a budget on classes); None where it is not known beforehand, and `note` gives the reason.
    alone: the same for one attack. available: the audit's, the smaller side; of a class the mean. decides: the smallest
    limit that such a model passes with them as often. decidable: false where the audit has too few records or targets.
    policy: title of the policy that has the budget; None: the audit itself.
    """

    metric: str
    limit: str
    level: str
    scope: str
    subset: str
    attacks: int
    records: int | None
    available: int | None
    decides: float | None
    note: str | None = None
    alone: int | None = None
    decidable: bool = True
    policy: str | None = None


def budget_needs(
    spec: AuditSpec, members: int, nonmembers: int, classes: int, policy: ReadPolicy | None = None
) -> Iterator[BudgetNeed]:
    """Yield what each budget needs, of the audit and of the policy.

    Args:
        spec: the audit.
        members: number of audited members.
        nonmembers: number of audited nonmembers.
        classes: of the records.
        policy: judged beside the audit's own budgets.
    """
    for metric, budget in budgets_of(spec):
        yield _need(spec, metric, budget, (members, nonmembers), classes)
    if policy is not None:
        for metric, budget in applicable(policy.spec, spec).budgets:
            yield replace(_need(spec, metric, budget, (members, nonmembers), classes), policy=policy.title)


def _need(spec: AuditSpec, metric: str, budget: BudgetSpec, sizes: tuple[int, int], classes: int) -> BudgetNeed:
    attacks, of_classes = len(set_of(spec, budget)), 1
    if budget.subset.startswith(CLASSES):
        of_classes = classes if budget.subset == EVERY_CLASS else 1
        sizes = (sizes[0] // classes, sizes[1] // classes)
    if budget.subset == CANARIES and spec.canaries is not None:
        sizes = (spec.canaries.records // 2, spec.canaries.records - spec.canaries.records // 2)
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
    needed, alone = _records(metric, budget.max, attacks * of_classes), _records(metric, budget.max, 1)
    if budget.subset not in ("all", CANARIES) and not budget.subset.startswith(CLASSES):
        note = "how many records the subset has is not known before the audit"
        return BudgetNeed(*about, needed, None, None, note, alone=alone)
    decides = decidable_limit(metric, guessing(metric), *sizes, attacks * of_classes) if min(sizes) > 1 else 1.0
    return BudgetNeed(*about, needed, min(sizes), decides, alone=alone, decidable=decides <= budget.max)


def _records(metric: str, limit: float, tests: int) -> int | None:
    """Return the members, and as many nonmembers, with which a model that leaks nothing passes, to two digits."""
    found = records_to_decide(metric, limit, attacks=tests, power=POWER)
    return None if found is None else rounded_up(found[0])


class Deciding(NamedTuple):
    """By what factor more records (or targets) an undecided budget needs, and how it is then decided.

    factor: infinite where no number decides.
    """

    factor: float
    outcome: Literal["pass", "fail"]


def factor_that_decides(
    limit: float, bounds: Sequence[Bounds], tests: int, taught: Sequence[Bounds] = ()
) -> Deciding | None:
    """Return what an undecided budget needs, if its figures stay what they are; None where a figure has no interval.

    With it a pass, or where an attack's figure is beyond the limit a fail, has a probability of `POWER`. A pass needs
    no correction, and a fail one for all tests (`edgeaudit.leakage.decision`).

    Args:
        limit: of the budget.
        bounds: of every attack, and at the common floor.
        tests: for which a fail is corrected: attacks and floors, times classes.
        taught: of what is taught memberships, which keeps a budget from a pass and makes none fail.
    """
    factors = []
    for one in (*bounds, *taught):
        if one.value is None or one.low is None or one.high is None:
            return None
        tail = TAIL / tests if one.value > limit else TAIL
        half = (one.value - one.low if one.value > limit else one.high - one.value) / scipy.stats.norm.isf(TAIL)
        distance = abs(one.value - limit)
        wanted = half * (scipy.stats.norm.isf(tail) + float(scipy.special.ndtri(POWER)))
        factors.append((one.value > limit, math.inf if distance == 0 else float(wanted / distance) ** 2))
    beyond = [factor for over, factor in factors[: len(bounds)] if over]
    # One attack beyond the limit is enough for a fail; all must be within for a pass.
    if beyond:
        return Deciding(min(beyond), "fail")
    return Deciding(max(math.inf if over else factor for over, factor in factors), "pass")


def side_names(subset: str) -> tuple[str, str]:
    """Return what the records of both sides of a budget's subset are called."""
    return ("planted canaries", "held out") if subset == CANARIES else ("members", "nonmembers")


def rounded_up(number: float) -> int:
    """Return a number rounded up to two digits: 1,234 -> 1,300."""
    unit = int(10 ** max(0, math.floor(math.log10(max(1, number))) - 1))
    return math.ceil(number / unit) * unit
