"""Watson et al.'s difficulty calibration: the target's loss relative to that of models not trained on the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeaudit.attacks.base import Attack, AttackSpec, Needs, Scores
from edgeaudit.attacks.evidence import Evidence, FloatArray, ShadowAnswers
from edgeaudit.attacks.out_statistics import out_statistics
from edgeaudit.attacks.signals import shadow_losses, target_losses

__all__ = ["Watson"]


class Watson(Attack):
    """Score mean OUT loss - loss of the target, in nats.

    Source: Watson et al., "On the Importance of Difficulty Calibration in Membership Inference Attacks" (ICLR 2022),
    with the loss as the calibrated score. Where only the label is returned, the loss has two values, for correct and
    incorrect, so the score is the target's correctness minus the share of correct shadows, up to a factor.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="watson",
        variants=("loss",),
        summary="mean loss of the OUT shadows minus the target's",
        paper="Watson et al., ICLR 2022",
        needs=Needs(shadows=1, out=1),
        reads_labels=("loss",),
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Difficulty:  # noqa: ARG002
        return _Difficulty(out_statistics(shadow_losses(shadows), shadows.out).mean)


@dataclass(frozen=True)
class _Difficulty:
    """loss: mean loss of the OUT shadows, float64 [n]."""

    loss: FloatArray

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        return Scores(self.loss - target_losses(evidence))
