"""The section `threat`: what the attacker observes and possesses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from edgeaudit.config.base import Section, as_list, each_once
from edgeaudit.config.exposures import LEVEL_PATTERN, parse_level
from edgeaudit.config.views import VIEW_PATTERN, parse_view

__all__ = ["ThreatSpec"]


_Match = Literal["matched", "fp32"]
_View = Annotated[str, Field(pattern=VIEW_PATTERN)]
_Level = Annotated[str, Field(pattern=LEVEL_PATTERN)]


class ThreatSpec(Section):
    """What the attacker observes and possesses."""

    mode: Literal["adversary", "auditor"] = "adversary"
    """`adversary`: shadows never saw an audited record. `auditor`, the worst case: they train on random halves."""
    exposure: Literal["logits", "probabilities"] = "probabilities"
    """Output of the device."""
    shadows: int = Field(64, ge=0, le=1024)
    """Models that the attacker trains; the smallest p-value of a rank test is 1 / (shadows + 1)."""
    shadow_match: Annotated[
        tuple[_Match, ...],
        Field(min_length=1),
        BeforeValidator(as_list, json_schema_input_type=_Match | Annotated[tuple[_Match, ...], Field(min_length=1)]),
    ] = ("matched",)
    """`matched`: shadows go through the format's passes. `fp32`: they do not. A list of both compares the two."""
    views: Annotated[tuple[str, ...], BeforeValidator(as_list, json_schema_input_type=_View | tuple[_View, ...])] = ()
    """Additional views of each record for every model: flip, shift-<pixels>, noise-<input steps>[x<draws>]."""
    weaker: Annotated[
        tuple[str, ...], BeforeValidator(as_list, json_schema_input_type=_Level | tuple[_Level, ...])
    ] = ()
    """Weaker levels at which the same answers are measured: top-<classes>, rounded-<decimals>, label, probabilities."""

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
            raise ValueError(f"weaker: '{self.exposure}' is the exposure itself; remove it, or set exposure: logits")
        return self
