"""Yeom et al.'s loss attack."""

from __future__ import annotations

from typing import ClassVar

from edgeaudit.attacks.base import Attack, AttackSpec, Scores
from edgeaudit.attacks.evidence import Evidence
from edgeaudit.attacks.signals import target_losses

__all__ = ["Yeom"]


class Yeom(Attack):
    """Score -loss, in nats: members have a low loss, so a higher score means member.

    Source: Yeom et al., "Privacy Risk in Machine Learning" (CSF 2018), adversary 2. Deviation: they take the threshold
    from the training loss; here it is learned from shadows (see `threshold`).
    """

    spec: ClassVar[AttackSpec] = AttackSpec(
        name="yeom",
        variants=("loss",),
        summary="low loss of the true class",
        paper="Yeom et al., CSF 2018",
    )

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # noqa: ARG002
        return Scores(-target_losses(evidence))
