"""The section `canaries`: records that are planted into the target's training to be found again."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgeaudit.config.base import Section

__all__ = ["LEAST", "CanariesSpec", "CanaryKind"]

LEAST = 40
"""Canaries below which intervals say nothing."""

CanaryKind = Literal["mislabelled", "duplicated", "out-of-distribution"]


class CanariesSpec(Section):
    """Planted records: half of them are trained on, the other half are held out."""

    records: int = Field(100, ge=LEAST, le=1_000_000)
    """Number of canaries, made from reference records that serve for nothing else."""
    kind: CanaryKind = "mislabelled"
    """`mislabelled`: another label than the record's; `duplicated`: as they are, repeated; `out-of-distribution`."""
    repeats: int = Field(1, ge=1, le=10_000)
    """Number of times that a planted canary is in the training records."""

    @model_validator(mode="after")
    def _duplicated_is_repeated(self) -> Self:
        if self.kind == "duplicated" and self.repeats == 1:
            raise ValueError("canaries of kind 'duplicated' train more than once: set 'repeats' to 2 or more")
        return self
