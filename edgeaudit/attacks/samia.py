"""SAMIA, the self-attention attack on pruned models: a small transformer on the answer and its sensitivity to noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeaudit.attacks.attention import AttentionClassifier
from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, IntArray, ShadowAnswers

__all__ = ["Samia"]

_MOST_TOKENS = 120_000
_MOST_ROWS = 8_000


class Samia(Attack):
    """Score: log odds of membership by a transformer with one token (p_j, s_j, [j = y]) for every class j of an answer.

    s_j is the sensitivity, the mean of |p_j(x + e) - p_j(x)| over the noise views. The transformer is trained on the
    shadows' IN and OUT reference answers with equal weight of both, so its natural threshold is 0. At most 8,000 rows
    (fewer above 15 classes).

    Source: Yuan & Zhang, "Membership Inference Attacks and Defenses in Neural Network Pruning" (USENIX Security 2022),
    section 4.3. Deviations: the noise is one input step or more; they add 1e-3 to values between 0 and 1, which an
    integer input rounds away. p and s are standardised. The network is smaller (two layers, width 16) and read at the
    true class; theirs (three layers, width 64) is read at all classes together.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="samia",
        variants=("attention",),
        summary="transformer on the answer, its sensitivity to noise and the label, trained on shadows",
        paper="Yuan & Zhang, USENIX Security 2022",
        needs=Needs(shadows=1, examples=50, classes=True, views="noise"),
        threshold=0.0,
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Learned:  # noqa: ARG002
        k, n = reference.out.shape
        most = min(_MOST_ROWS, _MOST_TOKENS // shadows.shadows.shape[2])
        known = reference.take(np.linspace(0, n - 1, min(n, max(1, most // k))).astype(np.int64))
        noisy = [view for view in known.views if view.is_of("noise")]
        tokens = [
            _tokens(answers, [view.shadows[shadow] for view in noisy], known)
            for shadow, answers in enumerate(known.shadows)
        ]
        labels: IntArray = np.tile(known.labels, k)
        return _Learned(AttentionClassifier.fit(np.concatenate(tokens), labels, ~known.out.ravel()))


@dataclass(frozen=True)
class _Learned:
    classifier: AttentionClassifier

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        noisy = [view.target for view in evidence.views if view.is_of("noise")]
        tokens = _tokens(evidence.target, noisy, evidence)
        return Scores(self.classifier.log_odds(tokens, evidence.labels))


def _tokens(answers: FloatArray, noisy: list[FloatArray], source: ShadowAnswers | Evidence) -> FloatArray:
    """Return (p, s, is the true class) of every class, float64 [n, classes, 3]."""
    p = source.task.probabilities(answers, source.exposure)
    sensitivity = np.mean([np.abs(source.task.probabilities(view, source.exposure) - p) for view in noisy], axis=0)
    true = np.arange(p.shape[1]) == source.labels[:, None]
    return np.stack((p, sensitivity, true), axis=-1)
