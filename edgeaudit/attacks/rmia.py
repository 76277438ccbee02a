"""RMIA: pairwise comparison of the record's likelihood ratio with those of reference records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.signals import mean_shadow_probability, target_probabilities
from edgeaudit.errors import AttackError

__all__ = ["OFFLINE_A", "Rmia", "average_probability", "likelihood_ratio"]

OFFLINE_A = {"offline-0.3": 0.3, "offline-0": 0.0, "offline-0.6": 0.6}


class Rmia(Attack):
    """Score Pr_z[(p_x / p(x)) / (p_z / p(z)) > gamma] over the reference records z: a share, with ties in steps of 1/m.

    p_x is the target's true-class probability, p(x) its average over models (see `average_probability`). A reference
    record without OUT shadow has no p(z) and is not used as a z.

    Variants: `offline-a` for a = 0.3 (the paper's choice for 10 classes), 0, 0.6 (for 100). The best a depends on the
    data set; it is never chosen on the audited memberships. `online` needs IN shadows for every scored record.

    Cost: the z's are sorted once and every record is one binary search, O((n + m) log m), without an n x m matrix.

    Args:
        gamma: factor by which the ratio of x must exceed that of z; above 0.

    Source: Zarifzadeh, Liu, Shokri, "Low-Cost High-Power Membership Inference Attacks" (ICML 2024). Deviation: p is the
    clipped softmax, not its Taylor variant.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="rmia",
        variants=(*OFFLINE_A, "online"),
        summary="share of reference records whose likelihood ratio the record's exceeds twofold",
        paper="Zarifzadeh, Liu, Shokri, ICML 2024",
        needs=Needs(shadows=1, out=1, reference=10),
        variant_needs={"online": Needs(shadows=2, out=1, inside=1, reference=10)},
        defaults={"gamma": 2.0},
    )

    def __init__(self, gamma: float = 2.0) -> None:
        if not gamma > 0:
            raise AttackError(f"attacks: 'rmia': gamma must be above 0: {gamma}")
        self.gamma = gamma

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Averages:
        audited, known = (average_probability(answers, variant) for answers in (shadows, reference))
        return _Averages(audited, known, np.asarray(reference.out.any(axis=0), dtype=np.bool_), self.gamma)


@dataclass(frozen=True)
class _Averages:
    """audited: p(x), float64 [n]. reference: p(z), float64 [m]. served: bool [m], where p(z) exists."""

    audited: FloatArray
    reference: FloatArray
    served: BoolArray
    gamma: float

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:
        z = np.sort(likelihood_ratio(reference, self.reference)[self.served])
        exceeded = np.searchsorted(z, likelihood_ratio(evidence, self.audited) / self.gamma, side="left")
        return Scores(np.asarray(exceeded / len(z), dtype=np.float64))


def likelihood_ratio(evidence: Evidence, average: FloatArray) -> FloatArray:
    """Return p_x / p(x) of every record, float64 [n], > 0; NaN where `average`, which is p(x), is NaN."""
    return np.asarray(target_probabilities(evidence) / average, dtype=np.float64)


def average_probability(answers: ShadowAnswers, variant: str) -> FloatArray:
    """Return p(x) of every record, float64 [n], > 0; NaN for a record without OUT shadow.

    offline: p(x) = ((1 + a) p_out + 1 - a) / 2, with p_out the mean over all of the record's OUT shadows; p_in is
    assumed to be a p_out + 1 - a. online: p(x) = (p_in + p_out) / 2, with the means over the IN and the OUT shadows, so
    that it does not depend on their numbers; p_out alone where no shadow trained on the record, as for some reference
    records. x and z use the same rule.
    """
    p_out = mean_shadow_probability(answers, answers.out)
    if variant in OFFLINE_A:
        a = OFFLINE_A[variant]
        average = ((1 + a) * p_out + 1 - a) / 2
    else:
        p_in = mean_shadow_probability(answers, ~answers.out)
        average = np.where(np.isnan(p_in), p_out, (p_in + p_out) / 2)
    return np.asarray(average, dtype=np.float64)
