"""The section `formats`: the formats to compare."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from edgeaudit.config.base import Section, names_of
from edgeaudit.config.call_syntax import refuse_call, refuse_calls
from edgeaudit.config.data import CalibrationPolicy
from edgeaudit.config.entries import PassItem, RuntimeItem

__all__ = ["FormatItem", "FormatUse"]

_Passes = Annotated[tuple[PassItem, ...], Field(min_length=1)]
_PresetName = Annotated[str, names_of("format")]


_ONE_OF_THEM: JsonDict = {
    "oneOf": [{"required": ["format"]}, {"required": ["passes"]}],
    "dependencies": {key: ["name"] for key in ("passes", "runtime", "tolerance", "range-tolerance")},
}
"""`FormatUse._preset_or_passes`, for the JSON Schema."""


def _without_calls(value: object) -> object:
    if isinstance(value, list):
        refuse_calls(value)
    return value


def _without_call(value: object) -> object:
    refuse_call(value)
    return value


class FormatUse(Section):
    """A format: a preset, a variant of one, or a list of passes and a runtime."""

    model_config = ConfigDict(populate_by_name=True, json_schema_extra=_ONE_OF_THEM)

    format: _PresetName | None = None
    """The preset (`edgeaudit formats` lists them); either this or `passes`."""
    name: str | None = Field(None, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+()=,-]*$")
    """The name in reports and budgets; needed with `passes`, a `runtime` and tolerances, and never a preset's."""
    passes: Annotated[_Passes | None, BeforeValidator(_without_calls, json_schema_input_type=_Passes | None)] = None
    """From the trained model to the file that ships, in order: names, or `{name: {parameter: value}}`."""
    runtime: Annotated[
        RuntimeItem | None, BeforeValidator(_without_call, json_schema_input_type=RuntimeItem | None)
    ] = None
    """The runtime: a name, or `{name: {option: value}}`; by default the one for files of that type."""
    tolerance: float | None = Field(None, gt=0, le=1)
    """Largest RMS error of the answers, over the spread of the trained model's; by default that of the precision."""
    range_tolerance: float | None = Field(None, gt=0, lt=1, alias="range-tolerance")
    """Allowed difference between the range of the answers and the trained model's; clipping reduces the range."""
    calibration: CalibrationPolicy | None = None
    """Which records quantisers see, in place of `data.calibration.policy`."""
    softmax: Literal["outside", "inside"] = "outside"
    """`inside`: the file returns probabilities, since its last operator is a softmax."""

    @model_validator(mode="after")
    def _preset_or_passes(self) -> FormatUse:
        if (self.format is None) == (self.passes is None):
            raise ValueError("give 'format' (an id of `edgeaudit formats`) or 'passes' (a composition), but not both")
        if self.name is None and (self.passes or self.runtime or self.tolerance or self.range_tolerance):
            raise ValueError("a format with 'passes', a 'runtime' or its own tolerance needs a 'name'")
        return self

    @property
    def id(self) -> str:
        """The name in reports and budgets."""
        if self.name is not None:
            return self.name
        calibrated = f"@{self.calibration}" if self.calibration else ""
        return f"{self.format}{calibrated}" + ("+softmax" if self.softmax == "inside" else "")


def _as_format(value: object) -> object:
    """Accept the id of a preset as an entry."""
    return {"format": value} if isinstance(value, str) else value


FormatItem = Annotated[FormatUse, BeforeValidator(_as_format, json_schema_input_type=_PresetName | FormatUse)]
"""How `formats` declares an entry."""
