"""The result of a control, as audit.json has it, and the false-alarm rate of controls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALARM", "Control", "Status"]

Status = Literal["holds", "failed", "undecided", "not run", "warning"]

ALARM = 0.01
"""Probability that a control fails on a sound audit; all tests of one control share it."""


@dataclass(frozen=True)
class Control:
    """The result of one control, a check of the audit itself.

    status: `failed` makes the audit invalid; `undecided` means that what a pass rests on is not shown, so that no
    budget can pass; `warning` is reported and does not change the verdict. value, low, high: the figure that was tested
    (an AUC of members against nonmembers, or a share) with its 95% interval. p_value: corrected for the control's other
    tests. n: number of records behind the figure. format null: the control covers the whole audit.
    """

    name: str
    status: Status
    statement: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    n: int | None = None
    format: str | None = None
    note: str | None = None
