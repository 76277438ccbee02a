"""Which attacks a measurement runs, with which settings. Checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeaudit.attacks.cm_mia import RANK_TESTS, check_cutoff
from edgeaudit.attacks.registry import ALL, chosen_attacks, find_attack
from edgeaudit.config.audit import AuditSpec
from edgeaudit.config.entries import Params
from edgeaudit.errors import AttackError, did_you_mean

__all__ = ["DEFAULT_CUTOFFS", "AttackChoice", "choose_attacks"]

DEFAULT_CUTOFFS = (0.01, 0.02, 0.05, 0.10)


@dataclass(frozen=True)
class AttackChoice:
    """names: of the attacks that run, in the order of the report. cm_mia: settings of that attack."""

    names: tuple[str, ...]
    cm_mia: Mapping[str, Any]


def choose_attacks(spec: AuditSpec) -> AttackChoice:
    """The attacks that audit.yaml asks for.

    Raises `AttackError` for an unknown attack or setting, for an attack that has too few shadows for every variant, and
    for a cutoff in audit.yaml that K shadows cannot resolve. The default cutoffs are not refused: those that K cannot
    resolve are reported as such, and so are variants that cannot be run.
    """
    k, names = spec.threat.shadows, chosen_attacks(spec.attacks)
    needs = {name: _least_shadows(name) for name in names}
    if ALL in spec.attacks and not spec.recipe_known:
        names = tuple(name for name in names if needs[name] == 0)
    for name, given in spec.attack_settings.items():
        _require_settings(name, given)
    for name in names:
        if k < needs[name]:
            remedy = "" if spec.recipe_known else "; name the recipe that trains them in model.recipe"
            raise AttackError(f"attacks: '{name}' needs at least {needs[name]} shadows; threat.shadows is {k}{remedy}")
    for cutoff in (spec.cm_mia.cutoffs or ()) if spec.recipe_known else ():
        for test in sorted(RANK_TESTS):
            check_cutoff(cutoff, k, test)
    settings = spec.cm_mia.model_dump(mode="json")
    return AttackChoice(names, settings | {"cutoffs": list(spec.cm_mia.cutoffs or DEFAULT_CUTOFFS)})


def _least_shadows(name: str) -> int:
    about = find_attack(name).spec
    return min(about.needs_of(variant).shadows for variant in about.variants)


def _require_settings(name: str, settings: Params) -> None:
    known = tuple(find_attack(name).spec.defaults)
    unknown = next((key for key in settings if key not in known), None)
    if unknown is not None:
        has = f"it has: {', '.join(known)}.{did_you_mean(unknown, known)}" if known else "it has no settings"
        raise AttackError(f"attacks: '{name}' has no setting '{unknown}'; {has}")
