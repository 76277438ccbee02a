"""ML-Leaks: a classifier on the three largest probabilities, which needs no label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.shadow_examples import MembershipClassifier, shadow_examples

__all__ = ["MlLeaks"]

_MOST_ROWS = 50_000
_LARGEST = 3


class MlLeaks(Attack):
    """Score: log odds of membership by a classifier on the answer's three largest probabilities, in descending order.

    It is trained on the shadows' IN and OUT reference answers with equal weight of both, so its natural threshold is 0.
    It never reads the label. With two classes there are two probabilities.

    Source: Salem et al., "ML-Leaks" (NDSS 2019), adversary 1. Deviations: gradient boosting instead of their network,
    and all shadows instead of one.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="ml-leaks",
        variants=("top-3",),
        summary="classifier on the three largest probabilities, trained on shadows",
        paper="Salem et al., NDSS 2019",
        needs=Needs(shadows=1, examples=50, classes=True),
        threshold=0.0,
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Learned:  # noqa: ARG002
        known = shadow_examples(reference, _MOST_ROWS)
        return _Learned(MembershipClassifier.fit(_largest(known.answers), known.members))


@dataclass(frozen=True)
class _Learned:
    classifier: MembershipClassifier

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        answers = evidence.task.probabilities(evidence.target, evidence.exposure)
        return Scores(self.classifier.log_odds(_largest(answers)))


def _largest(answers: FloatArray) -> FloatArray:
    """Return the three largest values of each row, descending: float64 [n, min(3, classes)]."""
    return np.asarray(-np.sort(-answers, axis=1)[:, :_LARGEST], dtype=np.float64)
