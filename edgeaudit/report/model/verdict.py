"""Whether the audit is valid and within budget."""

from __future__ import annotations

from typing import Literal

from edgeaudit.report.model.base import Model

__all__ = ["Budget", "Verdict"]


class Budget(Model):
    """One budget and its verdict, which rests on the interval `low` to `high`. device null: all devices."""

    metric: str
    level: Literal["warn", "error"]
    limit: str
    format: str
    attack: str
    subset: str
    verdict: Literal["pass", "fail", "inconclusive"]
    value: float | None
    low: float | None
    high: float | None
    note: str | None = None
    device: str | None = None


class Verdict(Model):
    """The audit's outcome. exit_code: 0 within budget or not judged, 1 exceeded, 2 error, 3 inconclusive or invalid."""

    outcome: Literal["within budget", "not judged", "budget exceeded", "error", "inconclusive", "invalid"]
    exit_code: Literal[0, 1, 2, 3]
    reasons: tuple[str, ...]
    budgets: tuple[Budget, ...]
