"""An attack with a setting of its own: `attacks: [{power-confidence: {power: 3.0}}]`."""

from edgeaudit.attacks.base import Attack, AttackSpec, Evidence, Needs, Scores
from edgeaudit.attacks.signals import mean_shadow_probability, target_probabilities


class PowerConfidence(Attack):
    """The target's probability of the true class to a power, less that of shadows that did not train on the record."""

    spec = AttackSpec(
        "power-confidence", ("only",), "powered confidence, less the shadows'", "an example",
        Needs(shadows=1, out=1), defaults={"power": 2.0},
    )  # fmt: skip

    def __init__(self, power: float = 2.0) -> None:
        self.power = power

    def _score(self, evidence: Evidence, variant: str, reference: Evidence) -> Scores:  # noqa: ARG002
        shadows = mean_shadow_probability(evidence, evidence.out)
        return Scores(target_probabilities(evidence) ** self.power - shadows**self.power)
