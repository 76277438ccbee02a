"""The result type of controls and their false-alarm rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALARM", "Finding", "Status"]

Status = Literal["holds", "failed", "warning", "not run"]

ALARM = 0.01
"""Probability that a control fails on a sound audit; all tests of one control share it."""


@dataclass(frozen=True)
class Finding:
    """The result of one control.

    status: `failed` makes the audit invalid; `warning` is reported and does not change the verdict.
    value, low, high: the tested figure and its 95% interval. p_value: corrected for the control's other tests.
    n: number of records behind the figure. format: None where the control covers the whole audit.
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
