"""Attack R: the rank of the target's loss among models that did not see the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.signals import shadow_losses, target_losses

__all__ = ["AttackR"]


class AttackR(Attack):
    """Score 1 - F_OUT(loss), F_OUT(l) = #{OUT k: L_k <= l} / K_i: the share of OUT shadows with a larger loss.

    There are K + 1 possible scores. A record whose loss is below that of all its OUT shadows scores 1; under H0 this
    is so for 1 of K + 1 nonmembers, so no threshold has an FPR much below 1/K.

    Source: Ye et al., "Enhanced Membership Inference Attacks against Machine Learning Models" (CCS 2022), attack R
    (reference models). This is the plain empirical CDF, without interpolation. `cm-mia`'s `ecdf` gives the p-value of
    the same rank.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="attack-r",
        variants=("rank",),
        summary="share of OUT shadows whose loss is larger",
        paper="Ye et al., CCS 2022",
        needs=Needs(shadows=1, out=1),
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Losses:  # noqa: ARG002
        return _Losses(shadow_losses(shadows), shadows.out)


@dataclass(frozen=True)
class _Losses:
    """Losses of the shadows, float64 [K, n], and their out mask, bool [K, n]."""

    losses: FloatArray
    out: BoolArray

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        as_small = ((self.losses <= target_losses(evidence)) & self.out).sum(axis=0)
        return Scores(np.asarray(1 - as_small / self.out.sum(axis=0), dtype=np.float64))
