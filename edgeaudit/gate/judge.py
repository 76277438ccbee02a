"""The gate: budgets -> verdict -> exit code. Judged on intervals, never on point estimates alone."""

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
"""Metrics a budget can limit; `max-increase` needs one with a paired test: auc or tpr@fpr."""

SUBSETS = ("all", "abnormal:fraction", "abnormal:alpha-beta", "abnormal:hardness")
"""Records a budget can be judged on: those for which every measurement has figures."""


class _Place(NamedTuple):
    format: str
    device: str


@dataclass(frozen=True)
class FormatScores:
    """Scores of one format's attacks on the audited records: `attack/variant` -> float64 [records]; members: bool."""

    scores: Mapping[str, npt.NDArray[np.float64]]
    members: npt.NDArray[np.bool_]


_Scores = Callable[[str, str], FormatScores]


def _elsewhere(place: _Place) -> tuple[str, ...]:
    """The device's name, where it is another than this machine, for random numbers of its own."""
    return () if place.device == LOCAL else (place.device,)


def require_budgets_exist(spec: AuditSpec) -> None:
    """Raise `BudgetError` for a budget that names a metric, format, attack or subset the audit does not have."""
    formats = [use.id for use in spec.formats]
    for metric, budget in _each(spec):
        where = f"budgets.{metric}"
        if metric not in METRICS:
            raise BudgetError(
                f"{where}: not a metric that a budget can limit.{did_you_mean(metric, METRICS)} "
                f"It is one of: {', '.join(METRICS)}"
            )
        for name in (*(budget.formats or ()), *((budget.against,) if budget.against else ())):
            if name not in formats:
                raise BudgetError(
                    f"{where}: the format '{name}' is not in this audit.{did_you_mean(name, formats)} "
                    f"It has: {', '.join(formats)}"
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
            raise BudgetError(f"{where}: it applies to no format ({unshipped} ship nowhere; name one in 'formats')")


def _require_judgeable(where: str, metric: str, budget: BudgetSpec) -> None:
    if budget.subset not in SUBSETS:
        raise BudgetError(
            f"{where}: '{budget.subset}' is no subset of the records.{did_you_mean(budget.subset, SUBSETS)} "
            f"It is one of: {', '.join(SUBSETS)}"
        )
    if budget.max_increase is not None and metric not in METRICS[:3]:
        raise BudgetError(f"{where}: max-increase needs a paired test, which there is for: {', '.join(METRICS[:3])}")
    if budget.max_increase is not None and budget.subset != "all":
        raise BudgetError(f"{where}: max-increase is judged on all records; leave 'subset' out")


def _each(spec: AuditSpec) -> Iterator[tuple[str, BudgetSpec]]:
    for metric, budgets in spec.budgets.items():
        for budget in budgets:
            yield metric, budget


def _limited(budget: BudgetSpec, formats: Sequence[str]) -> list[str]:
    """The formats that a budget limits: those it names, else every format that ships."""
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
    """Judge every budget on every device and the controls, and give the audit's outcome.

    scores: (format id, device) -> its stored scores; asked only for `max-increase`.
    The order of severity: a failed format (2), a failed control (3), a budget exceeded (1), a budget that the records
    cannot decide (3), and only then 0. `warn` budgets are reported and do not change the exit code.
    """
    places = [_Place(f.id, f.device) for f in formats]
    failed = {_Place(f.id, f.device) for f in formats if f.status == "failed"}
    budgets = [
        _judge_one(metric, _with_variant(budget, place, against, rows), place, against, rows, scores)
        for metric, budget in _each(spec)
        for format_id in _limited(budget, list(dict.fromkeys(f.id for f in formats)))
        for place in places
        if place.format == format_id
        if place not in failed and (against := _against(budget, place, places)) not in failed
    ]
    invalid = tuple(f"control failed: {_control_says(c)}" for c in controls if c.status == "failed")
    errors = [b for b in budgets if b.level == "error"]
    exceeded = [_says(b) for b in errors if b.verdict == "fail"]
    open_ones = [_says(b) for b in errors if b.verdict == "inconclusive"]
    warnings = tuple(f"warning: {_says(b)}" for b in budgets if b.level == "warn" and b.verdict != "pass")
    kept = tuple(budgets)
    if failed:
        reasons = tuple(f"{place_name(f.id, f.device)} failed: {f.error}" for f in formats if f.status == "failed")
        return Verdict(outcome="error", exit_code=2, reasons=(*reasons, *invalid, *exceeded, *warnings), budgets=kept)
    if invalid:
        return Verdict(outcome="invalid", exit_code=3, reasons=(*invalid, *warnings), budgets=kept)
    if exceeded:
        return Verdict(outcome="budget exceeded", exit_code=1, reasons=(*exceeded, *open_ones, *warnings), budgets=kept)
    if open_ones:
        return Verdict(outcome="inconclusive", exit_code=3, reasons=(*open_ones, *warnings), budgets=kept)
    control = _controls_hold(controls)
    if not budgets:
        said = ("no budget was set, so nothing says whether a format may ship", *control)
        return Verdict(outcome="not judged", exit_code=0, reasons=said, budgets=())
    held = (
        f"{len(errors)} budget check{'s hold' if len(errors) > 1 else ' holds'}"
        if errors
        else "budgets that only warn were set"
    )
    return Verdict(outcome="within budget", exit_code=0, reasons=(held, *control, *warnings), budgets=kept)


def _against(budget: BudgetSpec, place: _Place, places: Sequence[_Place]) -> _Place | None:
    """What a `max-increase` is measured from: that format on the same device, or else on the first that it has."""
    if budget.against is None:
        return None
    known = [other for other in places if other.format == budget.against]
    return next((other for other in known if other.device == place.device), known[0] if known else None)


def _says(budget: Budget) -> str:
    interval = "" if budget.low is None or budget.high is None else f" [{budget.low:.3f}, {budget.high:.3f}]"
    value = "not resolvable" if budget.value is None else f"{budget.value:.3f}"
    verb = {"pass": "holds", "fail": "is exceeded", "inconclusive": "is undecided"}[budget.verdict]
    note = f" ({budget.note})" if budget.note else ""
    place = place_name(budget.format, budget.device)
    return f"{place}: budget {budget.metric} {budget.limit} {verb}: {value}{interval}{note}"


def _control_says(control: Control) -> str:
    where = f"{control.format}: " if control.format else ""
    interval = "" if control.low is None or control.high is None else f" [{control.low:.3f}, {control.high:.3f}]"
    value = "" if control.value is None else f", {control.value:.3f}{interval}"
    chance = "" if control.p_value is None else f", p = {control.p_value:.2g}"
    return f"{where}{control.name}: {control.statement}{value}{chance}"


def _controls_hold(controls: Sequence[Control]) -> tuple[str, ...]:
    """Where none failed: the kinds that hold throughout, and those that were not run."""
    kinds: dict[str, set[str]] = {}
    for control in controls:
        kinds.setdefault(control.name.partition(":")[0], set()).add(control.status)
    held = [kind for kind, found in kinds.items() if found == {"holds"}]
    missing = [kind for kind, found in kinds.items() if "not run" in found]
    said = [("controls that hold", held), ("controls that were not run", missing)]
    return tuple(f"{what}: {', '.join(names)}" for what, names in said if names)


def _judge_one(
    metric: str,
    budget: BudgetSpec,
    place: _Place,
    against: _Place | None,
    rows: Sequence[LeakageRow],
    scores: _Scores,
) -> Budget:
    if budget.max is not None or against is None:
        limit, shown = float(budget.max or 0), f"<= {budget.max:g}"
        value, low, high, note = _figure(metric, budget, place, rows)
    else:
        limit, shown = float(budget.max_increase or 0), f"<= {budget.against} + {budget.max_increase:g}"
        value, low, high, note = _increase(metric, budget, (place, against), scores)
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
            "limit": shown,
            "format": place.format,
            "device": place.device,
            "attack": f"{budget.attack}/{budget.variant}",
            "subset": budget.subset,
            "verdict": verdict,
            "value": value,
            "low": low,
            "high": high,
            "note": note,
        }
    )


def _with_variant(budget: BudgetSpec, place: _Place, against: _Place | None, rows: Sequence[LeakageRow]) -> BudgetSpec:
    """The budget with a variant: its own, or the first headline variant that could be run where it is judged."""
    if budget.variant is not None:
        return budget
    about = {place} | ({against} if against else set())
    own = [row for row in rows if row.attack == budget.attack]
    headlines = find_attack(budget.attack).spec.headlines
    for variant in headlines:
        if about <= {
            _Place(row.format, row.device)
            for row in own
            if (row.variant, row.metric) == (variant, "auc") and row.value is not None
        }:
            return budget.model_copy(update={"variant": variant})
    # None could be run everywhere: the first that was tried has a row that says why.
    tried = {row.variant for row in own}
    return budget.model_copy(update={"variant": next((v for v in headlines if v in tried), headlines[0])})


_Figure = tuple[float | None, float | None, float | None, str | None]


def _figure(metric: str, budget: BudgetSpec, place: _Place, rows: Sequence[LeakageRow]) -> _Figure:
    rows = [row for row in rows if row.device == place.device]
    wanted = (place.format, budget.attack, budget.variant, budget.subset, metric)
    # The first shadow match is the audit's own; later ones are ablations.
    for row in rows:
        if (row.format, row.attack, row.variant, row.subset, row.metric) == wanted:
            return row.value, row.low, row.high, row.note
    for row in rows:
        # Where an attack could not be run, or a subset lacks members, its AUC row is the only one and says why.
        null = row.metric == "auc" and row.value is None and row.subset in (budget.subset, "all")
        if null and (row.format, row.attack, row.variant) == wanted[:3]:
            return None, None, None, row.note
    raise BudgetError(
        f"budgets.{metric}: {place_name(*place)} has no figure for {budget.attack}/{budget.variant} on "
        f"'{budget.subset}'; subsets: {', '.join(sorted({r.subset for r in rows}))}"
    )


def _increase(metric: str, budget: BudgetSpec, pair: tuple[_Place, _Place], scores: _Scores) -> _Figure:
    key = f"{budget.attack}/{budget.variant}"
    here, against = (scores(*place) for place in pair)
    place = pair[0]
    if key not in here.scores or key not in against.scores:
        return None, None, None, f"{key} could not be run; its row in the report says why"
    if metric == "auc":
        change = auc_difference(here.scores[key], against.scores[key], here.members)
    else:
        fpr = float(re.sub(r"^tpr@fpr=", "", metric))
        rng = stream(0, "paired bootstrap", place.format, str(budget.against), metric, *_elsewhere(place))
        change = tpr_difference(here.scores[key], against.scores[key], here.members, fpr, rng)
    return change.value, change.low, change.high, change.note
