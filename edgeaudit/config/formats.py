"""The section `formats`: what is compared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from edgeaudit.config.base import Section
from edgeaudit.config.calls import parse_call, rejoined
from edgeaudit.config.data import CalibrationPolicy

__all__ = ["FormatUse", "as_format"]


def _as_pass(value: object) -> str:
    return parse_call(value, "pass").text()


def _as_passes(value: object) -> object:
    return rejoined(value) if isinstance(value, list) else value


def _as_runtime(value: object) -> str | None:
    return None if value is None else parse_call(value, "name").text()


_Passes = Annotated[tuple[Annotated[str, BeforeValidator(_as_pass)], ...], Field(min_length=1)]


class FormatUse(Section):
    """A format as an audit uses it: a preset's id, a variant of one, or passes that are put together here.

    passes, runtime: calls, as in `nncf.prune(0.7, epochs=3)`; mappings are kept as the text that says the same.
    tolerance, range_tolerance: how far the answers may be from torch's (`Format`); None for what the precision or
        the preset has.
    """

    model_config = ConfigDict(populate_by_name=True)

    format: str | None = None
    name: str | None = Field(None, pattern=r"^[^/\\]+$")
    passes: Annotated[_Passes | None, BeforeValidator(_as_passes)] = None
    runtime: Annotated[str | None, BeforeValidator(_as_runtime)] = None
    tolerance: float | None = Field(None, gt=0, le=1)
    range_tolerance: float | None = Field(None, gt=0, lt=1, alias="range-tolerance")
    calibration: CalibrationPolicy | None = None
    softmax: Literal["outside", "inside"] = "outside"

    @model_validator(mode="after")
    def _preset_or_passes(self) -> FormatUse:
        if (self.format is None) == (self.passes is None):
            raise ValueError("give 'format' (an id of `edgeaudit formats`) or 'passes' (a composition), one of them")
        if self.name is None and (self.passes or self.runtime or self.tolerance or self.range_tolerance):
            raise ValueError("a format with 'passes', a 'runtime' or a tolerance of its own needs a 'name'")
        return self

    @property
    def id(self) -> str:
        """The name in reports and budgets."""
        if self.name is not None:
            return self.name
        calibrated = f"@{self.calibration}" if self.calibration else ""
        return f"{self.format}{calibrated}" + ("+softmax" if self.softmax == "inside" else "")


def as_format(value: object) -> object:
    """A preset's id may stand for the entry that names it."""
    return {"format": value} if isinstance(value, str) else value
