"""What a measurement is told: which attacks with which settings. Checked before anything runs."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from edgeaudit.attacks.cm_mia import RANK_TESTS, check_cutoff
from edgeaudit.attacks.registry import chosen_attacks, find_attack
from edgeaudit.errors import AttackError
from edgeaudit.recipes.base import source_digest
from edgeaudit.spec import AuditSpec

__all__ = ["DEFAULT_CUTOFFS", "measurement_inputs"]

DEFAULT_CUTOFFS = (0.01, 0.02, 0.05, 0.10)


def measurement_inputs(spec: AuditSpec) -> dict[str, Any]:
    """The part of a measurement's key that audit.yaml decides.

    Raises `AttackError` for an unknown attack, one that has too few shadows for every variant, and for a cutoff in
    audit.yaml that K shadows cannot resolve. The default cutoffs are not refused: those that K cannot resolve are
    reported as such, and so are variants that cannot be run.
    """
    k, names = spec.threat.shadows, chosen_attacks(spec.attacks)
    for name in names:
        about = find_attack(name).spec
        needs = min(about.needs_of(variant).shadows for variant in about.variants)
        if k < needs:
            raise AttackError(f"attacks: '{name}' needs at least {needs} shadows; threat.shadows is {k}")
    for cutoff in spec.cm_mia.cutoffs or ():
        for test in sorted(RANK_TESTS):
            check_cutoff(cutoff, k, test)
    settings = spec.cm_mia.model_dump(mode="json")
    return {
        "attacks": list(names),
        "cm_mia": settings | {"cutoffs": list(spec.cm_mia.cutoffs or DEFAULT_CUTOFFS)},
        "code": source_digest(
            "edgeaudit.attacks",
            "edgeaudit.leakage",
            "edgeaudit.jobs.measure",
            "edgeaudit.jobs.answers",
            "edgeaudit.jobs.p_values",
            "edgeaudit.views",
            "edgeaudit.exposures",
        ),
        "versions": {package: metadata.version(package) for package in ("numpy", "scipy", "scikit-learn")},
    }
