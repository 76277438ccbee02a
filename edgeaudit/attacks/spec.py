"""What an attack declares about itself, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeaudit.attacks.evidence import FloatArray
from edgeaudit.attacks.needs import Needs
from edgeaudit.errors import AttackError

__all__ = ["AttackSpec", "Scores"]


@dataclass(frozen=True)
class Scores:
    """What an attack answers.

    score: float64 [records], higher = member.
    p_value: float64 [records] in [0, 1], one-sided under H0 "not a member": the rank of the score among those of
        `known` records that the target did not train on (conformal), valid where audited nonmembers are drawn as they
        are. None where there are none, or the attack has no p-value.
    nominal: float64 [records] in [0, 1], what the test itself would call its p-value. It holds its level under the
        test's own model of nonmembers, which real ones need not follow: a ranking.
    known: the m of p_value, whose smallest is 1/(m + 1).
    """

    score: FloatArray
    p_value: FloatArray | None = None
    nominal: FloatArray | None = None
    known: int = 0


@dataclass(frozen=True)
class AttackSpec:
    """What an attack is and needs; readable without running it.

    name, variants: rows of the report are named by both. paper: its source.
    needs: of every variant that `variant_needs` does not name.
    calibrated_p: the variants whose `Scores.p_value` is conformal, and so valid for the nonmembers of real targets by
        construction. A rank among shadows is not: shadows of one pool resemble each other more than the target.
    threshold: the natural a-priori threshold (member where score >= threshold) of an attack that has one.
    variant_thresholds: those of single variants, which go before it.
    headline: variants that may stand for the attack, the first that could be run going first; all where empty.
    reads_margins: the variants that read nothing of an answer but the true class's margin, so that the mean margin of
        several answers can stand in for one.
    reads_labels: the variants that also make something of an answer of which only the largest class is known.
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
    defaults: Mapping[str, Any] = field(default_factory=dict)
    headline: tuple[str, ...] = ()
    reads_margins: tuple[str, ...] = ()
    reads_labels: tuple[str, ...] = ()

    @property
    def headlines(self) -> tuple[str, ...]:
        """See `headline`."""
        return self.headline or self.variants

    def needs_of(self, variant: str) -> Needs:
        """What `variant` needs. Raises `AttackError` where there is no such variant."""
        if variant not in self.variants:
            raise AttackError(f"'{self.name}' has no variant '{variant}'; it has: {', '.join(self.variants)}")
        return self.variant_needs.get(variant, self.needs)

    def threshold_of(self, variant: str) -> float | None:
        """The natural threshold of `variant`, or None."""
        return self.variant_thresholds.get(variant, self.threshold)
