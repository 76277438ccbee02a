"""The section `threat`: what the attacker sees and has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from edgeaudit.config.base import Section, as_list, each_once
from edgeaudit.config.exposures import parse_level
from edgeaudit.config.views import parse_view

__all__ = ["ThreatSpec"]


class ThreatSpec(Section):
    """What the attacker sees and has.

    mode: `adversary`, whose shadows never saw an audited record; `auditor`, the worst case: shadows train on random
    halves of the audited records, so that the online attacks run.
    views: how else each record is shown to every model (flip, shift-<pixels>, noise-<input steps>); none by default.
    weaker: what the same answers are measured at, too, as if less of them were returned (top-<classes>,
        rounded-<decimals>, label; probabilities where the exposure is logits); none by default.
    """

    mode: Literal["adversary", "auditor"] = "adversary"
    exposure: Literal["logits", "probabilities"] = "probabilities"
    shadows: int = Field(64, ge=0)
    shadow_match: Annotated[tuple[Literal["matched", "fp32"], ...], BeforeValidator(as_list), Field(min_length=1)] = (
        "matched",
    )
    views: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()
    weaker: Annotated[tuple[str, ...], BeforeValidator(as_list)] = ()

    @field_validator("views")
    @classmethod
    def _known_views(cls, views: tuple[str, ...]) -> tuple[str, ...]:
        return each_once(tuple(parse_view(name).name for name in views))

    @field_validator("weaker")
    @classmethod
    def _known_levels(cls, weaker: tuple[str, ...]) -> tuple[str, ...]:
        return each_once(tuple(parse_level(name).name for name in weaker))

    @model_validator(mode="after")
    def _weaker_than_the_exposure(self) -> ThreatSpec:
        if self.exposure in self.weaker:
            raise ValueError(
                f"weaker: '{self.exposure}' is what threat.exposure gives; leave it out, or set exposure: logits"
            )
        return self
