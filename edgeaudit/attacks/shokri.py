"""Shokri's attack: a membership classifier trained on the shadows' answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, IntArray, ShadowAnswers
from edgeaudit.attacks.shadow_examples import MOST_CATEGORIES, MembershipClassifier, shadow_examples

__all__ = ["Shokri"]

_MOST_ROWS = 50_000
_MOST_CELLS = 5_000_000


class Shokri(Attack):
    """Score: log odds of membership by a classifier on (p, y), trained on the shadows' IN and OUT reference answers.

    IN and OUT answers have equal weight, so its natural threshold is 0. At most 50,000 rows (fewer above 100 classes).

    Source: Shokri et al., "Membership Inference Attacks Against Machine Learning Models" (S&P 2017). Deviations: one
    gradient-boosted model with the class as a feature, instead of a network for every class; and p_y is a separate
    column, since trees do not recover it from (p, y) with many classes.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="shokri",
        variants=("classifier",),
        summary="classifier on the answer and the label, trained on shadows",
        paper="Shokri et al., S&P 2017",
        needs=Needs(shadows=1, examples=50, classes=True),
        threshold=0.0,
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Learned:  # noqa: ARG002
        known = shadow_examples(reference, min(_MOST_ROWS, _MOST_CELLS // shadows.shadows.shape[2]))
        few = max(labels.max(initial=0) for labels in (known.labels, shadows.labels)) < MOST_CATEGORIES
        features = _features(known.answers, known.labels)
        return _Learned(MembershipClassifier.fit(features, known.members, category=0 if few else None))


@dataclass(frozen=True)
class _Learned:
    classifier: MembershipClassifier

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        answers = evidence.task.probabilities(evidence.target, evidence.exposure)
        return Scores(self.classifier.log_odds(_features(answers, evidence.labels)))


def _features(answers: FloatArray, labels: IntArray) -> FloatArray:
    """Return y, p_y and p, float64 [n, 2 + classes]."""
    true = answers[np.arange(len(labels)), labels]
    return np.column_stack((labels, true, answers))
