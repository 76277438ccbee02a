"""The section `data`: records, their split, and the calibration records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from edgeaudit.config.base import Section, each_once, names_of
from edgeaudit.config.entries import Params

__all__ = ["LISTS", "CalibrationPolicy", "CalibrationSpec", "DataSpec", "PreprocessingSpec", "SideSpec"]


CalibrationPolicy = Literal["disjoint", "members", "nonmembers"]

LISTS = (".txt", ".npy")
"""Files that list records."""
_SUBSETS = ("class", "abnormal", "all", "uncalibrated", "canaries")


class CalibrationSpec(Section):
    """The records that quantisers see."""

    records: int = Field(128, ge=8)
    """Number of records."""
    policy: CalibrationPolicy = "disjoint"
    """Selection: `disjoint` (neither trained on nor audited), `members` or `nonmembers`; formats may override it."""


class PreprocessingSpec(Section):
    """The models' input for a value x of the data: (x * scale - mean) / std."""

    scale: float = Field(1.0, gt=0)
    """Factor of every value."""
    mean: float | tuple[float, ...] = 0.0
    """A number, or one for each channel."""
    std: Annotated[float, Field(gt=0)] | tuple[Annotated[float, Field(gt=0)], ...] = 1.0
    """A number, or one for each channel."""


class SideSpec(Section):
    """Records of one side of the audit from a separate file or folder, read by the same source."""

    path: Path
    """The file or folder."""
    records: int | None = Field(None, ge=2)
    """Number of records to draw; by default all."""
    options: Params = Field(default_factory=dict)
    """Options of the source for this file."""
    calibrated: str | None = None
    """Records that the target's quantiser saw: an array of the .npz (booleans or positions), or a file of positions."""


class DataSpec(Section):
    """Records and their split."""

    model_config = ConfigDict(populate_by_name=True)

    source: Annotated[str, names_of("source")] = "digits"
    """Where records come from."""
    path: Path | None = None
    """File or folder of the source."""
    options: Params = Field(default_factory=dict)
    """Options of the source: array names of an .npz, `size` of images, arguments of a function."""
    classes: Annotated[int, Field(ge=2, le=65_536)] | tuple[str | int, ...] | None = None
    """Number of classes, where labels are 0 to K-1, or the labels in the order of the model's outputs."""
    layout: Literal["auto", "HW", "HWC", "CHW", "TC", "CT", "flat"] = "auto"
    """Axes of a record; TC (steps x sensors) and CT are windows of sensors, which models see as they are."""
    channels: Literal["as-stored", "reversed"] = "as-stored"
    """Order of the channels of images: `reversed` makes RGB of BGR, as OpenCV reads it."""
    standardise: bool = True
    """Mean 0 and deviation 1 in each channel or column, measured on the reference records."""
    preprocessing: Literal["standardise", "raw", "unit", "symmetric", "imagenet"] | PreprocessingSpec | None = None
    """The models' input: raw values, unit (0..1 for bytes), symmetric (-1..1), imagenet, or numbers."""
    members: Annotated[int, Field(ge=2)] | Path | SideSpec = 300
    """Records that the target trains on: a count, a file with record ids, or `{path: ...}` with their own records."""
    nonmembers: Annotated[int, Field(ge=2)] | Path | SideSpec = 300
    """Records that the target does not train on: a count, a file with record ids, or `{path: ...}`."""
    reference: Annotated[int, Field(ge=0)] | Literal["rest"] | SideSpec = "rest"
    """The attacker's own records, on which shadows train: a count, the `rest`, or `{path: ...}`."""
    calibrated: Path | None = None
    """A file with the ids of the records that the target's quantiser saw."""
    shadow_records: int | None = Field(None, ge=2, alias="shadow-records")
    """Number of records that a shadow trains on; by default as many as the target."""
    groups: str = Field("copies", min_length=1)
    """Related records, kept on one side: `copies`, `exact-copies`, an array of the .npz, or `module:function`."""
    slices: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,80}$")], Annotated[str, Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Figures by further slices than classes: name -> an array of the .npz, or `module:function`."""
    calibration: CalibrationSpec = CalibrationSpec()
    """The records that quantisers see."""

    @property
    def sides(self) -> dict[str, SideSpec]:
        """The sides with separate files, by name."""
        named = {key: getattr(self, key) for key in ("members", "nonmembers", "reference")}
        return {key: value for key, value in named.items() if isinstance(value, SideSpec)}

    @field_validator("slices")
    @classmethod
    def _no_known_subset(cls, slices: dict[str, str]) -> dict[str, str]:
        for name in slices:
            if name in _SUBSETS:
                raise ValueError(f"'{name}' is a subset of every audit; use another name")
        return slices

    @field_validator("classes")
    @classmethod
    def _each_class_once(cls, classes: int | tuple[str | int, ...] | None) -> int | tuple[str | int, ...] | None:
        if isinstance(classes, tuple):
            each_once(tuple(map(str, classes)))
            if len(classes) < 2:
                raise ValueError("a classifier needs at least two classes")
        return classes

    @model_validator(mode="after")
    def _both_of_one_kind(self) -> DataSpec:
        if type(self.members) is not type(self.nonmembers) and not all(
            isinstance(side, Path) for side in (self.members, self.nonmembers)
        ):
            raise ValueError("members and nonmembers must both be counts, files with record ids, or {path: ...}")
        if self.sides and "members" not in self.sides:
            raise ValueError("a reference with its own path needs members and nonmembers with their own paths, too")
        if self.sides and self.path is not None:
            raise ValueError("remove 'path' if members and nonmembers have their own paths")
        return self
