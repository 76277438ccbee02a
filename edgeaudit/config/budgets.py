"""The section `budgets`: limits of leakage."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from edgeaudit.config.base import Section, names_of

__all__ = ["BudgetLimit", "BudgetSpec", "BudgetsInput", "as_budgets"]


_Level = Literal["warn", "error"]
_ONE_LIMIT: JsonDict = {
    "oneOf": [{"required": ["max"]}, {"required": ["max-increase", "against"]}],
    "dependencies": {"against": ["max-increase"]},
}
"""`BudgetLimit._one_limit`, for the JSON Schema."""


class BudgetLimit(Section):
    """A limit of leakage: exactly one of `max` and `max-increase` (with `against`)."""

    model_config = ConfigDict(json_schema_extra=_ONE_LIMIT)

    max: float | None = None
    """Upper limit of the metric."""
    max_increase: float | None = Field(None, alias="max-increase")
    """Upper limit of the increase over the format `against`."""
    against: str | None = None
    """The format that `max-increase` compares with."""
    formats: tuple[str, ...] | None = None
    """Formats to which the budget applies; by default all that ship."""
    attack: Annotated[str, names_of("attack-name")] = "cm-mia"
    """The attack whose figure is judged."""
    variant: str | None = None
    """Variant of the attack; by default the first of its headline variants that could run."""
    subset: Annotated[str, names_of("subset")] = "all"
    """Records on which the budget is judged."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.max is None) == (self.max_increase is None):
            raise ValueError("a budget needs exactly one of 'max' and 'max-increase'")
        if (self.max_increase is None) != (self.against is None):
            raise ValueError("'max-increase' and 'against: <format>' belong together")
        return self


class BudgetSpec(BudgetLimit):
    """A limit, and what exceeding it means."""

    level: _Level
    """`error` decides the exit code; `warn` is reported."""


_Pair = tuple[_Level, BudgetLimit]
BudgetsInput = dict[
    Annotated[str, names_of("metric")], _Pair | Annotated[tuple[_Pair | BudgetSpec, ...], Field(min_length=1)]
]
"""What `as_budgets` reads, for the JSON Schema."""


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
