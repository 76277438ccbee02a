"""A summary of an audit in plain sentences, from its figures alone; no sentence claims more than its interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edgeaudit.report.canaries import canary_sentences
from edgeaudit.report.compared import over, significant
from edgeaudit.report.devices import device_sentences
from edgeaudit.report.exposures import gains
from edgeaudit.report.lookup import AUC, TPR, Lookup, Place, series_label
from edgeaudit.report.model import AcrossTargets, Audit, Budget, Comparison, JudgedWaiver, LeakageRow, Verdict
from edgeaudit.report.slices import slice_sentences
from edgeaudit.report.together import together_sentences
from edgeaudit.report.words import (
    about,
    budget_figure,
    counted,
    interval,
    judged_figure,
    listed,
    percent,
    place_name,
    printable,
)

__all__ = [
    "LimitOrigin", "beyond_limit", "budget_lines", "deciding_budget", "limit_origins", "limits_sentence", "own_limits",
    "policy_lines", "same_budgets", "sentences", "verdict_line", "waived_by", "waived_until", "waiver_line",
    "waiver_lines",
]  # fmt: skip


def verdict_line(audit: Audit) -> str:
    """Outcome, what is waived, exit code and the first reason, in one line; of a pass what does not hold, too.

    What `policy_lines` has is not counted among the other reasons: whoever shows this line shows those, too.
    """
    verdict = audit.verdict
    shown = [reason for reason in verdict.reasons if reason not in verdict.policy_notes]
    first, *rest = [printable(reason) for reason in shown] or ["no reason was recorded"]
    more = f" (and {len(rest)} more)" if rest else ""
    waived = waived_until(verdict.budgets)
    line = f"{verdict.outcome.upper()} ({f'{waived}; ' if waived else ''}exit code {verdict.exit_code}): {first}{more}"
    if verdict.exit_code:
        return line
    doubts = {f"controls that {word}": _controls_with(audit, status) for word, status in _DOUBTS}
    warned = (
        f"{b.metric} {b.limit} ({printable(b.decided_by or b.attack)})"
        for b in verdict.budgets
        if (b.level, b.counted) == ("warn", "fail")
    )
    doubts["exceeded, level warn"] = list(dict.fromkeys(warned))
    outside = (printable(b.exceeded_outside) for b in verdict.budgets if b.exceeded_outside is not None)
    doubts["beyond the limit outside the attack set"] = list(dict.fromkeys(outside))
    return "; ".join([line, *(f"{what}: {', '.join(names)}" for what, names in doubts.items() if names)])


def policy_lines(audit: Audit) -> list[str]:
    """Return a line for each warning of what a policy does not judge, and for each waiver that can be removed."""
    return [printable(note) for note in audit.verdict.policy_notes]


def waived_until(budgets: Sequence[Budget]) -> str | None:
    """How many budgets are waived, until when and by whom: 1 waived until 2027-01-31 by A; None where none is."""
    waived = [b for b in budgets if b.waived_by]
    ends = sorted({b.waived_until for b in waived if b.waived_until is not None})
    if not ends:
        return None
    until = f"until {ends[0]}" if len(ends) == 1 else f"the first until {ends[0]}"
    return f"{len(waived)} waived{'' if len(ends) == 1 else ','} {until} by {listed(_owners(waived))}"


def _owners(budgets: Sequence[Budget]) -> list[str]:
    return list(dict.fromkeys(printable(one.owner) for b in budgets for one in b.waived_by))


def waived_by(budget: Budget) -> str:
    """Until when, by whom and why a budget is waived; for one that is."""
    reasons = dict.fromkeys(printable(one.reason) for one in budget.waived_by)
    return f"until {budget.waived_until} by {listed(_owners([budget]))} ({'; '.join(reasons)})"


def waiver_line(waiver: JudgedWaiver) -> str:
    """A waiver and what became of it."""
    up_to = "" if waiver.max is None else f", up to {waiver.max:g}"
    line = f"waiver of {printable(waiver.owner)} for {printable(waiver.about)}{up_to}, until {waiver.expires}"
    return f"{line} ({printable(waiver.reason)}): {waiver.status}" + (
        f", {printable(waiver.note)}" if waiver.note else ""
    )


def waiver_lines(audit: Audit) -> list[str]:
    """Return a line for each waiver of the policy."""
    return [waiver_line(one) for one in audit.verdict.waivers]


_DOUBTS = (("are undecided", "undecided"), ("warn", "warning"))


def _controls_with(audit: Audit, status: str) -> list[str]:
    return list(dict.fromkeys(printable(c.name) for c in audit.controls if c.status == status))


def sentences(audit: Audit) -> tuple[str, ...]:
    """Return sentences on the leakage, the formats in which it is significant, the budgets, and failed formats."""
    lookup = Lookup(audit)
    compared = (*_differences(audit, lookup), *device_sentences(lookup), *together_sentences(audit), *gains(lookup))
    return (
        *_invalid(audit),
        *_leak(lookup),
        *slice_sentences(lookup),
        *canary_sentences(lookup),
        *compared,
        *_budgets(lookup),
        *_failed(lookup),
    )


def _invalid(audit: Audit) -> list[str]:
    if audit.verdict.outcome == "invalid":
        failed = listed(_controls_with(audit, "failed"))
        which = f" ({failed})" if failed else ""
        return [
            f"A control of this audit failed{which}: the figures below are not evidence of leakage or of its absence."
        ]
    undecided = listed(_controls_with(audit, "undecided"))
    if not undecided:
        return []
    return [f"A control of this audit is undecided ({undecided}): low figures below are no evidence that little leaks."]


def _leak(lookup: Lookup) -> list[str]:
    if not lookup.ok():
        return ["No format could be audited, so nothing is known about leakage."]
    ranked = lookup.ranked()
    if not ranked or lookup.headline is None:
        return ["No attack has an AUC on all records, so the formats cannot be ranked."]
    return [_most_and_least(lookup, ranked), _distinguishable(lookup, ranked), *_meaning(lookup, ranked[0][0])]


def _auc(row: LeakageRow | AcrossTargets) -> str:
    return f"AUC {row.value or 0.0:.3f} {interval(AUC, row.low, row.high)}".rstrip()


def _most_and_least(lookup: Lookup, ranked: list[tuple[Place, LeakageRow]]) -> str:
    attack = lookup.headline.label if lookup.headline else ""
    most, least = ranked[0][0], ranked[-1][0]
    means = lookup.mean_aucs([place for place, _ in ranked])
    top, bottom = (means[most], means[least]) if means else (ranked[0][1], ranked[-1][1])
    if means:
        attack += f", mean of {counted(lookup.targets, 'target')}"
    if len(ranked) == 1:
        return f"{lookup.label(most)} is the one format audited: {_auc(top)} under {attack}, where 0.5 is no leak."
    if top.value == bottom.value:
        return f"All {counted(len(ranked), 'format')} leak alike under {attack}: {_auc(top)}, where 0.5 is no leak."
    sentence = (
        f"Of {counted(len(ranked), 'format')}, {lookup.label(most)} leaks most and {lookup.label(least)} least under "
        f"{attack}: {_auc(top)} against {_auc(bottom)}, where 0.5 is no leak."
    )
    return f"{sentence} {_overlap(top, bottom)}".rstrip()


def _overlap(top: LeakageRow | AcrossTargets, bottom: LeakageRow | AcrossTargets) -> str:
    if top.low is None or bottom.high is None:
        return ""
    if top.low <= bottom.high:
        return "Their intervals overlap, so this alone does not show which of the two leaks more."
    return "Their intervals do not overlap."


def _distinguishable(lookup: Lookup, ranked: list[tuple[Place, LeakageRow]]) -> str:
    sentence = _significance(lookup, ranked)
    return f"On the first target: {sentence[:1].lower()}{sentence[1:]}" if lookup.targets > 1 else sentence


def _significance(lookup: Lookup, ranked: list[tuple[Place, LeakageRow]]) -> str:
    judged = [(lookup.label(p), r.low, r.high) for p, r in ranked if r.low is not None and r.high is not None]
    quiet = [name for name, low, high in judged if low <= 0.5 <= high]
    below = [name for name, _, high in judged if high < 0.5]
    if not judged:
        return "The AUCs have no intervals, so no leakage is significant."
    if below:
        return (
            f"The whole AUC interval of {listed(below)} lies below 0.5: the attack mistakes members for nonmembers, "
            "which indicates a fault in the data or the attack and not a safe format."
        )
    if not quiet:
        return _all_leak(len(judged))
    found = _found_by_another(lookup, [place for place, _ in ranked if lookup.label(place) in quiet])
    if len(quiet) == len(judged):
        attack = lookup.headline.label if lookup.headline else "this attack"
        return f"Leakage under {attack} is significant in no format: every AUC interval contains 0.5.{found}"
    verb = "its AUC interval contains" if len(quiet) == 1 else "their AUC intervals contain"
    return f"Leakage is not significant in {listed(quiet)}: {verb} 0.5. It is significant in all others.{found}"


def _found_by_another(lookup: Lookup, quiet: list[Place]) -> str:
    """Return a sentence on the attack that finds most where the headline finds nothing; "" where none does."""
    rows = [
        (row, series, place)
        for place in quiet
        for series in lookup.series_with(AUC)
        if series.is_main and series.subset == "all"
        if (row := lookup.row(place, series, AUC)) is not None and row.low is not None and row.low > 0.5
    ]
    if not rows:
        return ""
    row, series, place = max(rows, key=lambda found: found[0].low or 0.0)
    return f" But {series.label} has an {_auc(row)} on {lookup.label(place)}, above 0.5."


def _all_leak(count: int) -> str:
    if count == 1:
        return "The leakage is significant: the AUC interval lies above 0.5."
    return f"Leakage is significant in all {counted(count, 'format')}: every AUC interval lies above 0.5."


def _meaning(lookup: Lookup, most: Place) -> list[str]:
    row = lookup.row(most, lookup.headline, TPR)
    if row is None:
        return []
    name = lookup.label(most)
    if row.value is None:
        why = f" ({printable(row.note)})" if row.note else ""
        return [f"The leakage of {name} at a false positive rate of 1% is not resolvable here{why}."]
    range_ = "" if row.low is None or row.high is None else f" (95% interval {about(row.low)} to {about(row.high)})"
    where = " on the first target" if lookup.targets > 1 else ""
    sentence = (
        f"An attacker who queries {name}{where} and accepts a false positive rate of 1% identifies {about(row.value)} "
        f"of the training records{range_}; guessing identifies 1%."
    )
    return [sentence]


def _differences(audit: Audit, lookup: Lookup) -> list[str]:
    """Name the formats whose AUC differs from the reference's after Holm's adjustment, by the paired test."""
    rows = [row for row in audit.comparisons if row.kind == "format" and row.metric == AUC]
    tested = [row for row in rows if row.adjusted_p is not None]
    if not tested:
        return []
    name = series_label(tested[0].series)
    how = f"(AUC of {name}, paired {over(tested)}, Holm-adjusted p at most 0.05)"
    more = [_compared(lookup, row) for row in tested if significant(row) and (row.value or 0.0) > 0]
    less = [_compared(lookup, row) for row in tested if significant(row) and (row.value or 0.0) < 0]
    if not more and not less:
        return [f"No difference from {tested[0].second} was found in any other format {how}."]
    parts = [f"{listed(names)} {_leaks(names)} {word}" for names, word in ((more, "more"), (less, "less")) if names]
    rest = len(tested) - len(more) - len(less)
    undecided = f"; in the other {rest} no difference was found" if rest else ""
    sentence = f"Compared with {tested[0].second}, {' and '.join(parts)} {how}{undecided}."
    return [f"{sentence} {_price(lookup, tested[0].second, less)}".rstrip()]


def _price(lookup: Lookup, reference: str, less: list[str]) -> str:
    """Give the test accuracy of formats that leak less, since lower leakage may come at the cost of accuracy."""
    accuracy = {
        lookup.label(place): result.accuracy.test
        for place, result in lookup.formats.items()
        if result.accuracy is not None
    }
    costs = [f"{percent(accuracy[name])} with {name}" for name in less if name in accuracy]
    if not costs or reference not in accuracy:
        return ""
    return f"Test accuracy is {listed(costs)}, against {percent(accuracy[reference])} with {reference}."


def _leaks(names: list[str]) -> str:
    return "leaks" if len(names) == 1 else "leak"


def _compared(lookup: Lookup, row: Comparison) -> str:
    return lookup.label(Place(row.format, row.device))


def limits_sentence(verdict: Verdict) -> str | None:
    """Return who set the limits and when; None without budgets."""
    limits, policy = verdict.limits, _policy_sentence(verdict)
    if limits is None:
        return policy
    file = printable(limits.file) if limits.file else "the Python interface"
    file += ", changed on the command line" if limits.changed else ""
    said = f"{file}{_why(verdict, None)}, SHA-256 {limits.sha256[:12]}, read {limits.read} {_when(limits.measured)}"
    return f"Limits are those of {said}.{f' {policy}' if policy else ''}"


class LimitOrigin(NamedTuple):
    """Who set limits. policy: its title; None: the audit itself. text: a phrase."""

    policy: str | None
    text: str


def limit_origins(verdict: Verdict) -> list[LimitOrigin]:
    """Return who set the limits of a verdict, and whether any figure was known then: of the audit, of a policy."""
    found = []
    own = verdict.limits
    if own is not None:
        file = printable(own.file) if own.file else "the Python interface"
        changed = ", changed on the command line" if own.changed else ""
        found.append(LimitOrigin(None, f"{file}{changed}{_why(verdict, None)}, read {_when(own.measured)}"))
    elif any(b.policy is None for b in verdict.budgets):
        found.append(LimitOrigin(None, "the audit, which does not record when"))
    policy = verdict.policy
    if policy is not None:
        by = f" of {printable(policy.owner)}" if policy.owner else ""
        why = _why(verdict, policy.name)
        found.append(
            LimitOrigin(policy.name, f"policy {printable(policy.name)}{by}{why}, read {_when(policy.measured)}")
        )
    return found


def deciding_budget(budgets: Sequence[Budget]) -> Budget:
    """Return the one that weighs most: of the worst verdict the one furthest beyond, or nearest to, its limit.

    Those of level warn only count where all are.
    """
    order = ("fail", "inconclusive", "waived", "pass")
    judged = [b for b in budgets if b.level == "error"] or list(budgets)
    return min(judged, key=lambda b: (order.index(b.counted), -beyond_limit(b)))


def beyond_limit(budget: Budget) -> float:
    """Return how far the figure reaches above the limit; below zero where it does not, 0 where it is not known."""
    end = budget.high if budget.high is not None else budget.value
    return 0.0 if end is None or budget.bound is None else end - budget.bound


def own_limits(verdict: Verdict) -> str | None:
    """What the audit's own limits are called beside those of a policy; None where no policy was judged."""
    if verdict.policy is None:
        return None
    return "the audit's own" if verdict.limits is None or not verdict.limits.file else Path(verdict.limits.file).name


def _policy_sentence(verdict: Verdict) -> str | None:
    """Return which policy was judged beside the audit's own limits, and when it was read; None without one."""
    policy = verdict.policy
    if policy is None:
        return None
    file = printable(policy.file) if policy.file else "the Python interface"
    of = [f"by {printable(policy.owner)}"] if policy.owner else []
    of += [file] if file != printable(policy.name) else []
    about = f" ({', '.join(of)})" if of else ""
    origin = f"SHA-256 {policy.sha256[:12]}, read {policy.read} {_when(policy.measured)}"
    first = "Limits are those of the" if verdict.limits is None else "Judged, too, are those of the"
    why = _why(verdict, policy.name)
    return f"{first} policy {printable(policy.name)}{about}{why}, {origin}; waivers as of {verdict.judged_on}."


def _why(verdict: Verdict, policy: str | None) -> str:
    """The reasons of limits, of a policy or (None) of the audit itself."""
    reasons = list(dict.fromkeys(printable(b.reason) for b in verdict.budgets if b.reason and b.policy == policy))
    return f" ({'; '.join(reasons)})" if reasons else ""


def _when(measured: bool) -> str:  # noqa: FBT001  its one meaning
    return "when figures were known already" if measured else "before any figure was known"


def budget_lines(audit: Audit) -> list[str]:
    """Return a line for each budget: what decided it, in the format in which it is worst."""
    return [_budget_line(same) for same in same_budgets(audit.verdict.budgets)]


def _budget_line(same: list[Budget]) -> str:
    order = ("fail", "inconclusive", "waived", "pass")
    worst = max(same, key=lambda b: (-order.index(b.counted), -1.0 if b.high is None else b.high))
    verb = {"fail": "exceeded", "inconclusive": "undecided", "pass": "holds"}[worst.verdict]
    verb = f"{verb}, waived {waived_by(worst)}," if worst.waived_by else verb
    what = f"{worst.metric} {worst.limit} ({_set(worst)}, level {worst.level})"
    decided = printable(worst.decided_by or worst.attack)
    shown = budget_figure(worst)
    where = printable(_place(worst))
    line = f"{what}: {verb} on {where}, decided by {decided} {shown}"
    if worst.worst_outside is not None and worst.worst_outside.value is not None:
        value = judged_figure(worst.worst_outside.value, None, None, worst.bound)
        line += f"; outside the set {worst.worst_outside.name} {value}"
    return line


def _set(budget: Budget) -> str:
    """The scope and what is judged: this file, 4 attacks on each class."""
    names = list(dict.fromkeys(one.attack for one in budget.attacks if not one.beside)) or [budget.attack]
    attacks = names[0] if len(names) == 1 else counted(len(names), "attack")
    subset = "" if budget.subset == "all" else f" on {budget.subset}"
    policy = f", policy {printable(budget.policy)}" if budget.policy else ""
    return f"this {budget.scope}, {attacks}{subset}{policy}"


def same_budgets(budgets: Sequence[Budget]) -> list[list[Budget]]:
    """Group what was judged by the budget that it was judged by."""
    groups: dict[tuple[object, ...], list[Budget]] = {}
    for b in budgets:
        named = (one.attack.partition("/")[0] for one in b.attacks if not one.beside)
        attacks = tuple(dict.fromkeys(named)) or (b.attack,)
        groups.setdefault((b.policy, b.metric, b.limit, b.level, b.scope, b.subset, attacks), []).append(b)
    return list(groups.values())


def _budgets(lookup: Lookup) -> list[str]:
    verdict = lookup.audit.verdict
    if not verdict.budgets:
        return ["No budget was set, so no format was judged."]
    origin = limits_sentence(verdict)
    waivers = [f"{line[:1].upper()}{line[1:]}." for line in waiver_lines(lookup.audit)]
    return [*map(_budget, same_budgets(verdict.budgets)), *waivers, *([origin] if origin else [])]


def _budget(same: list[Budget]) -> str:
    first = same[0]
    name = f"Budget {first.metric}, {first.limit} ({_set(first)}, level {first.level})"
    failed = [_place(b) for b in same if b.counted == "fail"]
    open_ = [_place(b) for b in same if b.counted == "inconclusive"]
    waived = [f"{_place(b)} ({_VERBS[b.verdict]}, {waived_by(b)})" for b in same if b.waived_by]
    if not failed and not open_ and not waived:
        return f"{name}: met by {'the one format' if len(same) == 1 else f'all {len(same)} formats'} it applies to."
    parts = [
        *([f"exceeded by {listed(failed)}"] if failed else []),
        *([f"inconclusive for {listed(open_)}"] if open_ else []),
        *([f"waived for {listed(waived)}"] if waived else []),
    ]
    kept = len(same) - len(failed) - len(open_) - len(waived)
    return f"{name}: {', '.join(parts)}" + (f"; met by the other {kept}." if kept else ".")


_VERBS = {"fail": "exceeded", "inconclusive": "undecided", "pass": "met"}


def _place(budget: Budget) -> str:
    return place_name(budget.format, budget.device)


def _failed(lookup: Lookup) -> list[str]:
    failed = [lookup.label(place) for place, result in lookup.formats.items() if result.status == "failed"]
    if not failed:
        return []
    verb = "was" if len(failed) == 1 else "were"
    return [
        f"{listed(failed)} failed and {verb} not audited; nothing is known about {'it' if verb == 'was' else 'them'}."
    ]
