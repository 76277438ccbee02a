"""Waivers of a policy: limits that are exceeded for a time, by the word of somebody who answers for it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from edgeaudit.config.base import Section, each_once, names_of
from edgeaudit.config.budgets import METRIC_RANGES, Scope, mistake_in
from edgeaudit.errors import did_you_mean

__all__ = ["WaiverSpec", "each_waived_once"]

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")


def _as_day(value: object) -> object:
    """A day as YYYY-MM-DD alone: Python reads 20270131 and 2027-W05-1 as days, too."""
    if type(value) is dt.date:
        return value
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise ValueError("must be the last day on which the waiver holds, as YYYY-MM-DD")
    try:
        return dt.date.fromisoformat(value)
    except ValueError as exc:
        raise ValueError("there is no such day; write one as YYYY-MM-DD") from exc


_Formats = Annotated[tuple[str, ...], Field(min_length=1)]
_Text = Annotated[str, Field(min_length=1, max_length=1000)]


class WaiverSpec(Section):
    """A limit that is not met, and is accepted until a day: of one metric, on the formats that it names."""

    metric: Annotated[str, names_of("metric")]
    """The metric whose limit is waived."""
    format: str | None = None
    """The format on which it is waived; either this or `formats`."""
    formats: Literal["all"] | _Formats | None = None
    """Several formats, or `all` of them."""
    device: str | None = None
    """The device on which it is waived; by default each on which the format is queried."""
    subset: Annotated[str, names_of("subset")] = "all"
    """Records of the budget that is waived; `class:<k>` waives one class of a budget on `class:*`, too."""
    attack: str | None = None
    """The one attack by which the limit may be exceeded; by default any."""
    scope: Scope = "file"
    """Scope of the budget that is waived."""
    against: str | None = None
    """Waives `max-increase` against this format; without it, `max` is waived."""
    max: float | None = None
    """The figure up to which the limit is waived: a figure whose interval ends above it counts again."""
    owner: _Text
    """Who answers for the waiver."""
    reason: _Text
    """Why the limit is waived."""
    expires: Annotated[dt.date, BeforeValidator(_as_day, json_schema_input_type=dt.date)]
    """The last day on which it holds, in UTC, as YYYY-MM-DD; at most 366 days ahead."""

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        if metric not in METRIC_RANGES:
            raise ValueError(
                f"unknown metric '{metric}'.{did_you_mean(metric, METRIC_RANGES)} A budget can limit: "
                f"{', '.join(METRIC_RANGES)}"
            )
        return metric

    @field_validator("formats", mode="before")
    @classmethod
    def _names_formats(cls, formats: object) -> object:
        if isinstance(formats, list | tuple) and not formats:
            raise ValueError("is empty, so nothing would be waived: name a format, or write all")
        return formats

    @field_validator("formats")
    @classmethod
    def _formats_differ(cls, formats: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        return each_once(formats) if isinstance(formats, tuple) else formats

    @field_validator("owner", "reason")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must not be empty: a waiver names who answers for it, and why")
        return text.strip()

    @model_validator(mode="after")
    def _on_formats(self) -> Self:
        if (self.format is None) == (self.formats is None):
            raise ValueError("a waiver needs exactly one of 'format' and 'formats' (a list, or all)")
        key = "max" if self.against is None else "max-increase"
        mistake = None if self.max is None else mistake_in(self.metric, key, self.max)
        if mistake is not None:
            raise ValueError(mistake)
        return self

    @property
    def names(self) -> tuple[str, ...] | None:
        """The formats; None for all."""
        if self.format is not None:
            return (self.format,)
        return self.formats if isinstance(self.formats, tuple) else None


def each_waived_once(waivers: Sequence[WaiverSpec]) -> None:
    """Raise `ValueError` where two waivers waive the same, so that neither is the one that counts."""
    seen: dict[tuple[object, ...], dict[str | None, int]] = {}
    for place, one in enumerate(waivers):
        earlier = seen.setdefault(_narrowed(one), {})
        names: tuple[str | None, ...] = one.names or (None,)  # None: all formats
        found = [earlier[name] for name in (*names, None) if name in earlier]
        if one.names is None:
            found += earlier.values()
        if found:
            where = "all formats" if one.names is None else ", ".join(one.names)
            raise ValueError(
                f"waivers.{place} waives again what waivers.{min(found)} does ({one.metric} on {where}); remove one"
            )
        earlier |= dict.fromkeys(names, place)


def _narrowed(waiver: WaiverSpec) -> tuple[object, ...]:
    return (waiver.metric, waiver.device, waiver.subset, waiver.attack, waiver.scope, waiver.against)
