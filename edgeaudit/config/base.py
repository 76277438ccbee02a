"""What all sections of audit.yaml share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, WithJsonSchema, field_validator

__all__ = ["NAMES", "Names", "PlainNumbers", "Section", "as_list", "each_once", "names_of"]

Names = Literal[
    "format", "pass", "runtime", "attack", "attack-name", "recipe", "source", "profile", "device", "metric", "subset",
    "writer",
]  # fmt: skip
"""Kinds of names that audit.yaml takes and that other parts of edgeaudit, and plugins, define."""

NAMES = "x-names"
"""The keyword that marks where a kind of names goes in a schema; `edgeaudit.config.json_schema` replaces it."""


class PlainNumbers(BaseModel):
    """Refuses `true` where a number is meant, which pydantic reads as 1, in every field of every subclass."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object, info: ValidationInfo) -> object:
        if _is_numeric(cls, str(info.field_name)) and _has_truth_value(value):
            raise ValueError("must be a number, which true and false are not")
        return value


@cache
def _is_numeric(model: type[BaseModel], field: str) -> bool:
    """Whether a field takes numbers, and neither truth values nor anything at all."""
    kinds = set(_kinds(model.model_fields[field].annotation))
    return bool(kinds & {int, float}) and not kinds & {bool, object, Any}


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types in an annotation, a literal's values by theirs."""
    arguments = get_args(annotation)
    if not arguments:
        yield annotation if isinstance(annotation, type) or annotation is Any else type(annotation)
    for argument in arguments:
        yield from _kinds(argument)


def _has_truth_value(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_truth_value, value.values()))
    return isinstance(value, bool) or (isinstance(value, list | tuple) and any(map(_has_truth_value, value)))


class Section(PlainNumbers):
    """A mapping with known keys; a docstring below a field describes it in the JSON Schema."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def names_of(kind: Names) -> WithJsonSchema:
    """An annotation: the JSON Schema lists the names of that kind here."""
    return WithJsonSchema({NAMES: kind})


def as_list(value: object) -> object:
    """One name may stand for a list of one."""
    return [value] if isinstance(value, str) else value


def each_once(names: tuple[str, ...], remedy: str = "") -> tuple[str, ...]:
    """The names; `ValueError` where one appears twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"'{twice[0]}' appears twice{remedy}")
    return names
