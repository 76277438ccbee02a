"""What a reader asks first: which file to ship and why, what decided, who attacks, on which records and devices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeaudit.report.helps import can_be_trained_again
from edgeaudit.report.lookup import Lookup, Place
from edgeaudit.report.model import Budget
from edgeaudit.report.pareto import Pareto
from edgeaudit.report.summary import limits_sentence, waived_by, waived_until
from edgeaudit.report.words import counted, file_size, judged_figure, listed, percent, printable

__all__ = ["Recommendation", "facts", "recommended"]

_MARGIN = 0.01
"""Of test accuracy: files within it of the best are as good, and the smallest of them is recommended."""
_EXPOSURES = {
    "probabilities": "all class probabilities",
    "logits": "logits",
    "label": "the predicted label alone",
}


@dataclass(frozen=True)
class Recommendation:
    """label: of the format to ship; None where none can be recommended. why: a sentence."""

    label: str | None
    why: str


def recommended(lookup: Lookup) -> Recommendation:
    """Return the smallest file within 1 point of the best test accuracy among formats that are within all budgets.

    Where there is none, of those whose other budgets are waived; the sentence says until when and by whom. None where
    no budget of level error was set, where the audit itself is not sound, and where no format is within.
    """
    verdict = lookup.audit.verdict
    pareto = Pareto(lookup)
    shipped = [place for place in lookup.places if pareto.takes_part(place)]
    if verdict.outcome == "invalid":
        return Recommendation(None, "None: a control failed, so the figures are no evidence.")
    if any(control.status == "undecided" for control in lookup.audit.controls):
        return Recommendation(None, "None: a control is undecided, so low figures are no evidence that little leaks.")
    budgets = {place: [b for b in lookup.budgets(place) if b.level == "error"] for place in shipped}
    if not any(budgets.values()):
        why = "None: no budget of level error says how much may leak. Set one, such as budgets: recommended."
        return Recommendation(None, why)
    within = [place for place in shipped if budgets[place] and all(b.verdict == "pass" for b in budgets[place])]
    within = within or [
        place for place in shipped if budgets[place] and all(b.counted in ("pass", "waived") for b in budgets[place])
    ]
    if not within:
        return Recommendation(None, _none_within([b for one in budgets.values() for b in one]))
    best = max(_accuracy(lookup, place) for place in within)
    good = [place for place in within if _accuracy(lookup, place) >= best - _MARGIN]
    chosen = min(good, key=lambda place: _bytes(lookup, place))
    size, accuracy = file_size(_bytes(lookup, chosen)), percent(_accuracy(lookup, chosen))
    waived = waived_until(budgets[chosen])
    met = "within all budgets" if waived is None else f"whose budgets are met or waived ({waived})"
    why = f"the one format {met}"
    if len(within) > 1:
        why = f"of {len(within)} formats {met} the smallest within a point of the best test accuracy"
    return Recommendation(lookup.label(chosen), f"{why}: {size}, {accuracy}")


def _none_within(budgets: list[Budget]) -> str:
    failed = any(b.counted == "fail" for b in budgets)
    open_ = any(b.counted == "inconclusive" for b in budgets)
    if failed and open_:
        return "None: each format is beyond a limit, or its records cannot say whether it is."
    return "None: every format is beyond a limit." if failed else "None: the records cannot say whether any is within."


def _accuracy(lookup: Lookup, place: Place) -> float:
    accuracy = lookup.formats[place].accuracy
    return 0.0 if accuracy is None else accuracy.test


def _bytes(lookup: Lookup, place: Place) -> int:
    artifact = lookup.formats[place].artifact
    return 0 if artifact is None else artifact.bytes


def facts(lookup: Lookup) -> Iterator[tuple[str, str]]:
    """Yield the questions and their answers, in the order in which they are asked."""
    audit = lookup.audit
    ship = recommended(lookup)
    yield "Ship", ship.why if ship.label is None else f"{ship.label}, {ship.why}"
    yield "Decided by", _decided(audit.verdict.budgets)
    yield "How sure", _sure(lookup)
    yield "Attacker", _attacker(lookup)
    population = audit.population
    sides = f"{population.members:,} members, {population.nonmembers:,} nonmembers"
    yield "Records", f"{printable(population.source)}: {sides}, {population.reference:,} reference records"
    yield "Queried on", _devices(lookup)
    origin = limits_sentence(audit.verdict) or "none were set"
    yield "Limits", origin.removeprefix("Limits are ")
    yield "Next", _next(lookup, ship)


def _decided(budgets: tuple[Budget, ...]) -> str:
    """The figure that weighs most: of the worst verdict the one furthest beyond, or nearest to, its limit."""
    order = {"fail": 0, "inconclusive": 1, "waived": 2, "pass": 3}
    judged = [b for b in budgets if b.level == "error"] or list(budgets)
    if not judged:
        return "nothing: no budget was set"
    worst = min(judged, key=lambda b: (order[b.counted], -_reach(b)))
    verb = {"fail": "exceeds", "inconclusive": "may exceed", "pass": "is within"}[worst.verdict]
    figure = judged_figure(worst.value, worst.low, worst.high)
    where = f"{worst.format}" if worst.device in (None, "local") else f"{worst.format} on {worst.device}"
    what = f"{worst.metric} {worst.limit} of this {worst.scope}"
    policy = f", of policy {worst.policy}" if worst.policy else ""
    waived = f"; waived {waived_by(worst)}" if worst.waived_by else ""
    return printable(f"{worst.decided_by or worst.attack} on {where}: {figure} {verb} {what}{policy}{waived}")


def _reach(budget: Budget) -> float:
    end = budget.high if budget.high is not None else budget.value
    return 0.0 if end is None or budget.bound is None else end - budget.bound


def _sure(lookup: Lookup) -> str:
    audit = lookup.audit
    targets = "one target: figures are of these files" if lookup.targets == 1 else f"{lookup.targets} targets"
    words = [f"95% intervals over records, {targets}"]
    for status, what in (("failed", "failed"), ("undecided", "undecided"), ("warning", "with a warning")):
        names = list(dict.fromkeys(printable(c.name) for c in audit.controls if c.status == status))
        if names:
            words.append(f"controls {what}: {', '.join(names)}")
    held = len([c for c in audit.controls if c.status == "holds"])
    return "; ".join([*words, f"{counted(held, 'control')} {'holds' if held == 1 else 'hold'}"])


def _attacker(lookup: Lookup) -> str:
    threat = lookup.audit.threat
    seen = _EXPOSURES.get(str(threat.get("exposure")), printable(str(threat.get("exposure"))))
    number, mode = int(threat.get("shadows") or 0), str(threat.get("mode"))
    knows = {
        "adversary": "knows other records of the same kind",
        "auditor": "knows the audited records and trains on them (worst case)",
    }.get(mode, mode)
    shadows = f", with {counted(number, 'shadow model')} made by the same toolchains" if number else ", without shadows"
    attacks = list(dict.fromkeys(row.attack for row in lookup.audit.leakage if row.attack != "taught"))
    return f"{printable(mode)}: {knows}; sees {seen}{shadows}; {counted(len(attacks), 'attack')}: {listed(attacks)}"


def _devices(lookup: Lookup) -> str:
    here = f"this machine ({printable(lookup.audit.environment.cpu)})"
    names = [here] if any(place.device == "local" for place in lookup.places) else []
    for device in lookup.audit.devices:
        title = printable(device.title or device.name)
        how = "emulated: its builds under QEMU, no board" if device.via == "emulated" else "a board or server"
        names.append(f"{title}, {how}")
    return "; ".join(names) or here


def _next(lookup: Lookup, ship: Recommendation) -> str:
    verdict = lookup.audit.verdict
    unsound = any(control.status in ("failed", "undecided") for control in lookup.audit.controls)
    open_ = [b for b in verdict.budgets if (b.level, b.counted) == ("error", "inconclusive")]
    needed = next((printable(b.needed) for b in open_ if b.needed), "audit more records, or set a larger limit")
    waived = min((one.waived_until for one in verdict.budgets if one.waived_until), default=None)
    shipping = f"ship {ship.label}" if ship.label else ""
    if waived is not None and shipping:
        shipping += f"; a waiver ends on {waived}: leak less by then, or have it renewed"
    less = "see under What helps, measured"
    if can_be_trained_again(lookup.audit):
        less += "; edgeaudit advise measures what changes of the training do"
    return {
        "error": "mend what failed (the first reason above), and run again: finished work is kept",
        "invalid": "follow the control's advice above, and run again",
        "inconclusive": "follow the control's advice above, and run again" if unsound else needed,
        "budget exceeded": shipping or less,
        "not judged": "set limits and judge this run by them: edgeaudit check RUN --budgets AUDIT.YAML",
        "within budget": shipping or "nothing",
    }[verdict.outcome]
