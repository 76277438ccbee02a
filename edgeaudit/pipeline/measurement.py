"""The attacks of a measurement and their settings, checked before anything runs."""

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
    """names: attacks to run, in the order of the report. cm_mia: settings of that attack.

    settings: name -> all settings of an attack that audit.yaml configures.
    """

    names: tuple[str, ...]
    cm_mia: CmMiaSettings
    settings: Mapping[str, Mapping[str, Any]]


def choose_attacks(spec: AuditSpec) -> AttackChoice:
    """The attacks that audit.yaml requests.

    Raises `AttackError` for an unknown attack, unknown or invalid settings, an attack that has too few shadows for
    every variant, and a cutoff in audit.yaml that K shadows cannot resolve. Default cutoffs that K cannot resolve and
    variants that cannot run are not errors; they are reported.
    """
    k, names = spec.shadow_count, chosen_attacks(spec.attacks)
    needs = {name: _least_shadows(name) for name in names}
    if ALL in spec.attacks and not k:
        names = tuple(name for name in names if needs[name] == 0)
    for name, settings in spec.attack_settings.items():
        make_attack(name, settings)
    for name in names:
        if k < needs[name]:
            remedy = "" if spec.recipe_known else "; name the recipe that trains them in model.recipe"
            raise AttackError(f"attacks: '{name}' needs at least {needs[name]} shadows; there are {k}{remedy}")
    for cutoff in (spec.cm_mia.cutoffs or ()) if k else ():
        for test in sorted(RANK_TESTS):
            check_cutoff(cutoff, k, test)
    configured = spec.cm_mia
    cm_mia = CmMiaSettings(
        fraction=configured.fraction,
        neighbours=configured.neighbours,
        alpha=configured.alpha,
        beta=configured.beta,
        d0=None if configured.d0 == "eb" else float(configured.d0),
        cutoffs=tuple(configured.cutoffs or DEFAULT_CUTOFFS),
    )
    return AttackChoice(
        names, cm_mia, {name: settings_of(name, values) for name, values in spec.attack_settings.items()}
    )


def _least_shadows(name: str) -> int:
    about = find_attack(name).spec
    return min(about.needs_of(variant).shadows for variant in about.variants)
