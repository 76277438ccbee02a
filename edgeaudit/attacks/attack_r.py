"""Attack R: the rank of the target's loss among models that did not see the record."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Evidence, Needs, Scores
from edgeaudit.attacks.signals import shadow_losses, target_losses

__all__ = ["AttackR"]


class AttackR(Attack):
    """Score 1 - F_OUT(loss), F_OUT(l) = #{OUT k: L_k <= l} / K_i: the share of OUT shadows with a larger loss.

    There are K + 1 scores, and a record whose loss is below that of all its OUT shadows scores 1. Under H0 that
    happens to 1 of K + 1 nonmembers, so no threshold has an FPR much below 1/K.

    Source: Ye et al., "Enhanced Membership Inference Attacks against Machine Learning Models" (CCS 2022), attack R
    (reference models). We use the plain empirical CDF; nothing is interpolated. The p-value of the same rank is
    `cm-mia`'s `ecdf`.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="attack-r",
        variants=("rank",),
        summary="share of OUT shadows whose loss is larger",
        paper="Ye et al., CCS 2022",
        needs=Needs(shadows=1, out=1),
    )

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # noqa: ARG002
        as_small = ((shadow_losses(evidence) <= target_losses(evidence)) & evidence.out).sum(axis=0)
        return Scores(np.asarray(1 - as_small / evidence.out.sum(axis=0), dtype=np.float64))
