"""Sections `controls` and `quality`: checks of the audit itself, and what a format costs."""

from __future__ import annotations

from pydantic import Field

from edgeaudit.config.base import Section

__all__ = ["ControlsSpec", "QualitySpec"]


class ControlsSpec(Section):
    """Checks of the audit itself; one that fails makes it invalid.

    null_targets: models that trained on none of the audited records; every attack must find nothing in them.
    shift: whether members and nonmembers differ already as records, before any model is asked.
    """

    null_targets: int = Field(1, ge=0, alias="null-targets")
    shift: bool = True


class QualitySpec(Section):
    """What a format costs beside what it leaks.

    latency: whether the first target's file is timed in each format, about a second a format, while nothing else runs.
    repetitions: calls that are timed for a batch, at most.
    """

    latency: bool = True
    repetitions: int = Field(200, ge=20)
