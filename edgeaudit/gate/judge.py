"""The gate: budgets -> verdict -> exit code. It compares intervals with limits, never point estimates alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from functools import cache

from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.budgets import CLASSES, EVERY_CLASS, BudgetSpec
from edgeaudit.config.policy import ReadPolicy
from edgeaudit.gate.attack_set import Mode, attacks_of, set_of, standing_for
from edgeaudit.gate.bounds import Deployment, Evidence, FormatScores, Judged, Scores, bounds_of, level_of
from edgeaudit.gate.needed import factor_that_decides, rounded_up, side_names
from edgeaudit.gate.policy import applicable
from edgeaudit.gate.requirements import budgets_of, limited_formats
from edgeaudit.gate.waivers import Waived, waive
from edgeaudit.leakage.decision import Bounds, corrected_level, decide
from edgeaudit.leakage.series_names import TAUGHT, at_common_floor, is_judged_beside
from edgeaudit.report.model import (
    AcrossTargets,
    Budget,
    Control,
    FormatResult,
    JudgedAttack,
    LeakageRow,
    Needs,
    Verdict,
)
from edgeaudit.report.summary import same_budgets, waived_by, waiver_line
from edgeaudit.report.words import attack_figure, judged_figure, listed, place_name

__all__ = ["FormatScores", "judge"]

_TOO_FAR = 1e4
_TAUGHT_ALONE = (
    "the target's answers tell members apart better than attacks that learn from its shadows can: no number of records "
    "decides; train the shadows as the target was trained (recipe, loss, epochs, augmentation)"
)


def judge(  # noqa: PLR0913  what was measured, and by whose limits and day it is judged
    spec: AuditSpec,
    formats: Sequence[FormatResult],
    rows: Sequence[LeakageRow],
    controls: Sequence[Control],
    scores: Scores,
    across: Sequence[AcrossTargets] = (),
    classes: int = 0,
    *,
    policy: ReadPolicy | None = None,
    today: dt.date | None = None,
) -> Verdict:
    """Judge the controls and every budget on every device, and return the audit's verdict.

    The exit code is that of the first that applies: a failed format (2), a failed control (3), an exceeded budget (1),
    an undecided control or budget (3), else 0. `warn` budgets are reported and do not change the exit code, nor do
    those that a waiver of the policy waives. A policy that judged nothing lets nothing pass.

    scores: called for `max-increase`, and where a lower end is beyond a limit that several attacks share. across: means
    over all targets, for budgets on the pipeline. classes: how many the records have, for budgets on each. policy:
    whose budgets are judged beside the audit's own. today: the day by which its waivers expire; by default this one, in
    UTC.
    """
    today = today or dt.datetime.now(dt.UTC).date()
    deployments = [Deployment(f.id, f.device) for f in formats]
    failed = {Deployment(f.id, f.device) for f in formats if f.status == "failed"}
    evidence = Evidence(rows, across, cache(scores), classes)
    applying = None if policy is None else applicable(policy.spec, spec)
    title = None if policy is None else policy.title
    limits: list[tuple[str | None, str, BudgetSpec]] = [(None, *one) for one in budgets_of(spec)]
    limits += [] if applying is None else [(title, *one) for one in applying.budgets]
    judged = [
        _judge_one(spec, metric, budget, deployment, baseline, evidence).model_copy(update={"policy": set_by})
        for set_by, metric, budget in limits
        for format_id in limited_formats(budget, list(dict.fromkeys(f.id for f in formats)))
        for deployment in deployments
        if deployment.format == format_id
        if deployment not in failed and (baseline := _baseline(budget, deployment, deployments)) not in failed
    ]
    waived = waive(judged, () if policy is None else policy.spec.waivers, today)
    unjudged = policy is not None and not any(b.policy is not None for b in judged)
    said = [] if applying is None else [f"warning: policy {title}: {note}" for note in applying.notes]
    said += [f"warning: {waiver_line(one)}" for one in waived.surplus]
    outcome, code, reasons = _outcome(formats, controls, waived, said, f"policy {title}" if unjudged else None)
    about = {
        "budgets": waived.budgets,
        "waivers": waived.waivers,
        "judged_on": None if policy is None else today.isoformat(),
        "policy_notes": said,
    }
    return Verdict.model_validate({"outcome": outcome, "exit_code": code, "reasons": reasons, **about})


def _outcome(
    formats: Sequence[FormatResult],
    controls: Sequence[Control],
    waived: Waived,
    said: Sequence[str],
    unjudged: str | None,
) -> tuple[str, int, tuple[str, ...]]:
    """Return outcome, exit code and reasons.

    said: warnings about the policy and its waivers. unjudged: the policy, if it judged nothing.
    """
    budgets = waived.budgets
    because = {id(b): why for b, why in zip(budgets, waived.because, strict=True) if why is not None}
    invalid = tuple(f"control failed: {_control_sentence(c)}" for c in controls if c.status == "failed")
    unknown = tuple(f"control undecided: {_control_sentence(c)}" for c in controls if c.status == "undecided")
    errors = _worst_first([b for b in budgets if b.level == "error" and not b.waived_by])
    accepted = tuple(
        f"waived {waived_by(b)}: {_sentence(b)}" for b in _worst_first([b for b in budgets if b.waived_by])
    )

    def sentence(budget: Budget) -> str:
        why = because.get(id(budget))
        return _sentence(budget) if why is None else f"{_sentence(budget)}; {why}"

    exceeded = [sentence(b) for b in errors if b.verdict == "fail"]
    undecided = [sentence(b) for b in errors if b.verdict == "inconclusive"]
    warnings = (
        *accepted,
        *(f"warning: {sentence(b)}" for b in budgets if b.level == "warn" and b.counted in ("fail", "inconclusive")),
        *said,
    )
    failed = [f"{place_name(f.id, f.device)} failed: {f.error}" for f in formats if f.status == "failed"]
    if failed:
        return "error", 2, (*failed, *invalid, *exceeded, *unknown, *warnings)
    if invalid:
        return "invalid", 3, (*invalid, *unknown, *warnings)
    unseen = () if unjudged is None else (f"{unjudged} judged nothing in this audit, so nothing passes",)
    undecided = [*unseen, *unknown, *undecided]
    if exceeded:
        return "budget exceeded", 1, (*exceeded, *undecided, *warnings)
    count = sum(b.level == "error" and bool(b.waived_by) for b in budgets)
    if unseen or (undecided and (errors or count)):
        return "inconclusive", 3, (*undecided, *warnings)
    control = _controls_hold(controls)
    if not errors and not count:
        why = "only budgets with level 'warn' were set" if budgets else "no budget was set"
        return "not judged", 0, (f"{why}, so no format was judged", *unknown, *control, *warnings)
    outside = dict.fromkeys(
        f"beyond the limit outside the attack set: {b.exceeded_outside}" for b in errors if b.exceeded_outside
    )
    return "within budget", 0, (_summary(errors, count), *outside, *control, *warnings)


def _summary(held: Sequence[Budget], waived: int) -> str:
    """Say how many budget checks hold, and how many do not and are waived."""
    also = f"{waived} {'is' if waived == 1 else 'are'} waived"
    if not held:
        return f"no budget check counts: {also}"
    scopes = listed([f"this {scope}" for scope in dict.fromkeys(b.scope for b in held)])
    summary = f"{len(held)} budget check{'s hold' if len(held) > 1 else ' holds'} for {scopes}"
    return f"{summary}, {also}" if waived else summary


def _worst_first(budgets: Sequence[Budget]) -> list[Budget]:
    """Budgets in the order of the file, and each in the order of its formats' figures, the largest upper end first.

    The last line of the terminal has the first sentence alone.
    """
    return [
        b
        for same in same_budgets(budgets)
        for b in sorted(same, key=lambda b: -1.0 if b.high is None else b.high, reverse=True)
    ]


def _baseline(budget: BudgetSpec, deployment: Deployment, deployments: Sequence[Deployment]) -> Deployment | None:
    """Return what a `max-increase` is measured from: `against` on the same device, else on the first that has it."""
    if budget.against is None:
        return None
    candidates = [other for other in deployments if other.format == budget.against]
    same_device = (other for other in candidates if other.device == deployment.device)
    return next(same_device, candidates[0] if candidates else None)


def _sentence(budget: Budget) -> str:
    verb = {"pass": "holds for", "fail": "is exceeded by", "inconclusive": "is undecided for"}[budget.verdict]
    needed = budget.needed or ""
    more = ["" if budget.note is None or budget.note in needed else budget.note, needed]
    if budget.worst_outside is not None:
        more.append(f"outside the attack set: {_outside(budget.worst_outside, budget)}")
    note = "; ".join(part for part in more if part)
    where = place_name(budget.format, budget.device)
    deciding = next((one for one in budget.attacks if one.name == budget.decided_by), None)
    figure = f": {deciding.name} {attack_figure(deciding, budget)}" if deciding else ""
    noted = f" ({note})" if note else ""
    owner = f" of policy {budget.policy}" if budget.policy else ""
    return f"{where}: budget {budget.metric} {budget.limit}{owner} {verb} this {budget.scope}{figure}{noted}"


def _outside(one: JudgedAttack, budget: Budget) -> str:
    return f"{one.name} {judged_figure(one.value, one.low, one.high, budget.bound)}"


def _control_sentence(control: Control) -> str:
    where = f"{control.format}: " if control.format else ""
    value = "" if control.value is None else f" (value {control.value:.3f})"
    if control.value is not None and control.low is not None and control.high is not None:
        value = f", {control.value:.3f} [{control.low:.3f}, {control.high:.3f}]"
    chance = "" if control.p_value is None else f", p = {control.p_value:.2g}"
    return f"{where}{control.name}: {control.statement}{value}{chance}"


def _controls_hold(controls: Sequence[Control]) -> tuple[str, ...]:
    """Return a sentence for the kinds of controls that hold everywhere, and for those that warn or were not run."""
    kinds: dict[str, set[str]] = {}
    for control in controls:
        kinds.setdefault(control.name.partition(":")[0], set()).add(control.status)
    held = [kind for kind, statuses in kinds.items() if statuses == {"holds"}]
    warned, missing = ([kind for kind, found in kinds.items() if word in found] for word in ("warning", "not run"))
    groups = [("controls that warn", warned), ("controls that hold", held), ("controls that were not run", missing)]
    return tuple(f"{title}: {', '.join(names)}" for title, names in groups if names)


def _judge_one(
    spec: AuditSpec,
    metric: str,
    budget: BudgetSpec,
    deployment: Deployment,
    baseline: Deployment | None,
    evidence: Evidence,
) -> Budget:
    places = {deployment} | ({baseline} if baseline else set())
    ran = _Ran(places, evidence.rows, spec.threat.mode)
    names = list(dict.fromkeys(ran.standing_for(name) for name in set_of(spec, budget)))
    subsets = _subsets(budget.subset, deployment, evidence)
    beside = _Beside(metric, budget, deployment, evidence.rows)
    floors = [at_common_floor(name) for name in names if beside.has(at_common_floor(name))]
    tests = len(names) + len(floors)
    tests *= max(len(subsets), evidence.classes) if budget.subset == EVERY_CLASS else 1
    series = [(name, subset) for name in names for subset in subsets]
    series += [(name, subset) for name in floors for subset in subsets if beside.has(name, subset)]
    family = [Judged(metric, budget, deployment, baseline, name, subset, tests) for name, subset in series]
    # What is taught memberships keeps a budget from a pass, and makes none fail: it is no attack of an attacker's.
    taught = [subset for subset in subsets if _is_whole(spec, budget) and beside.has(TAUGHT, subset)]
    series += [(TAUGHT, subset) for subset in taught]
    family += [Judged(metric, budget, deployment, baseline, TAUGHT, subset, 1) for subset in taught]
    judged = dict(zip(series, family, strict=True))
    level = cache(lambda: level_of([one for one in family if one.series != TAUGHT], evidence))
    bounds = {key: bounds_of(one, evidence, level) for key, one in judged.items()}
    attacks = {key: _attack(key, bounds[key]) for key in series}
    decision = decide(judged[series[0]].limit, {attacks[key].name: bounds[key] for key in series})
    open_ = decision.outcome == "inconclusive"
    deciding = next(one for one in attacks.values() if one.name == decision.attack)
    needed, needs = _needed(attacks, bounds, judged[series[0]], evidence) if open_ else (None, None)
    return Budget(
        metric=metric,
        level=budget.level,
        limit=f"<= {budget.max:g}" if budget.max is not None else f"<= {budget.against} + {budget.max_increase:g}",
        format=deployment.format,
        device=deployment.device,
        attack=deciding.attack,
        subset=budget.subset,
        verdict=decision.outcome,
        value=deciding.value,
        low=deciding.low,
        high=deciding.high,
        note=deciding.note,
        scope=budget.scope,
        decided_by=deciding.name,
        attacks=tuple(attacks.values()),
        worst_outside=_worst_outside(spec, metric, budget, deployment, baseline, evidence, ran),
        needed=needed,
        needs=needs,
        reason=budget.reason,
    )


def _is_whole(spec: AuditSpec, budget: BudgetSpec) -> bool:
    """Return whether a budget is over all attacks of the audit, by default or since it names every one."""
    named = budget.named_attacks
    return named is None or set(attacks_of(spec)) <= {name.partition("/")[0] for name in named}


class _Beside:
    """Which figures of a deployment are judged beside those of a budget's attacks.

    None where an increase is judged: both files answer what one model learned, and each would be taught anew.
    """

    def __init__(self, metric: str, budget: BudgetSpec, deployment: Deployment, rows: Sequence[LeakageRow]) -> None:
        self._found = {
            (f"{row.attack}/{row.variant}", row.subset)
            for row in rows
            if (row.format, row.device) == deployment and row.metric == metric and row.high is not None
            if budget.against is None and is_judged_beside(f"{row.attack}/{row.variant}")
        }

    def has(self, series: str, subset: str | None = None) -> bool:
        """Return whether a series has figures; on a subset, or on any."""
        return any(name == series and subset in (None, of) for name, of in self._found)


class _Ran:
    """Whether `attack/variant` has figures in all of these deployments."""

    def __init__(self, places: set[Deployment], rows: Sequence[LeakageRow], mode: Mode) -> None:
        self._places, self._mode = places, mode
        self._found: dict[str, set[Deployment]] = {}
        self._tried = {f"{row.attack}/{row.variant}" for row in rows}
        for row in rows:
            if row.metric == "auc" and row.subset == "all" and (row.value is not None or row.high is not None):
                self._found.setdefault(f"{row.attack}/{row.variant}", set()).add(Deployment(row.format, row.device))

    def __call__(self, series: str) -> bool:
        return self._places <= self._found.get(series, set())

    def standing_for(self, name: str) -> str:
        """Return the `attack/variant` that an entry of an attack set means here."""
        return standing_for(name, self._mode, self, self._tried)


def _subsets(subset: str, deployment: Deployment, evidence: Evidence) -> list[str]:
    """Return the subsets that a budget's subset stands for: one, or every class that has figures.

    Where there are more classes than have figures, `class:*` itself is one of them: it has none, so nothing passes.
    """
    if subset != EVERY_CLASS:
        return [subset]
    found = {
        row.subset
        for rows in (evidence.rows, evidence.across)
        for row in rows
        if (row.format, row.device) == deployment and row.subset.startswith(CLASSES)
    }
    ordered = sorted(found, key=lambda name: (len(name), name))
    return ordered if ordered and len(ordered) >= evidence.classes else [*ordered, subset]


def _attack(key: tuple[str, str], bounds: Bounds) -> JudgedAttack:
    name, subset = key
    return JudgedAttack(
        attack=name,
        subset=subset,
        value=bounds.value,
        low=bounds.low,
        high=bounds.high,
        low_corrected=bounds.low_corrected,
        note=bounds.note,
    )


def _worst_outside(
    spec: AuditSpec,
    metric: str,
    budget: BudgetSpec,
    deployment: Deployment,
    baseline: Deployment | None,
    evidence: Evidence,
    ran: _Ran,
) -> JudgedAttack | None:
    """Return the attack with the largest figure among those of the audit that the budget leaves out."""
    named = budget.named_attacks
    if named is None:
        return None
    inside = {ran.standing_for(name) for name in named}
    outside = [name for one in attacks_of(spec) if (name := ran.standing_for(one)) not in inside]
    subsets, beside = _subsets(budget.subset, deployment, evidence), _Beside(metric, budget, deployment, evidence.rows)
    places = [(name, subset) for name in outside for subset in subsets]
    further = [at_common_floor(name) for name in outside]
    further += [] if _is_whole(spec, budget) else [TAUGHT]
    places += [(name, subset) for name in further for subset in subsets if beside.has(name, subset)]
    found = [
        _attack((name, subset), bounds_of(one, evidence, lambda: corrected_level(1)))
        for name, subset in places
        for one in [Judged(metric, budget, deployment, baseline, name, subset, 1)]
    ]
    known = [one for one in found if one.value is not None]
    return max(known, key=lambda one: one.value or 0.0, default=None)


_Series = tuple[str, str]
"""An attack (`attack/variant`) on a subset."""


def _needed(
    attacks: Mapping[_Series, JudgedAttack], bounds: Mapping[_Series, Bounds], judged: Judged, evidence: Evidence
) -> tuple[str | None, Needs | None]:
    """Return what would decide an undecided budget, in words, and as a number where one would."""
    every = list(attacks.values())
    if any(one.high is None for one in every):
        return _missing(every, judged, evidence), None
    taught = [one for (name, _), one in bounds.items() if name == TAUGHT]
    found = [one for (name, _), one in bounds.items() if name != TAUGHT]
    deciding = factor_that_decides(judged.limit, found, judged.tests, taught)
    if deciding is None:
        return None, None
    if deciding.outcome == "pass" and any(one.value is not None and one.value > judged.limit for one in taught):
        return _TAUGHT_ALONE, None
    if judged.budget.scope == "pipeline":
        count, noun = max((row.targets for row in evidence.across), default=1), "targets"
    else:
        sizes = [
            min(row.n_members, row.n_nonmembers)
            for row in evidence.rows
            if (row.format, row.device) == judged.deployment and row.subset == judged.subset
        ]
        subset = judged.budget.subset
        inside, outside = side_names(subset)
        each = f" of {'each class' if subset == EVERY_CLASS else subset}" if subset.startswith(CLASSES) else ""
        count, noun = min(sizes, default=1), f"{inside}{each}, and as many {outside},"
    # Figures that sit at the limit are not told from it by any number.
    if deciding.factor >= _TOO_FAR:
        return f"the figure sits at the limit: no number of {noun.partition(',')[0]} would decide", None
    needs = Needs(count=rounded_up(deciding.factor * count), of=noun.rstrip(","), outcome=deciding.outcome)
    how = "that it holds"
    if deciding.outcome == "fail":
        how = "that it is exceeded" + (f", corrected for {judged.tests} figures" if judged.tests > 1 else "")
    return f"if the figures stay, about {needs.count:,} {noun} would decide {how}", needs


def _missing(attacks: Sequence[JudgedAttack], judged: Judged, evidence: Evidence) -> str:
    """Return what a budget lacks whose figures have no upper end, without which nothing passes."""
    missing = [one for one in attacks if one.high is None]
    subsets = {one.subset for one in attacks} - {EVERY_CLASS}
    whole = subsets - {one.subset for one in missing}
    if whole and judged.budget.subset == EVERY_CLASS:
        total = max(evidence.classes, len(subsets))
        return (
            f"{total - len(whole)} of {total} classes have no figure, without which nothing passes, mostly for want of "
            "members or nonmembers: audit more records, or name the classes to judge (subset: class:<number>)"
        )
    names = list(dict.fromkeys(one.attack for one in missing))
    reasons = list(dict.fromkeys(one.note for one in missing if one.note))
    why = f" ({'; '.join(reasons)})" if reasons else ""
    of_class = judged.budget.subset.startswith(CLASSES)
    remedy = "audit more records, or name another class" if of_class else "mend that, or name the attack set beforehand"
    return (
        f"{listed(names)} {'has' if len(names) == 1 else 'have'} no upper end, without which nothing passes{why}: "
        f"{remedy}"
    )
