"""The section `budgets`: the leakage that a format may have."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from edgeaudit.config.base import Section

__all__ = ["BudgetSpec", "as_budgets"]


class BudgetSpec(Section):
    """The leakage a format may have. Exactly one of `max` and `max-increase` (with `against`) is given.

    variant: of the attack; None for the first of its headline variants that could be run.
    """

    level: Literal["warn", "error"]
    max: float | None = None
    max_increase: float | None = Field(None, alias="max-increase")
    against: str | None = None
    formats: tuple[str, ...] | None = None
    attack: str = "cm-mia"
    variant: str | None = None
    subset: str = "all"

    @model_validator(mode="after")
    def _one_limit(self) -> BudgetSpec:
        if (self.max is None) == (self.max_increase is None):
            raise ValueError("a budget needs exactly one of 'max' and 'max-increase'")
        if (self.max_increase is None) != (self.against is None):
            raise ValueError("'max-increase' and 'against: <format>' belong together")
        return self


def as_budgets(value: object) -> object:
    """{metric: [level, {...}]} or {metric: [[level, {...}], ...]} -> {metric: [{level, ...}, ...]}."""
    if not isinstance(value, dict):
        return value
    result: dict[object, object] = {}
    for metric, entry in value.items():
        entries = [entry] if isinstance(entry, list) and entry and isinstance(entry[0], str) else entry
        if not isinstance(entries, list) or not entries:
            raise ValueError(f"'{metric}' must be [warn | error, {{max: ...}}]")
        result[metric] = [_as_budget(str(metric), e) for e in entries]
    return result


def _as_budget(metric: str, entry: object) -> object:
    if isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], dict):
        return {"level": entry[0], **entry[1]}
    if isinstance(entry, dict):
        return entry
    raise ValueError(f"'{metric}' must be [warn | error, {{max: ...}}]")
