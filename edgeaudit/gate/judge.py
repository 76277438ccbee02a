"""The gate: budgets -> verdict -> exit code. It compares intervals with limits, never point estimates alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.registry import chosen_attacks, find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.budgets import BudgetSpec
from edgeaudit.endpoint import LOCAL
from edgeaudit.errors import BudgetError, did_you_mean
from edgeaudit.formats.presets import REFERENCES
from edgeaudit.leakage.paired import auc_difference, tpr_difference
from edgeaudit.randomness import stream
from edgeaudit.report.model import Budget, Control, FormatResult, LeakageRow, Verdict
from edgeaudit.report.words import place_name

__all__ = ["METRICS", "SUBSETS", "FormatScores", "judge", "require_budgets_exist"]

METRICS = ("auc", "tpr@fpr=0.01", "tpr@fpr=0.001", "balanced_accuracy", "advantage")
"""Metrics a budget can limit; `max-increase` needs one with a paired test: auc or tpr@fpr (the first three)."""

SUBSETS = ("all", "abnormal:fraction", "abnormal:alpha-beta", "abnormal:hardness")
"""Subsets of the records that a budget can name: those for which every measurement has figures."""


class _Deployment(NamedTuple):
    format: str
    device: str


@dataclass(frozen=True)
class FormatScores:
    """Scores of one format's attacks on the audited records.

    scores: `attack/variant` -> float64 [records]. members: bool [records]. groups: int64 [records], groups of related
    records; None where each has one record.
    """

    scores: Mapping[str, npt.NDArray[np.float64]]
    members: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int64] | None = None


_Scores = Callable[[str, str], FormatScores]


def _stream_parts(deployment: _Deployment) -> tuple[str, ...]:
    """Return the device's name where it is not this machine, so that each device has its own random stream."""
    return () if deployment.device == LOCAL else (deployment.device,)


def require_budgets_exist(spec: AuditSpec) -> None:
    """Raise `BudgetError` for a budget that names a metric, format, attack or subset the audit does not have."""
    formats = [use.id for use in spec.formats]
    for metric, budget in _each(spec):
        where = f"budgets.{metric}"
        if metric not in METRICS:
            raise BudgetError(
                f"{where}: unknown metric.{did_you_mean(metric, METRICS)} A budget can limit: {', '.join(METRICS)}"
            )
        for name in (*(budget.formats or ()), *((budget.against,) if budget.against else ())):
            if name not in formats:
                raise BudgetError(
                    f"{where}: the format '{name}' is not in this audit.{did_you_mean(name, formats)} "
                    f"The audit has: {', '.join(formats)}"
                )
        if budget.attack not in chosen_attacks(spec.attacks):
            raise BudgetError(f"{where}: the attack '{budget.attack}' is not in this audit's attacks")
        variants = find_attack(budget.attack).spec.variants
        if budget.variant is not None and budget.variant not in variants:
            raise BudgetError(
                f"{where}: '{budget.attack}' has no variant '{budget.variant}'; it has: {', '.join(variants)}"
            )
        _require_judgeable(where, metric, budget)
        if not _limited(budget, formats):
            unshipped = " and ".join(REFERENCES.values())
            raise BudgetError(
                f"{where}: the budget applies to no format ({unshipped} are references, which are not shipped; to "
                "limit one, name it in 'formats')"
            )


def _require_judgeable(where: str, metric: str, budget: BudgetSpec) -> None:
    if budget.subset not in SUBSETS:
        raise BudgetError(
            f"{where}: unknown subset '{budget.subset}'.{did_you_mean(budget.subset, SUBSETS)} "
            f"It is one of: {', '.join(SUBSETS)}"
        )
    if budget.max_increase is not None and metric not in METRICS[:3]:
        raise BudgetError(f"{where}: max-increase needs a paired test; metrics with one: {', '.join(METRICS[:3])}")
    if budget.max_increase is not None and budget.subset != "all":
        raise BudgetError(f"{where}: max-increase is judged on all records; remove 'subset'")


def _each(spec: AuditSpec) -> Iterator[tuple[str, BudgetSpec]]:
    for metric, budgets in spec.budgets.items():
        for budget in budgets:
            yield metric, budget


def _limited(budget: BudgetSpec, formats: Sequence[str]) -> list[str]:
    """Return the formats that a budget limits: those it names, else all except the references and `against`."""
    if budget.formats is not None:
        return list(budget.formats)
    return [f for f in formats if f not in (*REFERENCES.values(), budget.against)]


def judge(
    spec: AuditSpec,
    formats: Sequence[FormatResult],
    rows: Sequence[LeakageRow],
    controls: Sequence[Control],
    scores: _Scores,
) -> Verdict:
    """Judge the controls and every budget on every device, and return the audit's verdict.

    The exit code is that of the first that applies: a failed format (2), a failed control (3), an exceeded budget (1),
    a budget that the records cannot decide (3), else 0. `warn` budgets are reported and do not change the exit code.

    scores: (format id, device) -> its stored scores; called for `max-increase` only.
    """
    deployments = [_Deployment(f.id, f.device) for f in formats]
    failed = {_Deployment(f.id, f.device) for f in formats if f.status == "failed"}
    budgets = [
        _judge_one(metric, _with_variant(budget, deployment, baseline, rows), deployment, baseline, rows, scores)
        for metric, budget in _each(spec)
        for format_id in _limited(budget, list(dict.fromkeys(f.id for f in formats)))
        for deployment in deployments
        if deployment.format == format_id
        if deployment not in failed and (baseline := _baseline(budget, deployment, deployments)) not in failed
    ]
    invalid = tuple(f"control failed: {_control_sentence(c)}" for c in controls if c.status == "failed")
    errors = [b for b in budgets if b.level == "error"]
    exceeded = [_sentence(b) for b in errors if b.verdict == "fail"]
    undecided = [_sentence(b) for b in errors if b.verdict == "inconclusive"]
    warnings = tuple(f"warning: {_sentence(b)}" for b in budgets if b.level == "warn" and b.verdict != "pass")
    kept = tuple(budgets)
    if failed:
        reasons = tuple(f"{place_name(f.id, f.device)} failed: {f.error}" for f in formats if f.status == "failed")
        return Verdict(outcome="error", exit_code=2, reasons=(*reasons, *invalid, *exceeded, *warnings), budgets=kept)
    if invalid:
        return Verdict(outcome="invalid", exit_code=3, reasons=(*invalid, *warnings), budgets=kept)
    if exceeded:
        return Verdict(outcome="budget exceeded", exit_code=1, reasons=(*exceeded, *undecided, *warnings), budgets=kept)
    if undecided:
        return Verdict(outcome="inconclusive", exit_code=3, reasons=(*undecided, *warnings), budgets=kept)
    control = _controls_hold(controls)
    if not budgets:
        reasons = ("no budget was set, so no format was judged", *control)
        return Verdict(outcome="not judged", exit_code=0, reasons=reasons, budgets=())
    summary = (
        f"{len(errors)} budget check{'s hold' if len(errors) > 1 else ' holds'}"
        if errors
        else "only budgets with level 'warn' were set"
    )
    return Verdict(outcome="within budget", exit_code=0, reasons=(summary, *control, *warnings), budgets=kept)


def _baseline(budget: BudgetSpec, deployment: _Deployment, deployments: Sequence[_Deployment]) -> _Deployment | None:
    """Return what a `max-increase` is measured from: `against` on the same device, else on the first that has it."""
    if budget.against is None:
        return None
    candidates = [other for other in deployments if other.format == budget.against]
    same_device = (other for other in candidates if other.device == deployment.device)
    return next(same_device, candidates[0] if candidates else None)


def _sentence(budget: Budget) -> str:
    interval = "" if budget.low is None or budget.high is None else f" [{budget.low:.3f}, {budget.high:.3f}]"
    value = "not resolvable" if budget.value is None else f"{budget.value:.3f}"
    verb = {"pass": "holds", "fail": "is exceeded", "inconclusive": "is undecided"}[budget.verdict]
    note = f" ({budget.note})" if budget.note else ""
    where = place_name(budget.format, budget.device)
    return f"{where}: budget {budget.metric} {budget.limit} {verb}: {value}{interval}{note}"


def _control_sentence(control: Control) -> str:
    where = f"{control.format}: " if control.format else ""
    interval = "" if control.low is None or control.high is None else f" [{control.low:.3f}, {control.high:.3f}]"
    value = "" if control.value is None else f", {control.value:.3f}{interval}"
    chance = "" if control.p_value is None else f", p = {control.p_value:.2g}"
    return f"{where}{control.name}: {control.statement}{value}{chance}"


def _controls_hold(controls: Sequence[Control]) -> tuple[str, ...]:
    """Return a sentence for the kinds of controls that hold everywhere, and one for those that were not run."""
    kinds: dict[str, set[str]] = {}
    for control in controls:
        kinds.setdefault(control.name.partition(":")[0], set()).add(control.status)
    held = [kind for kind, statuses in kinds.items() if statuses == {"holds"}]
    missing = [kind for kind, statuses in kinds.items() if "not run" in statuses]
    groups = [("controls that hold", held), ("controls that were not run", missing)]
    return tuple(f"{title}: {', '.join(names)}" for title, names in groups if names)


def _judge_one(
    metric: str,
    budget: BudgetSpec,
    deployment: _Deployment,
    baseline: _Deployment | None,
    rows: Sequence[LeakageRow],
    scores: _Scores,
) -> Budget:
    if budget.max is not None or baseline is None:
        limit, limit_text = float(budget.max or 0), f"<= {budget.max:g}"
        value, low, high, note = _figure(metric, budget, deployment, rows)
    else:
        limit, limit_text = float(budget.max_increase or 0), f"<= {budget.against} + {budget.max_increase:g}"
        value, low, high, note = _increase(metric, budget, (deployment, baseline), scores)
    if low is None or high is None:
        verdict = "inconclusive"
    elif high <= limit:
        verdict = "pass"
    else:
        verdict = "fail" if low > limit else "inconclusive"
    return Budget.model_validate(
        {
            "metric": metric,
            "level": budget.level,
            "limit": limit_text,
            "format": deployment.format,
            "device": deployment.device,
            "attack": f"{budget.attack}/{budget.variant}",
            "subset": budget.subset,
            "verdict": verdict,
            "value": value,
            "low": low,
            "high": high,
            "note": note,
        }
    )


def _with_variant(
    budget: BudgetSpec, deployment: _Deployment, baseline: _Deployment | None, rows: Sequence[LeakageRow]
) -> BudgetSpec:
    """Return the budget with its variant set; by default the first headline variant that ran on all that is judged."""
    if budget.variant is not None:
        return budget
    judged = {deployment} | ({baseline} if baseline else set())
    attack_rows = [row for row in rows if row.attack == budget.attack]
    headlines = find_attack(budget.attack).spec.headlines
    for variant in headlines:
        if judged <= {
            _Deployment(row.format, row.device)
            for row in attack_rows
            if (row.variant, row.metric) == (variant, "auc") and row.value is not None
        }:
            return budget.model_copy(update={"variant": variant})
    # No variant ran everywhere: take the first that was tried, since its row gives the reason.
    tried = {row.variant for row in attack_rows}
    return budget.model_copy(update={"variant": next((v for v in headlines if v in tried), headlines[0])})


_Figure = tuple[float | None, float | None, float | None, str | None]


def _figure(metric: str, budget: BudgetSpec, deployment: _Deployment, rows: Sequence[LeakageRow]) -> _Figure:
    rows = [row for row in rows if row.device == deployment.device]
    wanted = (deployment.format, budget.attack, budget.variant, budget.subset, metric)
    # The first shadow match is the one that the audit reports; later ones are ablations.
    for row in rows:
        if (row.format, row.attack, row.variant, row.subset, row.metric) == wanted:
            return row.value, row.low, row.high, row.note
    for row in rows:
        # Where an attack could not be run, or a subset lacks members, its only row is for AUC and gives the reason.
        null = row.metric == "auc" and row.value is None and row.subset in (budget.subset, "all")
        if null and (row.format, row.attack, row.variant) == wanted[:3]:
            return None, None, None, row.note
    raise BudgetError(
        f"budgets.{metric}: {place_name(*deployment)} has no figure for {budget.attack}/{budget.variant} on "
        f"'{budget.subset}'; subsets: {', '.join(sorted({r.subset for r in rows}))}"
    )


def _increase(metric: str, budget: BudgetSpec, pair: tuple[_Deployment, _Deployment], scores: _Scores) -> _Figure:
    key = f"{budget.attack}/{budget.variant}"
    judged, baseline = (scores(*deployment) for deployment in pair)
    deployment = pair[0]
    if key not in judged.scores or key not in baseline.scores:
        return None, None, None, f"{key} could not be run; its row in the report gives the reason"
    if metric == "auc":
        change = auc_difference(judged.scores[key], baseline.scores[key], judged.members, groups=judged.groups)
    else:
        fpr = float(re.sub(r"^tpr@fpr=", "", metric))
        parts = (deployment.format, str(budget.against), metric, *_stream_parts(deployment))
        rng = stream(0, "paired bootstrap", *parts)
        change = tpr_difference(
            judged.scores[key], baseline.scores[key], judged.members, fpr, rng, groups=judged.groups
        )
    return change.value, change.low, change.high, change.note
