"""Which attacks a measurement runs, with which settings. Checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeaudit.attacks.cm_mia import RANK_TESTS, check_cutoff
from edgeaudit.attacks.registry import ALL, chosen_attacks, find_attack, make_attack, settings_of
from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import AttackError
from edgeaudit.stages.measure import CmMiaSettings

__all__ = ["DEFAULT_CUTOFFS", "AttackChoice", "choose_attacks"]

DEFAULT_CUTOFFS = (0.01, 0.02, 0.05, 0.10)


@dataclass(frozen=True)
class AttackChoice:
    """names: of the attacks that run, in the order of the report. cm_mia: settings of that attack.

    settings: name -> all settings of an attack to which audit.yaml gives any.
    """

    names: tuple[str, ...]
    cm_mia: CmMiaSettings
    settings: Mapping[str, Mapping[str, Any]]


def choose_attacks(spec: AuditSpec) -> AttackChoice:
    """The attacks that audit.yaml asks for.

    Raises `AttackError` for an unknown attack, settings that an attack does not have or cannot take, an attack that has
    too few shadows for every variant, and for a cutoff in audit.yaml that K shadows cannot resolve. The default cutoffs
    are not refused: those that K cannot resolve are reported as such, and so are variants that cannot be run.
    """
    k, names = spec.threat.shadows, chosen_attacks(spec.attacks)
    needs = {name: _least_shadows(name) for name in names}
    if ALL in spec.attacks and not spec.recipe_known:
        names = tuple(name for name in names if needs[name] == 0)
    for name, settings in spec.attack_settings.items():
        make_attack(name, settings)
    for name in names:
        if k < needs[name]:
            remedy = "" if spec.recipe_known else "; name the recipe that trains them in model.recipe"
            raise AttackError(f"attacks: '{name}' needs at least {needs[name]} shadows; threat.shadows is {k}{remedy}")
    for cutoff in (spec.cm_mia.cutoffs or ()) if spec.recipe_known else ():
        for test in sorted(RANK_TESTS):
            check_cutoff(cutoff, k, test)
    own = spec.cm_mia
    cm_mia = CmMiaSettings(
        fraction=own.fraction,
        neighbours=own.neighbours,
        alpha=own.alpha,
        beta=own.beta,
        d0=None if own.d0 == "eb" else float(own.d0),
        cutoffs=tuple(own.cutoffs or DEFAULT_CUTOFFS),
    )
    return AttackChoice(names, cm_mia, {name: settings_of(name, given) for name, given in spec.attack_settings.items()})


def _least_shadows(name: str) -> int:
    about = find_attack(name).spec
    return min(about.needs_of(variant).shadows for variant in about.variants)
