"""Difficulty calibration: how much lower is the target's loss than that of models that did not see the record?"""

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
    with the loss as the score that is calibrated. Of a label alone the loss says whether it is right, so the score is
    whether the target is right less how often the shadows are.
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="watson",
        variants=("loss",),
        summary="mean loss of the OUT shadows less the target's",
        paper="Watson et al., ICLR 2022",
        needs=Needs(shadows=1, out=1),
        reads_labels=("loss",),
    )

    def _fit(self, shadows: ShadowAnswers, variant: str, reference: ShadowAnswers) -> _Difficulty:  # noqa: ARG002
        return _Difficulty(out_statistics(shadow_losses(shadows), shadows.out).mean)


@dataclass(frozen=True)
class _Difficulty:
    """The mean loss of the OUT shadows, [n]."""

    loss: FloatArray

    def score(self, evidence: Evidence, reference: Evidence) -> Scores:  # noqa: ARG002
        return Scores(self.loss - target_losses(evidence))
