"""Whether an audit has what its budgets name; checked before anything runs, and before a finished run is judged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edgeaudit.attacks.registry import find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.budgets import CLASSES, EVERY_CLASS, METRIC_RANGES, BudgetSpec, mistake_in
from edgeaudit.errors import BudgetError, did_you_mean
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.gate.attack_set import attacks_of
from edgeaudit.report.model import CANARIES

__all__ = [
    "METRICS",
    "PAIRED_METRICS",
    "SLICED_METRICS",
    "SUBSETS",
    "budgets_of",
    "limited_formats",
    "require_attack",
    "require_budgets_exist",
    "require_judgeable",
    "require_subset",
]

METRICS = tuple(METRIC_RANGES)
"""Metrics that a budget can limit."""

PAIRED_METRICS = ("auc", "tpr@fpr=0.01", "tpr@fpr=0.001")
"""Those with a paired test, which `max-increase` needs."""

SLICED_METRICS = ("auc", "tpr@fpr=0.01")
"""Those that every class has, which a budget on classes needs."""

SUBSETS = ("all", CANARIES, "abnormal:fraction", "abnormal:alpha-beta", "abnormal:hardness", EVERY_CLASS)
"""Subsets of the records that a budget can name, beside `class:<k>`."""


def require_budgets_exist(spec: AuditSpec, classes: int | None = None) -> None:
    """Raise `BudgetError` for a budget that could not fail or not pass, or names what the audit does not have.

    classes: number of classes of the records; None where they are not read yet.
    """
    formats = [use.id for use in spec.formats]
    for metric, budget in budgets_of(spec):
        where = f"budgets.{metric}"
        _require_metric(where, metric)
        for key, value in (("max", budget.max), ("max-increase", budget.max_increase)):
            # Those of a file are refused when it is read; a spec may be built otherwise.
            mistake = mistake_in(metric, key, value)
            if mistake is not None:
                raise BudgetError(f"budgets: {mistake}")
        for name in (*(budget.formats or ()), *((budget.against,) if budget.against else ())):
            if name not in formats:
                raise BudgetError(
                    f"{where}: the format '{name}' is not in this audit.{did_you_mean(name, formats)} "
                    f"The audit has: {', '.join(formats)}"
                )
        require_judgeable(where, metric, budget, spec, classes)
        if not limited_formats(budget, formats):
            unshipped = " and ".join(REFERENCES.values())
            raise BudgetError(
                f"{where}: the budget applies to no format ({unshipped} are references, which are not shipped; to "
                "limit one, name it in 'formats')"
            )


def budgets_of(spec: AuditSpec) -> Iterator[tuple[str, BudgetSpec]]:
    """Yield every budget with its metric."""
    for metric, budgets in spec.budgets.items():
        for budget in budgets:
            yield metric, budget


def limited_formats(budget: BudgetSpec, formats: Sequence[str]) -> list[str]:
    """Return the formats that a budget limits: those it names, else all except the references and `against`."""
    if budget.formats is not None:
        return list(budget.formats)
    return [f for f in formats if f not in (*REFERENCES.values(), budget.against)]


def require_judgeable(where: str, metric: str, budget: BudgetSpec, spec: AuditSpec, classes: int | None = None) -> None:
    """Raise `BudgetError` for a budget whose metric, attacks or records this audit does not have.

    Args:
        where: the budget's key, for messages.
        metric: that it limits.
        budget: its formats are not looked at.
        spec: the audit.
        classes: number of classes of the records; None where they are not read yet.
    """
    _require_metric(where, metric)
    for name in budget.named_attacks or ():
        require_attack(where, name, attacks_of(spec))
    if budget.subset == CANARIES and spec.canaries is None:
        raise BudgetError(f"{where}: the subset '{CANARIES}' needs canaries; plant some with the section 'canaries'")
    if budget.subset.startswith(CLASSES) and spec.task != "classification":
        raise BudgetError(f"{where}: task: {spec.task}: there are no figures by class; remove the budget's 'subset'")
    _require_judgeable(where, metric, budget, classes)


def _require_metric(where: str, metric: str) -> None:
    if metric not in METRICS:
        raise BudgetError(
            f"{where}: unknown metric.{did_you_mean(metric, METRICS)} A budget can limit: {', '.join(METRICS)}"
        )


def require_attack(where: str, name: str, attacks: Sequence[str]) -> None:
    """Raise `BudgetError` for an `attack` or `attack/variant` that is not among the audit's attacks."""
    attack, slash, variant = name.partition("/")
    if attack not in attacks:
        raise BudgetError(
            f"{where}: the attack '{attack}' is not in this audit's attacks.{did_you_mean(attack, attacks)} "
            f"The audit has: {', '.join(attacks)}"
        )
    variants = find_attack(attack).spec.variants
    if slash and variant not in variants:
        raise BudgetError(f"{where}: '{attack}' has no variant '{variant}'; it has: {', '.join(variants)}")


def _require_judgeable(where: str, metric: str, budget: BudgetSpec, classes: int | None) -> None:
    if budget.max_increase is not None and metric not in PAIRED_METRICS:
        raise BudgetError(f"{where}: max-increase needs a paired test; metrics with one: {', '.join(PAIRED_METRICS)}")
    if budget.max_increase is not None and budget.subset != "all":
        raise BudgetError(f"{where}: max-increase is judged on all records; remove 'subset'")
    if budget.scope == "pipeline" and budget.subset != "all":
        raise BudgetError(f"{where}: a pipeline is judged on all records; remove 'subset', or 'scope: pipeline'")
    if budget.subset == CANARIES and metric not in PAIRED_METRICS:
        raise BudgetError(f"{where}: figures of canaries are {', '.join(PAIRED_METRICS)}; remove 'subset'")
    require_subset(where, metric, budget.subset, classes)


def require_subset(where: str, metric: str, subset: str, classes: int | None = None) -> None:
    """Raise `BudgetError` for records that no audit has under this name, or of which the metric has no figure."""
    if subset in SUBSETS and subset != EVERY_CLASS:
        return
    if not subset.startswith(CLASSES):
        raise BudgetError(
            f"{where}: unknown subset '{subset}'.{did_you_mean(subset, SUBSETS)} "
            f"It is one of: {', '.join(SUBSETS)}, or {CLASSES}<k> for one class"
        )
    if metric not in SLICED_METRICS:
        raise BudgetError(f"{where}: figures by class are {' and '.join(SLICED_METRICS)}; remove 'subset'")
    label = subset.removeprefix(CLASSES)
    if subset == EVERY_CLASS:
        return
    if not (label.isascii() and label.isdigit() and label == str(int(label))):
        raise BudgetError(
            f"{where}: the subset '{subset}' must be {CLASSES}<k> with the class's number, or {EVERY_CLASS}"
        )
    if classes is not None and int(label) >= classes:
        raise BudgetError(f"{where}: there is no class {label}; the records have classes 0 to {classes - 1}")
