"""Label-only attacks: the leakage of a device that returns the predicted class only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Learned, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, ShadowAnswers
from edgeaudit.attacks.threshold import youden_threshold

__all__ = ["LabelOnly"]


class LabelOnly(Attack):
    """Scores that read nothing of an answer but the predicted class.

    Variant `augmentation`: the number of correct classifications of the record and its views (`threat.views`), from 0
    to the number of queries. A model is more robust around records it trained on. Of equally large outputs the first
    counts, as in deployment. The threshold is learned as for every other attack, from shadows that play the target.

    Variant `boundary`: the L2 distance to the decision boundary as estimated by HopSkipJump, 0 for a misclassified
    record, minus the threshold that best separates the shadows' distances on their IN and OUT reference records; so its
    natural threshold is 0.

    Source: Choquette-Choo et al., "Label-Only Membership Inference Attacks" (ICML 2021), sections 4.2 and 4.3.
    Deviation for `augmentation`: they train a network on the vector of correct and incorrect answers; counting the
    correct ones needs no shadow to score.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="label-only",
        variants=("augmentation", "boundary"),
        summary="robustness of the predicted class around the record",
        paper="Choquette-Choo et al., ICML 2021",
        needs=Needs(classes=True, views="any"),
        variant_needs={"boundary": Needs(shadows=1, classes=True, trace="boundary")},
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
    """The variant `augmentation`, which learns nothing from shadows."""

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        answers = (evidence.target, *(view.target for view in evidence.views))
        correct = [evidence.task.correct(query, evidence.labels) for query in answers]
        return Scores(np.sum(correct, axis=0, dtype=np.float64))


@dataclass(frozen=True)
class _Distance:
    """The variant `boundary`. threshold: the distance that best separates the shadows' members from nonmembers."""

    threshold: float

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        return Scores(evidence.traces["boundary"].target[:, 0] - self.threshold)
