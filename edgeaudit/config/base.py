"""What all sections of audit.yaml share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Section", "as_list", "each_once"]


class Section(BaseModel):
    """A mapping of keys, of which none is unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def as_list(value: object) -> object:
    """One name may stand for a list of one."""
    return [value] if isinstance(value, str) else value


def each_once(names: tuple[str, ...], remedy: str = "") -> tuple[str, ...]:
    """The names, none of which may be there twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"'{twice[0]}' appears twice{remedy}")
    return names
