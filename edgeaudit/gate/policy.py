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
from edgeaudit.formats.likeness import presets_like
from edgeaudit.formats.presets import FORMATS, REFERENCES
from edgeaudit.gate.requirements import require_judgeable, require_subset
from edgeaudit.leakage.series_names import TAUGHT_ATTACK
from edgeaudit.report.words import listed

__all__ = ["Applicable", "applicable", "meant", "require_policy_applies"]


@dataclass(frozen=True)
class Applicable:
    """What of a policy applies to an audit.

    budgets: metric and budget, whose formats and `against` are ids of the audit. notes: a sentence on each budget that
    names formats which the audit does not have, or is measured from a composition; and on formats that ship of which
    only audit.yaml says what they are, and that no budget of formats names.
    """

    budgets: tuple[tuple[str, BudgetSpec], ...]
    notes: tuple[str, ...]


def applicable(policy: PolicySpec, spec: AuditSpec) -> Applicable:
    """Return the budgets of a policy that limit a format of this audit.

    A name stands for the format of that id, and for every format that is made like the preset of that name
    (`presets_like`): one that an audit.yaml has named otherwise, or composed of the preset's passes, is still limited.
    Without names all are limited but references, which are told by their preset, too.
    """
    found: list[tuple[str, BudgetSpec]] = []
    notes: list[str] = []
    meanings = [_Meaning(use.id, use.format, _like(use, spec)) for use in spec.formats]
    for metric, budgets in policy.budgets.items():
        for budget in budgets:
            against = None if budget.against is None else _of_name(budget.against, meanings)
            ids = [one.id for one in _limited(budget, meanings)]
            if against:
                ids = [one for one in ids if one != against[0].id]
            absent = [name for name in _named(budget) if not _of_name(name, meanings)]
            if absent:
                notes.append(_note(metric, budget, absent, spec.formats))
            if ids and against != []:
                if against and budget.against not in (against[0].id, against[0].format):
                    notes.append(f"{_called(metric, budget)} is measured from '{against[0].id}', which is made like it")
                changes = {"formats": tuple(ids), "against": against[0].id if against else None}
                found.append((metric, budget.model_copy(update=changes)))
    return Applicable(tuple(found), (*notes, *_untold(policy, spec, meanings)))


@dataclass(frozen=True)
class _Meaning:
    """What a policy may call a format: id, preset (None: a composition), and presets that it is made like."""

    id: str
    format: str | None
    like: tuple[str, ...]

    def is_called(self, name: str) -> bool:
        return name in (self.id, self.format, *self.like)


def _like(use: FormatUse, spec: AuditSpec) -> tuple[str, ...]:
    # A device's options can make of litert-int8 what litert-int8-reference is.
    queried = [spec.devices[name].options for one, name in spec.places if one == use]
    return presets_like(use, [runtime for options in queried for runtime, values in options.items() if values])


def _untold(policy: PolicySpec, spec: AuditSpec, meanings: Sequence[_Meaning]) -> Iterator[str]:
    """Yield what a policy with limits of its own for some formats should know about the others.

    A preset under any name is what it is. What is composed may be a preset with a pass that changes nothing, and what a
    file of others is only audit.yaml says: either could be a way around a limit.
    """
    named = {name for budgets in policy.budgets.values() for budget in budgets for name in budget.formats or ()}
    free = [one for one in meanings if one.format not in REFERENCES.values() and not any(map(one.is_called, named))]
    if not named:
        return
    composed = [f"'{one.id}'" for one in free if one.format is None]
    foreign = [f"'{one.id}'" for one in free if one.format is not None and spec.target is not None]
    for names, one, several in (
        (composed, "is a composition", "are compositions"),
        (foreign, "is a foreign file", "are foreign files"),
    ):
        if names:
            yield f"{listed(names)} {one if len(names) == 1 else several} that no budget with formats names"


def _named(budget: BudgetSpec) -> Sequence[str]:
    return (*(budget.formats or ()), *((budget.against,) if budget.against else ()))


def _of_name(name: str, meanings: Sequence[_Meaning]) -> list[_Meaning]:
    """Return the formats that a name stands for: the one of this id, then its preset's, then those made like it."""
    return sorted(
        (one for one in meanings if one.is_called(name)), key=lambda one: (one.id != name, one.format != name)
    )


def _limited(budget: BudgetSpec, meanings: Sequence[_Meaning]) -> list[_Meaning]:
    if budget.formats is None:
        return [one for one in meanings if one.format not in REFERENCES.values()]
    return [one for one in meanings if any(map(one.is_called, budget.formats))]


def _called(metric: str, budget: BudgetSpec) -> str:
    limit = f"<= {budget.max:g}" if budget.max is not None else f"<= {budget.against} + {budget.max_increase:g}"
    return f"budget {metric} {limit}"


def _note(metric: str, budget: BudgetSpec, absent: Sequence[str], uses: Sequence[FormatUse]) -> str:
    known = [use.id for use in uses]
    # A preset that this audit does not have is no slip of the pen; another name may be one.
    names = ", ".join(f"'{name}'{'' if name in FORMATS else meant(name, [*known, *FORMATS])}" for name in absent)
    return f"{_called(metric, budget)} names what is not among this audit's formats: {names}"


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
