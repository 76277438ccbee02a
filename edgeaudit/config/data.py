"""The section `data`: records, their split, and what a quantiser is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from edgeaudit.config.base import Section

__all__ = ["LISTS", "CalibrationPolicy", "CalibrationSpec", "DataSpec", "PreprocessingSpec", "SideSpec"]


CalibrationPolicy = Literal["disjoint", "members", "nonmembers"]

LISTS = (".txt", ".npy")
"""Files that list records."""


class CalibrationSpec(Section):
    """How many records a quantiser sees, and which ones unless a format says otherwise."""

    records: int = Field(128, ge=8)
    policy: CalibrationPolicy = "disjoint"


class PreprocessingSpec(Section):
    """What models are given for a value x of the data: (x * scale - mean) / std, a number or one for each channel."""

    scale: float = Field(1.0, gt=0)
    mean: float | tuple[float, ...] = 0.0
    std: Annotated[float, Field(gt=0)] | tuple[Annotated[float, Field(gt=0)], ...] = 1.0


class SideSpec(Section):
    """A side of the audit that has a file or folder of its own, as the source reads it.

    records: how many of them are drawn; None: all.
    calibrated: which of them the target's quantiser saw: the name of an array of the .npz (booleans, or places in it),
        or a file with their places (.txt, .npy).
    """

    path: Path
    records: int | None = Field(None, ge=2)
    options: dict[str, Any] = Field(default_factory=dict)
    calibrated: str | None = None


class DataSpec(Section):
    """Records and their split.

    members, nonmembers: counts; files with record ids (.txt, .npy); or sides with files of their own.
    reference: a count, the rest, or a side. What is left of the members' own file is never in it.
    preprocessing: of every record for every model; `standardise` (by channel or column) unless a name or figures are
        given. calibrated: a file with the ids of the records that the target's quantiser saw.
    shadow_records: how many records a shadow trains on; None for as many as there are members (or half of the
        reference records, where that is less and sides have files of their own).
    """

    model_config = ConfigDict(populate_by_name=True)

    source: str = "digits"
    path: Path | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    layout: Literal["auto", "HW", "HWC", "CHW", "flat"] = "auto"
    standardise: bool = True
    preprocessing: Literal["standardise", "raw", "unit", "symmetric", "imagenet"] | PreprocessingSpec | None = None
    members: Annotated[int, Field(ge=2)] | Path | SideSpec = 300
    nonmembers: Annotated[int, Field(ge=2)] | Path | SideSpec = 300
    reference: Annotated[int, Field(ge=0)] | Literal["rest"] | SideSpec = "rest"
    calibrated: Path | None = None
    shadow_records: int | None = Field(None, ge=2, alias="shadow-records")
    calibration: CalibrationSpec = CalibrationSpec()

    @property
    def sides(self) -> dict[str, SideSpec]:
        """The sides that have files of their own, by name."""
        named = {key: getattr(self, key) for key in ("members", "nonmembers", "reference")}
        return {key: value for key, value in named.items() if isinstance(value, SideSpec)}

    @model_validator(mode="after")
    def _both_of_one_kind(self) -> DataSpec:
        if type(self.members) is not type(self.nonmembers) and not all(
            isinstance(side, Path) for side in (self.members, self.nonmembers)
        ):
            raise ValueError("members and nonmembers must both be counts, files with record ids, or {path: ...}")
        if self.sides and "members" not in self.sides:
            raise ValueError("a reference with a path of its own needs members and nonmembers that have one, too")
        if self.sides and self.path is not None:
            raise ValueError("leave 'path' out where members and nonmembers have paths of their own")
        return self
