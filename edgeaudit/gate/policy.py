"""What a policy judges in an audit, which somebody else wrote: whose names and choices must not loosen its limits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edgeaudit.attacks.registry import ATTACKS
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.budgets import BudgetSpec
from edgeaudit.config.formats import FormatUse
from edgeaudit.config.policy import PolicySpec, ReadPolicy
from edgeaudit.errors import BudgetError, did_you_mean
from edgeaudit.formats.presets import FORMATS, REFERENCES
from edgeaudit.gate.requirements import require_judgeable, require_subset
from edgeaudit.leakage.series_names import TAUGHT_ATTACK

__all__ = ["Applicable", "applicable", "meant", "require_policy_applies"]


@dataclass(frozen=True)
class Applicable:
    """What of a policy applies to an audit.

    budgets: metric and budget, whose formats and `against` are ids of the audit. notes: a sentence on each budget that
    names formats which the audit does not have.
    """

    budgets: tuple[tuple[str, BudgetSpec], ...]
    notes: tuple[str, ...]


def applicable(policy: PolicySpec, spec: AuditSpec) -> Applicable:
    """Return the budgets of a policy that limit a format of this audit.

    A name stands for the format of that id, and for every format made of the preset of that name: one that an
    audit.yaml has named otherwise is still limited. Without names all are limited but references, which are told by
    their preset, too.
    """
    found: list[tuple[str, BudgetSpec]] = []
    notes: list[str] = []
    for metric, budgets in policy.budgets.items():
        for budget in budgets:
            against = None if budget.against is None else _of_name(budget.against, spec.formats)
            ids = [use.id for use in _limited(budget, spec.formats)]
            if against:
                ids = [one for one in ids if one != against[0]]
            absent = [name for name in _named(budget) if not _of_name(name, spec.formats)]
            if absent:
                notes.append(_note(metric, budget, absent, spec.formats))
            if ids and against != []:
                changes = {"formats": tuple(ids), "against": against[0] if against else None}
                found.append((metric, budget.model_copy(update=changes)))
    return Applicable(tuple(found), tuple(notes))


def _named(budget: BudgetSpec) -> Sequence[str]:
    return (*(budget.formats or ()), *((budget.against,) if budget.against else ()))


def _of_name(name: str, uses: Sequence[FormatUse]) -> list[str]:
    """Return the ids of the formats that a name stands for, the one of this id first."""
    return sorted((use.id for use in uses if name in (use.id, use.format)), key=lambda one: one != name)


def _limited(budget: BudgetSpec, uses: Sequence[FormatUse]) -> list[FormatUse]:
    if budget.formats is None:
        return [use for use in uses if use.format not in REFERENCES.values()]
    return [use for use in uses if {use.id, use.format} & set(budget.formats)]


def _note(metric: str, budget: BudgetSpec, absent: Sequence[str], uses: Sequence[FormatUse]) -> str:
    limit = f"<= {budget.max:g}" if budget.max is not None else f"<= {budget.against} + {budget.max_increase:g}"
    known = [use.id for use in uses]
    # A preset that this audit does not have is no slip of the pen; another name may be one.
    names = ", ".join(f"'{name}'{'' if name in FORMATS else meant(name, [*known, *FORMATS])}" for name in absent)
    return f"budget {metric} {limit} names what is not among this audit's formats: {names}"


def meant(name: str, known: Iterable[str]) -> str:
    """Return the question ` (did you mean 'x'?)` for a name within a sentence, or "" if no known name is similar."""
    asked = did_you_mean(name, known).strip()
    return f" ({asked[:1].lower()}{asked[1:]})" if asked else ""


def require_policy_applies(policy: ReadPolicy, spec: AuditSpec, classes: int | None = None) -> None:
    """Raise `BudgetError` for a policy that names what there is not, or that would judge nothing in this audit.

    A format that the audit does not have is not judged; an attack, class or canaries that it does not have are an
    error, since to leave them out would be a way around the limit.

    classes: number of classes of the records; None where they are not read yet.
    """
    where = f"the policy {policy.title}"
    found = applicable(policy.spec, spec)
    for metric, budgets in policy.spec.budgets.items():
        for budget in budgets:
            require_judgeable(f"{where}: budgets.{metric}", metric, budget, spec, classes)
    for place, waiver in enumerate(policy.spec.waivers):
        key = f"{where}: waivers.{place}"
        require_subset(f"{key}.subset", waiver.metric, waiver.subset)
        known = [*ATTACKS.names(), TAUGHT_ATTACK]
        if waiver.attack is not None and waiver.attack not in known:
            raise BudgetError(
                f"{key}.attack: there is no attack '{waiver.attack}'.{did_you_mean(waiver.attack, known)} Write an "
                "attack's name without its variant"
            )
    if not found.budgets:
        formats = ", ".join(use.id for use in spec.formats)
        raise BudgetError(
            f"{where} judges nothing in this audit, whose formats are {formats}: {'; '.join(_why(found))}. Remove "
            "'formats' from a budget, so that it limits every format that ships, or name one of these"
        )


def _why(found: Applicable) -> Iterator[str]:
    yield from found.notes
    if not found.notes:
        yield "all of them are references, which do not ship"
