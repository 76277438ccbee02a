"""Label-only attacks: what a device gives away that answers with a class and nothing else."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Evidence, Needs, Scores
from edgeaudit.attacks.many_queries import as_shown

__all__ = ["LabelOnly"]


class LabelOnly(Attack):
    """Scores that need no more of an answer than its largest class.

    Variant `augmentation`: how many of the record and its views (`threat.views`) the model classifies correctly, a
    whole number from 0 to the number of queries. A model is robust around what it trained on. Where several classes
    share the largest answer the first counts, as in deployment. Its threshold is learned like every other, from
    shadows that play the target.

    Source: Choquette-Choo et al., "Label-Only Membership Inference Attacks" (ICML 2021), section 4.2. We deviate:
    they train a network on which of the queries were answered correctly; we count them, which needs no shadow and,
    with as few queries as an audit asks, ranks about as well.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="label-only",
        variants=("augmentation",),
        summary="how robust the predicted class is around the record",
        paper="Choquette-Choo et al., ICML 2021",
        needs=Needs(views="any"),
    )

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # noqa: ARG002
        right = [shown.target.argmax(axis=1) == shown.labels for shown in as_shown(evidence)]
        return Scores(np.sum(right, axis=0, dtype=np.float64))
