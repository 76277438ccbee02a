"""The sections of single attacks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgeaudit.config.base import Section

__all__ = [
    "DEFAULT", "NEED_CLASSES", "WITH_SECTIONS", "WITH_TRACES", "CmMiaSpec", "LabelOnlySpec", "LossTrajectorySpec",
]  # fmt: skip

WITH_SECTIONS = ("cm-mia", "label-only", "loss-trajectory")
"""Attacks whose settings have their own section of audit.yaml."""
WITH_TRACES = ("label-only", "loss-trajectory")
"""Attacks that need further queries or training, which only run where `attacks` names them."""
DEFAULT = ("cm-mia", "lira", "yeom", "gap")
"""Attacks of an audit that names none."""
NEED_CLASSES = ("gap",)
"""Of these and of `target.ALONE`, those that read which class is predicted."""


class CmMiaSpec(Section):
    """Settings of the attack `cm-mia`; see docs/attacks/cm-mia.md."""

    fraction: float = Field(0.1, gt=0, le=1)
    """Share of the audited records that is selected as abnormal."""
    neighbours: int = Field(5, ge=1, le=10_000)
    """Nearest reference records whose mean distance ranks a record."""
    beta: float = Field(0.1, gt=0)
    """`alpha-beta` selects records that expect fewer neighbours than this in a training set."""
    alpha: float | None = Field(None, gt=0)
    """Cosine distance within which a reference record is a neighbour; by default derived from `fraction`."""
    d0: Literal["eb"] | Annotated[float, Field(gt=0)] = "eb"
    """Prior degrees of freedom of the test `t`: `eb` (empirical Bayes), or a number."""
    cutoffs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None
    """P-values at or below which an abnormal record is called a member."""


class LabelOnlySpec(Section):
    """The boundary search of the attack `label-only`, which runs only where `attacks` names it; see its page."""

    records: int = Field(200, ge=20)
    """Audited records that are searched, evenly spaced."""
    queries: int = Field(1000, ge=50, le=1_000_000)
    """Maximum number of queries per record."""
    shadows: int = Field(1, ge=1)
    """Shadows that are searched as well, on as many reference records."""


class LossTrajectorySpec(Section):
    """The students of the attack `loss-trajectory`, trained only where `attacks` names it; see its page."""

    epochs: int = Field(30, ge=2, le=1_000_000)
    """Epochs of each student, and so losses in a trajectory."""
    records: int = Field(5000, ge=20)
    """Maximum number of reference records that a student learns from."""
    shadows: int = Field(1, ge=1)
    """Shadows that get a student as well."""
