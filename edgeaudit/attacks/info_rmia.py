"""InfoRMIA: the logarithm of RMIA's likelihood ratio, without pairwise comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.rmia import OFFLINE_A, average_probability, likelihood_ratio

__all__ = ["InfoRmia"]


class InfoRmia(Attack):
    """Score log(p_x / p(x)) in nats, with the p(x) of `rmia`; without RMIA's ties in steps of 1/m.

    Source: Tao & Shokri, "(Token-Level) InfoRMIA: Stronger Membership Inference and Memorization Assessment for LLMs"
    (2025). Their mean over reference records is one constant for all records of a target. It cannot change the ranking
    and is omitted, so no reference answers are needed.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="info-rmia",
        variants=(*OFFLINE_A, "online"),
        summary="log of the record's probability relative to the average over models",
        paper="Tao, Shokri, 2025",
        needs=Needs(shadows=1, out=1),
        variant_needs={"online": Needs(shadows=2, out=1, inside=1)},
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Average:  # noqa: ARG002
        return _Average(average_probability(shadows, variant))


@dataclass(frozen=True)
class _Average:
    """audited: p(x), float64 [n]."""

    audited: FloatArray

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        return Scores(np.asarray(np.log(likelihood_ratio(evidence, self.audited)), dtype=np.float64))
