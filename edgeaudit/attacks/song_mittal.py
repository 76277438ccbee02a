"""Song & Mittal's attack: modified entropy against a threshold for each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import BoolArray, Evidence, FloatArray, IntArray, ShadowAnswers
from edgeaudit.attacks.shadow_examples import shadow_examples
from edgeaudit.attacks.threshold import youden_threshold

__all__ = ["SongMittal", "modified_entropy"]

_MOST_ROWS = 200_000
# Minimum number of known members, and of nonmembers, of a class to learn its threshold.
_LEAST = 10


class SongMittal(Attack):
    """Score -Mentr - t_y, the distance of the record's modified entropy below its class's threshold; threshold 0.

    t_c is the threshold on -Mentr that maximises TPR - FPR over the shadows' reference answers of class c. A class with
    fewer than 10 known members or nonmembers uses the threshold of all classes together.

    Source: Song & Mittal, "Systematic Evaluation of Privacy Risks of Machine Learning Models" (USENIX Security 2021).
    They decide by each class's threshold. A score must be comparable between classes, for which the difference to the
    threshold is our choice.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="song-mittal",
        variants=("per-class",),
        summary="modified entropy against the class's threshold, learned on shadows",
        paper="Song, Mittal, USENIX Security 2021",
        needs=Needs(shadows=1, examples=_LEAST, classes=True),
        threshold=0.0,
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Thresholds:  # noqa: ARG002
        known = shadow_examples(reference, _MOST_ROWS)
        scores = -modified_entropy(known.answers, known.labels, shadows.floor)
        return _Thresholds(_class_thresholds(scores, known.members, known.labels, shadows.shadows.shape[2]))


@dataclass(frozen=True)
class _Thresholds:
    """thresholds: on -Mentr, float64 [classes]."""

    thresholds: FloatArray

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        answers = evidence.task.probabilities(evidence.target, evidence.exposure)
        return Scores(-modified_entropy(answers, evidence.labels, evidence.floor) - self.thresholds[evidence.labels])


def modified_entropy(answers: FloatArray, labels: IntArray, floor: float) -> FloatArray:
    """Return Mentr = -(1 - p_y) log p_y - sum over i != y of p_i log(1 - p_i) in nats, >= 0; lower = more member-like.

    p_y is clipped to [floor, 1 - floor], the other p_i only inside the logarithm, because many small probabilities
    raised to the floor would add up. A floor of 0 counts as 2^-52.

    Args:
        answers: probabilities [n, classes].
        labels: int [n].
        floor: see `Evidence.floor`.
    """
    least = max(floor, float(np.finfo(np.float64).eps))
    rows = np.arange(len(labels))
    true = np.clip(answers[rows, labels], least, 1 - least)
    terms = -answers * np.log(np.clip(1 - answers, least, 1.0))
    terms[rows, labels] = 0.0
    return np.asarray(-(1 - true) * np.log(true) + terms.sum(axis=1), dtype=np.float64)


def _class_thresholds(scores: FloatArray, members: BoolArray, labels: IntArray, classes: int) -> FloatArray:
    """Return the threshold of every class, float64 [classes]."""
    thresholds = np.full(classes, youden_threshold(scores, members))
    for label in np.unique(labels):
        of_class = labels == label
        inside = int((members & of_class).sum())
        if min(inside, int(of_class.sum()) - inside) >= _LEAST:
            thresholds[label] = youden_threshold(scores[of_class], members[of_class])
    return thresholds
