"""Attack P: the rank of a record's loss among the target's losses on records it did not train on."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.signals import target_losses

__all__ = ["AttackP"]


class AttackP(Attack):
    """Score -p, p = (1 + #{z: L_z <= L_x}) / (m + 1), over the m reference records z; equal p-values remain tied.

    Needs no shadows. p is a conformal p-value: valid where the reference records are exchangeable with the audited
    nonmembers, that is, drawn from the same population.

    Source: Ye et al., "Enhanced Membership Inference Attacks against Machine Learning Models" (CCS 2022), attack P
    (population). Their quantile of the population's loss is p without the two 1s.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="attack-p",
        variants=("quantile",),
        summary="rank of the loss among the target's losses on reference records",
        paper="Ye et al., CCS 2022",
        needs=Needs(reference=10),
        calibrated_p=("quantile",),
    )

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # noqa: ARG002
        population = np.sort(target_losses(reference))
        as_small = np.searchsorted(population, target_losses(evidence), side="right")
        p_value = np.asarray((1 + as_small) / (len(population) + 1), dtype=np.float64)
        return Scores(-p_value, p_value, known=len(population))
