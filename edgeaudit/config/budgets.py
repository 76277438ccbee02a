"""The section `budgets`: limits of leakage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, field_validator, model_validator
from pydantic.config import JsonDict

from edgeaudit.config.base import Section, names_of

__all__ = [
    "CLASSES", "EVERY_CLASS", "METRIC_RANGES", "PRESETS", "BudgetLimit", "BudgetSpec", "BudgetsInput", "MetricRange",
    "Preset", "Scope", "as_budgets", "mistake_in", "unset_defaults",
]  # fmt: skip


@dataclass(frozen=True)
class MetricRange:
    """The values that a metric can have. guessing: what a model that leaks nothing has."""

    lowest: float
    guessing: float
    highest: float = 1.0

    def __str__(self) -> str:
        return f"[{self.lowest:g}, {self.highest:g}]"


METRIC_RANGES: Mapping[str, MetricRange] = {
    "auc": MetricRange(0.0, 0.5),
    "tpr@fpr=0.01": MetricRange(0.0, 0.01),
    "tpr@fpr=0.001": MetricRange(0.0, 0.001),
    "balanced_accuracy": MetricRange(0.0, 0.5),
    "advantage": MetricRange(-1.0, 0.0),
}
"""The metrics that a budget can limit."""

CLASSES = "class:"
"""Prefix of the subsets of one class: class:3."""
EVERY_CLASS = "class:*"
"""The subset that stands for every class."""

Scope = Literal["file", "pipeline"]
Preset = Literal["strict", "recommended", "exploratory"]

_Level = Literal["warn", "error"]
_ONE_LIMIT: JsonDict = {
    "oneOf": [{"required": ["max"]}, {"required": ["max-increase", "against"]}],
    "dependencies": {"against": ["max-increase"], "attack": {"not": {"required": ["attacks"]}}},
}
"""`BudgetLimit._one_limit` and `BudgetLimit._one_attack_set`, for the JSON Schema."""
_BETWEEN_0_AND_1: JsonDict = {"exclusiveMinimum": 0, "exclusiveMaximum": 1}


class BudgetLimit(Section):
    """A limit of leakage: exactly one of `max` and `max-increase` (with `against`)."""

    model_config = ConfigDict(json_schema_extra=_ONE_LIMIT)

    max: float | None = Field(None, json_schema_extra=_BETWEEN_0_AND_1)
    """Upper limit of the metric: above what guessing has, and below the largest value of the metric."""
    max_increase: float | None = Field(None, alias="max-increase", json_schema_extra=_BETWEEN_0_AND_1)
    """Upper limit of the increase over the format `against`."""
    against: str | None = None
    """The format that `max-increase` compares with."""
    formats: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Formats to which the budget applies; by default all that ship."""
    scope: Scope = "file"
    """`file`: the file that was audited. `pipeline`: files that this pipeline makes, from the mean over `targets`."""
    attacks: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Attacks that are judged, as `attack` or `attack/variant`; by default all of the audit, each by its headline."""
    attack: Annotated[str, names_of("attack-name")] | None = None
    """One attack alone, as files of older versions have it; write `attacks` instead."""
    variant: str | None = None
    """Variant of `attack` (of cm-mia, if `attack` is not given); write `attacks: [attack/variant]` instead."""
    subset: Annotated[str, names_of("subset")] = "all"
    """Records on which the budget is judged: `class:<k>` those of one class, `class:*` those of each class."""
    reason: str | None = None
    """Why the limit is what it is; it is printed in the report."""

    @field_validator("formats", mode="before")
    @classmethod
    def _names_formats(cls, formats: object) -> object:
        if isinstance(formats, list | tuple) and not formats:
            raise ValueError(
                "is empty, so the budget would limit nothing: name a format, or remove 'formats' to limit all that ship"
            )
        return formats

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.max is None) == (self.max_increase is None):
            raise ValueError("a budget needs exactly one of 'max' and 'max-increase'")
        if (self.max_increase is None) != (self.against is None):
            raise ValueError("'max-increase' and 'against: <format>' belong together")
        if self.against is not None and self.against in (self.formats or ()):
            raise ValueError(
                f"'{self.against}' is compared with itself: remove it from 'formats', or name another in 'against'"
            )
        if self.max_increase is not None and self.scope == "pipeline":
            raise ValueError(
                "'max-increase' compares files by a paired test on their records; remove 'scope: pipeline'"
            )
        return self

    @model_validator(mode="after")
    def _one_attack_set(self) -> Self:
        if self.attacks is not None and (self.attack or self.variant):
            raise ValueError("'attacks' names what 'attack' and 'variant' name, too; keep 'attacks' alone")
        twice = sorted({name for name in self.attacks or () if (self.attacks or ()).count(name) > 1})
        if twice:
            raise ValueError(f"attacks: '{twice[0]}' appears twice")
        return self

    @property
    def named_attacks(self) -> tuple[str, ...] | None:
        """The attack set, as `attack` or `attack/variant`; None for all attacks of the audit."""
        if self.attacks is not None:
            return self.attacks
        if self.attack is None and self.variant is None:
            return None
        # Before 'attacks' there was one attack, cm-mia unless named.
        attack = self.attack or "cm-mia"
        return (attack if self.variant is None else f"{attack}/{self.variant}",)


class BudgetSpec(BudgetLimit):
    """A limit, and what exceeding it means."""

    level: _Level
    """`error` decides the exit code; `warn` is reported."""


def mistake_in(metric: str, key: str, value: object) -> str | None:
    """Return what is wrong with a limit, or None.

    A limit is refused if no figure could exceed it, or if a model that leaks nothing would not be within it.

    Args:
        metric: one of `METRIC_RANGES`; None is returned for any other.
        key: `max` or `max-increase`.
        value: what audit.yaml has.
    """
    number = _number(value)
    if metric not in METRIC_RANGES or number is None:
        return None  # refused as a name, or as a type
    of = METRIC_RANGES[metric]
    least = 0 if key == "max-increase" else of.guessing
    rules = (
        (isinstance(number, bool), "which is not a number"),
        (not math.isfinite(number), "which is no limit"),
        (number >= of.highest, "which no figure exceeds, so it could not fail"),
        (number < of.lowest, "which no figure is within, so it could not pass"),
        (number <= least and key == "max", "no more than guessing has, so a model that leaks nothing could not pass"),
        (number <= least, "and no number of records shows that nothing increased, so it could not pass"),
    )
    wrong = next((text for broken, text in rules if broken), None)
    if wrong is None:
        return None
    remedy = f"write a value above {least:g} and below {of.highest:g}"
    if 1 < number <= 100 and mistake_in(metric, key, number / 100) is None:
        remedy = f"{number:g} looks like a percentage: write {number / 100:g}"
    guessing = "" if key == "max-increase" else f", {of.guessing:g} is guessing"
    shown = str(number).lower() if isinstance(number, bool) else f"{number:g}"
    return f"'{metric}' {key} is {shown}, {wrong}: {metric} lies in {of}{guessing}; {remedy}"


def _number(value: object) -> float | bool | None:
    """Return a number, or one that a variable or quotes have made a text, as it is; None for anything else."""
    if isinstance(value, bool | int | float):
        return value
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


_Pair = tuple[_Level, BudgetLimit]
_OfMetric = _Pair | Annotated[tuple[_Pair | BudgetSpec, ...], Field(min_length=1)]
BudgetsInput = Preset | dict[Annotated[str, names_of("metric")], _OfMetric]
"""What `as_budgets` reads, for the JSON Schema; the mapping may have a key `preset`, too."""

PRESETS: Mapping[Preset, Mapping[str, tuple[_Level, float]]] = {
    "strict": {"auc": ("error", 0.55), "tpr@fpr=0.01": ("error", 0.025)},
    "recommended": {"auc": ("error", 0.6), "tpr@fpr=0.01": ("error", 0.05)},
    "exploratory": {"auc": ("warn", 0.7), "tpr@fpr=0.01": ("warn", 0.1)},
}
"""Preset -> metric -> level and `max`. docs/verdict.md gives the reasons, and the records that each needs."""


def as_budgets(value: object) -> object:
    """{metric: [level, {...}]} or {metric: [[level, {...}], ...]} -> {metric: [{level, ...}, ...]}.

    A preset's name stands for its budgets; in a mapping with the key `preset`, the other keys replace those of the
    preset.
    """
    if isinstance(value, str):
        return _of_preset(value)
    if not isinstance(value, dict):
        return value
    result: dict[object, object] = dict(_of_preset(value["preset"])) if "preset" in value else {}
    for metric, entry in value.items():
        if metric == "preset":
            continue
        entries = [entry] if isinstance(entry, list | tuple) and entry and isinstance(entry[0], str) else entry
        if not isinstance(entries, list | tuple) or not entries:
            raise ValueError(f"'{metric}' must be [warn | error, {{max: ...}}]")
        result[metric] = [_as_budget(str(metric), e) for e in entries]
    return result


def _of_preset(name: object) -> Mapping[object, object]:
    if name not in get_args(Preset):
        raise ValueError(f"'{name}' is not a preset; there are: {', '.join(get_args(Preset))}, or name the metrics")
    preset = PRESETS[name]  # type: ignore[index]  # one of the literals, as just checked
    reason = f"preset {name}"
    return {metric: [{"level": level, "max": limit, "reason": reason}] for metric, (level, limit) in preset.items()}


def _as_budget(metric: str, entry: object) -> object:
    if isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[1], dict):
        budget: dict[str, Any] = {"level": entry[0], **entry[1]}
    elif isinstance(entry, dict):
        budget = entry
    else:
        raise ValueError(f"'{metric}' must be [warn | error, {{max: ...}}]")
    for mistake in _mistakes(metric, budget.items()):
        raise ValueError(mistake)
    return budget


def _mistakes(metric: str, entries: Iterable[tuple[str, object]]) -> Iterator[str]:
    for key, value in entries:
        mistake = mistake_in(metric, key, value) if key in ("max", "max-increase") else None
        if mistake is not None:
            yield mistake


def unset_defaults(recorded: object) -> object:
    """Return recorded budgets without what versions before attack sets recorded as a default, the attack cm-mia.

    Judged on that attack alone, an audit that nobody restricted to it could pass where another attack finds more.
    """
    if not isinstance(recorded, Mapping):
        return {} if recorded is None else recorded
    return {
        metric: [_unset(budget) for budget in budgets] if isinstance(budgets, list | tuple) else budgets
        for metric, budgets in recorded.items()
    }


def _unset(budget: object) -> object:
    if not isinstance(budget, Mapping) or "attacks" in budget or budget.get("variant") is not None:
        return budget
    return {key: value for key, value in budget.items() if (key, value) != ("attack", "cm-mia")}
