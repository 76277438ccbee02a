"""Sections `controls` and `quality`: checks of the audit itself, and the cost of formats."""

from __future__ import annotations

from pydantic import Field

from edgeaudit.config.base import Section

__all__ = ["ControlsSpec", "QualitySpec"]


class ControlsSpec(Section):
    """Checks of the audit itself; one that fails makes it invalid."""

    null_targets: int | None = Field(None, ge=0, le=1024, alias="null-targets")
    """Models that trained on no audited record, in which nothing must be found; 1, or 0 with given shadows."""
    shift: bool = True
    """Compare members with nonmembers as records, before any model is queried."""


class QualitySpec(Section):
    """Measurements of a format's cost."""

    latency: bool = True
    """Time the first target's file in each format, about a second a format, while nothing else runs."""
    repetitions: int = Field(200, ge=20, le=100_000)
    """Maximum number of timed calls per batch size."""
