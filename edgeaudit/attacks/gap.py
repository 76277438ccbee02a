"""The gap attack: predict member where the model classifies the record correctly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence

__all__ = ["Gap"]


class Gap(Attack):
    """Score 1 where the largest output is the true class's, 0 elsewhere; its threshold is 0.5.

    Balanced accuracy is 1/2 + (train - test accuracy)/2. It needs labels only, so it is always reported: the baseline
    that costs an attacker nothing. Of equally large outputs the first counts, as in deployment.

    Source: Yeom et al., "Privacy Risk in Machine Learning" (CSF 2018), adversary 1 for a 0/1 loss; named the gap
    attack by Choquette-Choo et al. (ICML 2021).
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="gap",
        variants=("label",),
        summary="member where the model classifies the record correctly",
        paper="Yeom et al., CSF 2018; Choquette-Choo et al., ICML 2021",
        needs=Needs(classes=True),
        threshold=0.5,
        reads_labels=("label",),
    )

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # noqa: ARG002
        return Scores(evidence.task.correct(evidence.target, evidence.labels).astype(np.float64))
