"""What all sections of audit.yaml share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, WithJsonSchema

__all__ = ["NAMES", "Names", "Section", "as_list", "each_once", "names_of"]

Names = Literal[
    "format", "pass", "runtime", "attack", "attack-name", "recipe", "source", "profile", "device", "metric", "subset"
]  # fmt: skip
"""Kinds of names that audit.yaml takes and that other parts of edgeaudit, and plugins, define."""

NAMES = "x-names"
"""The keyword that marks where a kind of names goes in a schema; `edgeaudit.config.json_schema` replaces it."""


class Section(BaseModel):
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
