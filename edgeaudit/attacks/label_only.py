"""Label-only attacks: what a device gives away that answers with a class and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Learned, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, ShadowAnswers
from edgeaudit.attacks.threshold import youden_threshold

__all__ = ["LabelOnly"]


class LabelOnly(Attack):
    """Scores that need no more of an answer than its largest class.

    Variant `augmentation`: how many of the record and its views (`threat.views`) the model classifies correctly, a
    whole number from 0 to the number of queries. A model is robust around what it trained on. Where several classes
    share the largest answer the first counts, as in deployment. Its threshold is learned like every other, from
    shadows that play the target.

    Variant `boundary`: the L2 distance to the decision boundary that HopSkipJump found, 0 for a misclassified record,
    less the threshold that tells apart the shadows' distances on reference records they did and did not train on; so
    its natural threshold is 0.

    Source: Choquette-Choo et al., "Label-Only Membership Inference Attacks" (ICML 2021), sections 4.2 and 4.3. We
    deviate for `augmentation`: they train a network on which of the queries were answered correctly; we count them,
    which needs no shadow to score.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="label-only",
        variants=("augmentation", "boundary"),
        summary="how robust the predicted class is around the record",
        paper="Choquette-Choo et al., ICML 2021",
        needs=Needs(views="any"),
        variant_needs={"boundary": Needs(shadows=1, trace="boundary")},
        variant_thresholds={"boundary": 0.0},
        reads_labels=("augmentation", "boundary"),
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> Learned:  # noqa: ARG002
        if variant == "augmentation":
            return _Counts()
        distances, members = reference.traces["boundary"].examples(reference.out)
        return _Distance(youden_threshold(distances[:, 0], members))


@dataclass(frozen=True)
class _Counts:
    """Of `augmentation`, which learns nothing."""

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        answers = (evidence.target, *(view.target for view in evidence.views))
        correct = [evidence.task.correct(one, evidence.labels) for one in answers]
        return Scores(np.sum(correct, axis=0, dtype=np.float64))


@dataclass(frozen=True)
class _Distance:
    """The distance that tells members from nonmembers."""

    threshold: float

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        return Scores(evidence.traces["boundary"].target[:, 0] - self.threshold)
