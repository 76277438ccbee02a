"""Sections of single attacks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgeaudit.config.base import Section

__all__ = ["CmMiaSpec", "LabelOnlySpec", "LossTrajectorySpec"]


class CmMiaSpec(Section):
    """CM-MIA's settings; see docs/attacks/cm-mia.md."""

    fraction: float = Field(0.1, gt=0, le=1)
    neighbours: int = Field(5, ge=1)
    beta: float = Field(0.1, gt=0)
    alpha: float | None = Field(None, gt=0)
    d0: Literal["eb"] | Annotated[float, Field(gt=0)] = "eb"
    cutoffs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None


class LabelOnlySpec(Section):
    """The boundary search of the attack `label-only`, which runs where `attacks` names it; see its page.

    records: how many audited records are searched for, evenly spaced. queries: at most, a record. shadows: how many of
    them are searched, too, on as many reference records.
    """

    records: int = Field(200, ge=20)
    queries: int = Field(1000, ge=50)
    shadows: int = Field(1, ge=1)


class LossTrajectorySpec(Section):
    """The students of the attack `loss-trajectory`, which are trained where `attacks` names it; see its page.

    epochs: of each student, and so the losses in a trajectory. records: reference records at most that one learns from.
    shadows: how many of them get a student, too.
    """

    epochs: int = Field(30, ge=2)
    records: int = Field(5000, ge=20)
    shadows: int = Field(1, ge=1)
