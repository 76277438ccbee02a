"""Which judged budgets a policy's waivers waive, and what became of each waiver."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from edgeaudit.config.budgets import EVERY_CLASS
from edgeaudit.config.waivers import WaiverSpec
from edgeaudit.gate.policy import meant
from edgeaudit.report.model import Budget, JudgedAttack, JudgedWaiver, Waiver
from edgeaudit.report.words import judged_figure, listed, place_name

__all__ = ["Waived", "waive"]


@dataclass(frozen=True)
class Waived:
    """budgets: as judged, those that are waived with their waivers. waivers: all of the policy, as they fared.

    because: of each budget, why it is not waived although a waiver is for it; None where none is. surplus: waivers that
    can be removed, since nothing is beyond its limit that they waive, or waived.
    """

    budgets: tuple[Budget, ...]
    waivers: tuple[JudgedWaiver, ...]
    because: tuple[str | None, ...]
    surplus: tuple[JudgedWaiver, ...] = ()


def waive(budgets: Sequence[Budget], waivers: Sequence[WaiverSpec], today: dt.date) -> Waived:
    """Return the budgets, with waivers where these waive them.

    A budget is waived if every figure that keeps it from a pass (its interval ends above the limit, or has no upper
    end) is waived: by a waiver for its metric, format, device, records and scope, which names its attack or none, has
    not expired, and whose `max` the interval does not exceed. Several waivers may share this. One figure that no waiver
    has foreseen makes the budget count as a whole, since a waiver speaks of what its owner has seen.

    Args:
        budgets: as judged.
        waivers: of the policy.
        today: the day of judging. A waiver holds on the day on which it expires.
    """
    rows: list[Budget] = []
    because: list[str | None] = []
    applied: set[int] = set()
    for budget in budgets:
        covering, why = _of_budget(budget, waivers, today)
        applied |= {place for places in covering for place in places}
        because.append(why)
        # Of several waivers for one figure the last to end answers for it.
        answering = {max(places, key=lambda place: (waivers[place].expires, -place)) for places in covering}
        rows.append(
            budget.model_copy(update={"waived_by": tuple(_waiver(waivers[place]) for place in sorted(answering))})
        )
    judged = [
        _judged(waiver, budgets, applied=place in applied, expired=waiver.expires < today)
        for place, waiver in enumerate(waivers)
    ]
    surplus = [one for one, waiver in zip(judged, waivers, strict=True) if not _open(waiver, budgets)]
    return Waived(tuple(rows), tuple(judged), tuple(because), tuple(surplus))


def _of_budget(budget: Budget, waivers: Sequence[WaiverSpec], today: dt.date) -> tuple[list[list[int]], str | None]:
    """Return the waivers, by their places, of each figure of a budget that is waived; else why those for it do not."""
    open_ = _beyond(budget)
    if budget.verdict == "pass" or not open_:
        return [], None
    concerned = [place for place, one in enumerate(waivers) if _is_for(one, budget)]
    holding = [place for place in concerned if waivers[place].expires >= today]
    covering = {one: [place for place in holding if _covers(waivers[place], budget, one)] for one in open_}
    if all(covering.values()):
        return list(covering.values()), None
    ended = [
        waivers[place]
        for place in concerned
        if place not in holding and any(_covers(waivers[place], budget, one) for one in open_)
    ]
    if ended:
        return [], "; ".join(f"the waiver of {one.owner} expired on {one.expires} ({one.reason})" for one in ended)
    short = [place for place in holding if any(_speaks_of(waivers[place], budget, one) for one in open_)]
    if not short:
        return [], None
    mine = [waivers[place] for place in short]
    left = [one for one, places in covering.items() if not places]
    owners = listed(list(dict.fromkeys(waivers[place].owner for place in short)))
    return [], f"not waived by {owners}: {_left(left, budget, mine)}{_up_to(mine)}"


def _beyond(budget: Budget) -> list[JudgedAttack]:
    """Return the figures that keep a budget from a pass."""
    bound = budget.bound
    return [one for one in budget.attacks if one.high is None or bound is None or one.high > bound]


def _is_for(waiver: WaiverSpec, budget: Budget) -> bool:
    """Return whether a waiver is for budgets such as this one, whatever its figures."""
    return (
        waiver.metric == budget.metric
        and (waiver.names is None or budget.format in waiver.names)
        and waiver.device in (None, budget.device)
        and waiver.scope == budget.scope
        and waiver.against == budget.against
        and (waiver.subset == budget.subset or any(waiver.subset == one.subset for one in budget.attacks))
    )


def _speaks_of(waiver: WaiverSpec, budget: Budget, one: JudgedAttack) -> bool:
    """Return whether a waiver for a budget names this attack, or none, on these records."""
    return waiver.subset in (budget.subset, one.subset) and waiver.attack in (None, one.attack.partition("/")[0])


def _covers(waiver: WaiverSpec, budget: Budget, one: JudgedAttack) -> bool:
    within = waiver.max is None or (one.high is not None and one.high <= waiver.max)
    return _speaks_of(waiver, budget, one) and within


def _left(figures: Sequence[JudgedAttack], budget: Budget, waivers: Sequence[WaiverSpec]) -> str:
    limits = [budget.bound, *(waiver.max for waiver in waivers)]
    return listed([f"{one.name} {judged_figure(one.value, one.low, one.high, *limits)}" for one in figures])


def _up_to(waivers: Sequence[WaiverSpec]) -> str:
    ends = sorted({waiver.max for waiver in waivers if waiver.max is not None})
    return f" (max {', '.join(f'{end:g}' for end in ends)})" if ends else ""


def _waiver(spec: WaiverSpec) -> Waiver:
    return Waiver.model_validate(_fields(spec))


def _fields(spec: WaiverSpec) -> dict[str, object]:
    kept = ("metric", "device", "subset", "attack", "scope", "against", "max", "owner", "reason")
    return {name: getattr(spec, name) for name in kept} | {"formats": spec.names, "expires": spec.expires.isoformat()}


def _judged(waiver: WaiverSpec, budgets: Sequence[Budget], *, applied: bool, expired: bool) -> JudgedWaiver:
    open_ = _open(waiver, budgets)
    status, note = "applied", None
    if expired:
        status = "expired"
        note = None if open_ else "what it waived is within the limit, or is not judged: remove it"
    elif applied:
        pass
    elif not any(_is_for(waiver, one) for one in budgets):
        status, note = "unmatched", _unmatched(waiver, budgets)
    elif not open_:
        status, note = "unneeded", "what it waives is within the limit: remove it"
    else:
        places = listed(list(dict.fromkeys(place_name(row.format, row.device) for row in open_)))
        status, note = "insufficient", f"it does not suffice for {places}"
    return JudgedWaiver.model_validate({**_fields(waiver), "status": status, "note": note})


def _open(waiver: WaiverSpec, budgets: Sequence[Budget]) -> list[Budget]:
    """Return the budgets that are not within their limits by a figure of which a waiver speaks."""
    return [
        row
        for row in budgets
        if row.verdict != "pass" and _is_for(waiver, row) and any(_speaks_of(waiver, row, one) for one in _beyond(row))
    ]


def _unmatched(waiver: WaiverSpec, budgets: Sequence[Budget]) -> str:
    """Return why no budget that was judged is what a waiver waives."""
    formats = list(dict.fromkeys(one.format for one in budgets))
    absent = [name for name in waiver.names or () if name not in formats]
    if absent:
        names = ", ".join(f"'{name}'{meant(name, formats)}" for name in absent)
        return f"no budget is judged on {names}"
    metrics = {one.metric for one in budgets}
    if waiver.metric not in metrics:
        return f"no budget limits {waiver.metric}"
    devices = [one.device for one in budgets if one.device is not None]
    if waiver.device is not None and waiver.device not in devices:
        return f"no budget is judged on the device '{waiver.device}'{meant(waiver.device, devices)}"
    rest = "all records" if waiver.subset in ("all", EVERY_CLASS) else waiver.subset
    against = f" against {waiver.against}" if waiver.against else ""
    return f"no budget limits {waiver.metric}{against} of this {waiver.scope} on {rest} there"
