"""The declaration of an attack and the type of its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgeaudit.attacks.evidence import FloatArray
from edgeaudit.attacks.needs import Needs
from edgeaudit.errors import AttackError

__all__ = ["AttackSpec", "Mode", "Scores"]

Mode = Literal["adversary", "auditor"]
"""What shadows train on: reference records (`adversary`), or audited ones, so that online variants run (`auditor`)."""


@dataclass(frozen=True)
class Scores:
    """The result of an attack on one target.

    score: float64 [records], higher = member.
    p_value: float64 [records] in [0, 1], one-sided under H0 "not a member". It is conformal: the rank of the score
        among those of `known` records that the target did not train on, valid where the audited nonmembers come from
        the same population. None where there are no such records, or the attack has no p-value.
    nominal: float64 [records] in [0, 1], the p-value under the test's own model of nonmembers. Real nonmembers need not
        follow that model, so it serves for ranking only.
    known: the number m of records behind p_value, whose smallest value is 1/(m + 1).
    """

    score: FloatArray
    p_value: FloatArray | None = None
    nominal: FloatArray | None = None
    known: int = 0


@dataclass(frozen=True)
class AttackSpec:
    """Declaration of an attack and its requirements; readable without running it.

    name, variants: identify rows of the report. paper: the source.
    needs: requirements of every variant that `variant_needs` does not list.
    calibrated_p: variants whose `Scores.p_value` is conformal, and so valid for nonmembers of real targets by
        construction. A rank among shadows is not valid: shadows of one pool are closer to each other than to the
        target.
    threshold: the attack's natural threshold (member where score >= threshold), if it has one.
    variant_thresholds: natural thresholds of single variants, which override `threshold`.
    defaults: settings and their default values, as arguments of the class.
    headline: variants that may stand for the attack in summaries and budgets, in order of preference; all where empty.
        `headlines_in` puts online ones where the mode wants them.
    reads_margins: variants that read nothing of an answer but the true class's margin, so that the mean margin of
        several answers can replace one.
    reads_labels: variants that also work where only the predicted class is known.
    """

    name: str
    variants: tuple[str, ...]
    summary: str
    paper: str
    needs: Needs = field(default_factory=Needs)
    variant_needs: Mapping[str, Needs] = field(default_factory=dict)
    calibrated_p: tuple[str, ...] = ()
    threshold: float | None = None
    variant_thresholds: Mapping[str, float] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)
    headline: tuple[str, ...] = ()
    reads_margins: tuple[str, ...] = ()
    reads_labels: tuple[str, ...] = ()

    @property
    def headlines(self) -> tuple[str, ...]:
        """See `headline`; the order of a mode is that of `headlines_in`."""
        return self.headline or self.variants

    def headlines_in(self, mode: Mode) -> tuple[str, ...]:
        """Return the headline variants in order: online ones first in auditor mode, last in adversary mode.

        The first one that can be run stands for the attack.
        """
        return tuple(sorted(self.headlines, key=lambda variant: self.is_online(variant) is not (mode == "auditor")))

    def is_online(self, variant: str) -> bool:
        """Return whether `variant` compares shadows that trained on the record with those that did not.

        Raises `AttackError` for an unknown variant.
        """
        return self.needs_of(variant).inside > 0

    def needs_of(self, variant: str) -> Needs:
        """Return the requirements of `variant`. Raises `AttackError` for an unknown variant."""
        if variant not in self.variants:
            raise AttackError(f"'{self.name}' has no variant '{variant}'; it has: {', '.join(self.variants)}")
        return self.variant_needs.get(variant, self.needs)

    def threshold_of(self, variant: str) -> float | None:
        """Return the natural threshold of `variant`, or None."""
        return self.variant_thresholds.get(variant, self.threshold)
