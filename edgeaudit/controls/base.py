"""What every control answers, and how often it may be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ALARM", "Finding", "Status"]

Status = Literal["holds", "failed", "warning", "not run"]

ALARM = 0.01
"""Chance that a control fails on an audit that is in order; all tests of one control share it."""


@dataclass(frozen=True)
class Finding:
    """What a control found.

    status: `failed` makes the audit invalid; `warning` is said and changes nothing.
    value, low, high: the figure that was tested and its 95% interval; p_value: corrected for the control's other tests.
    n: records that the figure rests on. format: None where the control is of the whole audit.
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
