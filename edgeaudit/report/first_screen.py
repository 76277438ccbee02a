"""The ten questions that a reader asks first, and their answers.

Which format to ship, why, how sure; who attacks, which data, how many records, which device; what was waived, who set
the limits, and what to do next. They are the first that report.html shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeaudit.endpoint import EMULATED, LOCAL
from edgeaudit.report.helps import can_be_trained_again, help_table
from edgeaudit.report.lookup import Lookup, Place
from edgeaudit.report.model import Budget, DeviceInfo, Needs, Verdict
from edgeaudit.report.model.verdict import TAUGHT_ATTACK
from edgeaudit.report.pareto import Pareto
from edgeaudit.report.summary import deciding_budget, limit_origins, waived_by
from edgeaudit.report.words import (
    budget_figure,
    counted,
    file_size,
    listed,
    metric_name,
    percent,
    place_name,
    printable,
)

__all__ = ["Answer", "Recommendation", "answers", "recommended"]

_MARGIN = 0.01
"""Of test accuracy: files within it of the best are as good, and the smallest of them is recommended."""
_EXPOSURES = {
    "probabilities": "all class probabilities",
    "logits": "logits",
    "label": "the predicted label alone",
}
_SECTIONS = (("Compared", "format"), ("Output granularity", "exposure"))
_MANY_ATTACKS = 12
_MANY_NEEDS = 2


@dataclass(frozen=True)
class Recommendation:
    """label: the format to ship; None where none can be recommended. places: where it was queried. why: a phrase."""

    places: tuple[Place, ...]
    label: str | None
    why: str


def recommended(lookup: Lookup) -> Recommendation:
    """Return the smallest file within 1 point of the best test accuracy among formats that are within all budgets.

    A format that was queried on several devices has to be within on each. Where there is none, of those whose other
    budgets are waived, and then of those that are within on one device; the phrase says which. None where no budget of
    level error was set, where the audit itself is not sound, and where no format is within.
    """
    verdict = lookup.audit.verdict
    if verdict.outcome == "error":
        return Recommendation((), None, "the audit ended in an error, so that budgets may not have been judged")
    pareto = Pareto(lookup)
    shipped = [place for place in lookup.places if pareto.takes_part(place)]
    if verdict.outcome == "invalid":
        return _nothing("a control failed, so the figures are no evidence")
    if any(control.status == "undecided" for control in lookup.audit.controls):
        return _nothing("a control is undecided, so low figures are no evidence that little leaks")
    budgets = {place: [b for b in lookup.budgets(place) if b.level == "error"] for place in shipped}
    if not any(budgets.values()):
        return _nothing("no budget of level error says how much may leak; set one, such as budgets: recommended")
    of_format = {name: [p for p in shipped if p.format == name] for name in dict.fromkeys(p.format for p in shipped)}
    everywhere, anywhere = list(of_format.values()), [[place] for place in shipped]
    for groups in (everywhere, anywhere):
        for counted_as in (("pass",), ("pass", "waived")):
            within = [
                places
                for places in groups
                if all(budgets[p] and all(b.counted in counted_as for b in budgets[p]) for p in places)
            ]
            if within:
                return _smallest(lookup, within, of_format)
    return _nothing(_none_within([b for one in budgets.values() for b in one]))


def _smallest(lookup: Lookup, within: list[list[Place]], of_format: dict[str, list[Place]]) -> Recommendation:
    """Return the smallest good file. within: of each candidate the devices for which it is recommended."""
    best = max(_accuracy(lookup, places) for places in within)
    good = [places for places in within if _accuracy(lookup, places) >= best - _MARGIN]
    chosen = min(good, key=lambda places: _bytes(lookup, places))
    waived = any(b.waived_by for place in chosen for b in lookup.budgets(place) if b.level == "error")
    met = "whose budgets are met or waived" if waived else "within all budgets"
    why = f"the one format {met}"
    if len(within) > 1:
        why = f"of {len(within)} formats {met} the smallest within a point of the best test accuracy"
    label, everywhere = lookup.label(chosen[0]), of_format[chosen[0].format]
    if len(everywhere) > 1:
        label = chosen[0].format
        where = " and ".join(dict.fromkeys("this machine" if p.device == LOCAL else p.device for p in chosen))
        if len(chosen) < len(everywhere):
            label, why = f"{label} on {where} alone", f"{why}, and not on every device"
        else:
            why += f", on {where}" if len(chosen) == 2 else f", on each of {len(chosen)} devices"
    return Recommendation(tuple(chosen), label, why)


def _nothing(why: str) -> Recommendation:
    return Recommendation((), None, why)


def _none_within(budgets: list[Budget]) -> str:
    failed = any(b.counted == "fail" for b in budgets)
    open_ = any(b.counted == "inconclusive" for b in budgets)
    if failed and open_:
        return "each format is beyond a limit, or its records cannot say whether it is"
    return "every format is beyond a limit" if failed else "the records cannot say whether any is within"


def _accuracy(lookup: Lookup, places: Sequence[Place]) -> float:
    """The lowest test accuracy of a format on these devices."""
    accuracies = [lookup.formats[place].accuracy for place in places]
    return min(0.0 if one is None else one.test for one in accuracies)


def _bytes(lookup: Lookup, places: Sequence[Place]) -> int:
    artifacts = [lookup.formats[place].artifact for place in places]
    return max(0 if one is None else one.bytes for one in artifacts)


@dataclass(frozen=True)
class Answer:
    """One of the ten questions and its answer.

    key: what the page marks the answer with. name: before it on the page. question: in full.
    """

    key: str
    name: str
    question: str
    text: str


def answers(lookup: Lookup) -> tuple[Answer, ...]:
    """Return the ten questions with their answers, in the order in which they are asked."""
    ship = recommended(lookup)
    population = lookup.audit.population
    classes = f" of {population.classes:,} classes" if population.classes > 1 else ""
    data = f"{printable(population.source)}: {counted(population.records, 'record')}{classes}"
    records = f"{counted(population.members, 'member')} and {counted(population.nonmembers, 'nonmember')} audited"
    return (
        Answer("ship", "Ship", "Which format to ship?", _shipped(lookup, ship)),
        Answer("why", "Why", "Why that one?", _why(lookup, ship)),
        Answer("sure", "How sure", "How sure is this?", _sure(lookup)),
        Answer("attacker", "Attacker", "Who attacks?", _attacker(lookup)),
        Answer("data", "Data", "Which data?", data),
        Answer(
            "records", "Records", "How many records?", f"{records}, {counted(population.reference, 'reference record')}"
        ),
        Answer("device", "Device", "Which device, and was it real?", _devices(lookup)),
        Answer("waived", "Waived", "What was waived?", _waived(lookup.audit.verdict)),
        Answer("limits", "Limits set by", "Who set the limits?", _limits(lookup.audit.verdict)),
        Answer("next", "Next", "What to do next?", _next(lookup, ship)),
    )


def _shipped(lookup: Lookup, ship: Recommendation) -> str:
    if ship.label is None:
        return "none"
    size, accuracy = file_size(_bytes(lookup, ship.places)), percent(_accuracy(lookup, ship.places))
    return f"{printable(ship.label)} ({size}, test accuracy {accuracy})"


def _why(lookup: Lookup, ship: Recommendation) -> str:
    verdict = lookup.audit.verdict
    failed = [printable(lookup.label(place)) for place, one in lookup.formats.items() if one.status == "failed"]
    parts = [ship.why]
    if failed:
        parts.append(f"{_few(failed)} failed, so nothing is known of {'it' if len(failed) == 1 else 'them'}")
    if verdict.outcome != "invalid" and verdict.budgets:
        deciding = deciding_budget(verdict.budgets)
        how = "decided by" if deciding.level == "error" else "the worst warning is by"
        how = "nearest to its limit is" if deciding.counted == "pass" else how
        parts.append(f"{how} {_decided(deciding)}")
    return "; ".join(parts)


def _decided(budget: Budget) -> str:
    """The figure on which a verdict rests, and where it lies."""
    where = place_name(budget.format, budget.device)
    over = f" above that of {budget.against}" if budget.against else ""
    bound = budget.limit if budget.bound is None else f"{budget.bound:g}"
    of = f" of policy {budget.policy}" if budget.policy else ""
    what = f"{metric_name(budget.metric)}{over} {budget_figure(budget)}"
    verb = {"fail": "beyond", "inconclusive": "not shown to be within", "pass": "within"}[budget.verdict]
    scope = "this file" if budget.scope == "file" else "this pipeline"
    return printable(
        f"{budget.decided_by or budget.attack} on {where}: {what}, {verb} the limit {bound}{of} for {scope}"
    )


def _sure(lookup: Lookup) -> str:
    audit = lookup.audit
    targets = "of these files (one target)" if lookup.targets == 1 else f"of {lookup.targets} targets"
    words = [f"95% intervals over records, figures {targets}"]
    if audit.verdict.budgets:
        words.append("a file at its limit passes in at most 2.5% of audits, and fails in at most 2.5%")
    for status, what in (("failed", "failed"), ("undecided", "undecided"), ("warning", "with a warning")):
        names = list(dict.fromkeys(printable(c.name) for c in audit.controls if c.status == status))
        if names:
            words.append(f"controls {what}: {_few(names)}")
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
    attacks = list(dict.fromkeys(row.attack for row in lookup.audit.leakage if row.attack != TAUGHT_ATTACK))
    named = _few([printable(name) for name in attacks], _MANY_ATTACKS)
    return f"{printable(mode)}: {knows}; sees {seen}{shadows}; {counted(len(attacks), 'attack')}: {named}"


def _devices(lookup: Lookup) -> str:
    """Where the files answered: this machine, an emulated device, a board over ssh, or a server."""
    local = [result for place, result in lookup.formats.items() if place.device == LOCAL]
    here = f"this machine ({printable(lookup.audit.environment.cpu)})"
    alone = bool(local) and all(one.runtime is not None and one.runtime.name == "torch" for one in local)
    elsewhere = [_device(device) for device in lookup.audit.devices]
    if alone and elsewhere:
        return "; ".join([*elsewhere, f"{here}, the trained model alone"])
    names = [f"{here}, no edge device"] if local or not elsewhere else []
    return "; ".join([*names, *elsewhere])


def _device(device: DeviceInfo) -> str:
    name = printable(device.title or device.name)
    cpu = f" ({printable(device.cpu)})" if device.cpu else ""
    if device.via == EMULATED:
        return f"{name}{cpu}, emulated: its own builds under QEMU, no board was queried"
    if device.via.startswith("ssh://"):
        return f"{name}{cpu}, real: queried over ssh"
    return f"{name}{cpu}, a server over its network interface; what it runs on was not checked"


def _waived(verdict: Verdict) -> str:
    rows = [row for row in verdict.budgets if row.waived_by]
    by_waiver: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        places = by_waiver.setdefault(waived_by(row), {})
        places.setdefault(printable(place_name(row.format, row.device)), []).append(_limit(row))
    parts = [
        f"{_few([f'{_few(limits)} on {place}' for place, limits in places.items()])} {how}"
        for how, places in by_waiver.items()
    ]
    lapsed = [printable(f"{one.about} ({one.owner})") for one in verdict.waivers if one.status == "expired"]
    short = [printable(f"{one.about} ({one.owner})") for one in verdict.waivers if one.status == "insufficient"]
    parts += [f"expired: {_few(lapsed)}"] if lapsed else []
    parts += [f"insufficient: {_few(short)}"] if short else []
    return "; ".join(parts if rows else ["nothing", *parts])


def _limits(verdict: Verdict) -> str:
    said = []
    for origin in limit_origins(verdict):
        rows = [row for row in verdict.budgets if row.policy == origin.policy]
        limits = list(dict.fromkeys(_limit(row) for row in rows))
        said.append(": ".join(part for part in (origin.text, _few(limits)) if part))
    return "; ".join(said) or "nobody: none were set"


def _limit(budget: Budget) -> str:
    subset = "" if budget.subset == "all" else f" on {budget.subset}"
    return printable(f"{budget.metric} {budget.limit}{subset}{'' if budget.level == 'error' else ' (warn)'}")


def _few(items: list[str], most: int = 3) -> str:
    """Items as a phrase, the last of many as a number."""
    if len(items) <= most + 1:
        return listed(items)
    return listed([*items[:most], f"{len(items) - most} more"])


def _next(lookup: Lookup, ship: Recommendation) -> str:
    verdict = lookup.audit.verdict
    unsound = any(control.status in ("failed", "undecided") for control in lookup.audit.controls)
    waived = min((one.waived_until for one in verdict.budgets if one.waived_until), default=None)
    shipping = f"ship {ship.label}" if ship.label else ""
    if waived is not None and shipping:
        shipping += f"; a waiver ends on {waived}: leak less by then, or have it renewed"
    emulated = [printable(one.title or one.name) for one in lookup.audit.devices if one.via == EMULATED]
    if emulated and shipping:
        were = "was" if len(emulated) == 1 else "were"
        shipping += f"; {_few(emulated)} {were} emulated: audit a board over ssh, too"
    return {
        "error": "mend what failed (the first reason below), and run again: finished work is kept",
        "invalid": "mend what the failed control names (Controls, below), and run again",
        "inconclusive": _undecided(lookup, shipping, unsound=unsound),
        "budget exceeded": shipping or f"ship none of these files; {_less(lookup)}",
        "not judged": "set limits and judge this run by them: edgeaudit check RUN --budgets AUDIT.YAML",
        "within budget": shipping or "nothing",
    }[verdict.outcome]


def _less(lookup: Lookup) -> str:
    """Where the page says what leaks less; a section without figures is left out."""
    kinds = {row.kind for row in lookup.audit.comparisons}
    names = ["Formats", *(name for name, kind in _SECTIONS if kind in kinds)]
    if help_table(lookup) is not None:
        names = ["What helps, measured"]
    words = f"see under {listed(names)} what leaks less"
    if can_be_trained_again(lookup.audit):
        words += "; edgeaudit advise measures changes of the training"
    return words


def _undecided(lookup: Lookup, shipping: str, *, unsound: bool) -> str:
    if unsound:
        return "mend what the undecided control names (Controls, below), and run again"
    open_ = [b for b in lookup.audit.verdict.budgets if (b.level, b.counted) == ("error", "inconclusive")]
    rest = _would_decide(open_, lookup.audit.population.records)
    return f"{shipping}; for the others {rest}" if shipping else rest


def _number(of: str, needs: list[Needs], budgets: int, records: int) -> str:
    """The number that decides these of the open budgets, and how: what only a fail decides asks for less leakage."""
    counts = sorted({one.count for one in needs})
    which = "the open budget" if len(needs) == 1 else f"all {len(needs)} open budgets"
    if len(needs) < budgets:
        which = f"{len(needs)} of {budgets} open budgets"
    first = f", the first at {counts[0]:,}" if len(counts) > 1 else ""
    part = f"audit about {counts[-1]:,} {of}: that decides {which} if the figures stay{first}"
    if all(one.outcome == "fail" for one in needs):
        part = f"leak less; or {part}, as exceeded"
    elif any(one.outcome == "fail" for one in needs):
        part += ", some as exceeded"
    if of.startswith("members,") and 2 * counts[-1] > records:
        part += f" (the data have {records:,} records: get more, leak less, or set a larger limit)"
    return part


def _would_decide(open_: list[Budget], records: int) -> str:
    """What decides all of the open budgets: of those that a number decides the largest, and what the others lack."""
    by_unit: dict[str, list[Needs]] = {}
    for budget in open_:
        if budget.needs is not None:
            by_unit.setdefault(budget.needs.of, []).append(budget.needs)
    parts = [_number(of, needs, len(open_), records) for of, needs in by_unit.items()]
    other: dict[str, list[str]] = {}
    for budget in open_:
        if budget.needs is None and budget.needed:
            where = f"{budget.metric} on {place_name(budget.format, budget.device)}"
            other.setdefault(budget.needed, []).append(printable(where))
    parts += [f"{_few(where)}: {printable(needed)}" for needed, where in other.items()]
    if len(parts) > _MANY_NEEDS:
        parts = [*parts[:_MANY_NEEDS], "further ones are under Budgets"]
    return "; ".join(parts) or "audit more records, or set a larger limit"
