"""The rows of a report, one dataclass a kind. Stages create them, write them as JSON and read them back.

Every row names its deployment (a format on a device) and the shadow-target match of the attack (see `Series`). Values
that cannot be resolved are None, and `note` gives the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from edgeaudit.leakage.comparisons import Compared
from edgeaudit.leakage.differing import Differing
from edgeaudit.leakage.metrics import Figure
from edgeaudit.leakage.p_calibration import CalibrationRow, CalibrationStatus
from edgeaudit.leakage.targets import TargetMean

__all__ = [
    "Accuracy", "AcrossTargetsRow", "CalibrationLeakRow", "ComparisonKind", "ComparisonRow", "CurveRow", "ExposedRow",
    "LeakageRow", "NullControlRow", "NullHistogramRow", "PCalibrationRow", "PKind", "PSource", "Place", "SameFileRow",
    "Series", "TargetFigure", "TogetherNullRow", "TogetherRow", "TogetherSingle",
]  # fmt: skip

PKind = Literal["conformal", "nominal"]
PSource = Literal["nonmembers", "null target"]
ComparisonKind = Literal["format", "format pair", "device", "shadow match", "attack", "exposure"]


@dataclass(frozen=True)
class Accuracy:
    """Accuracy in [0, 1] of the first target, and the mean over shadows; None without shadows."""

    train: float
    test: float
    shadow_train: float | None = None
    shadow_test: float | None = None


@dataclass(frozen=True)
class Place:
    """A deployment (a format on a device) and its shadow-target match (`matched`: compressed like the target)."""

    format: str
    device: str
    shadow_match: str


@dataclass(frozen=True)
class Series:
    """One variant of an attack on one deployment, at one exposure."""

    place: Place
    attack: str
    variant: str
    exposure: str

    @property
    def name(self) -> str:
        """`attack/variant`."""
        return f"{self.attack}/{self.variant}"

    def row(self, subset: str, figure: Figure) -> LeakageRow:
        """Return the row of a figure of these scores on a subset of the records."""
        return LeakageRow(
            self.place.format,
            self.place.device,
            self.attack,
            self.variant,
            self.place.shadow_match,
            self.exposure,
            subset,
            figure.metric,
            figure.value,
            figure.low,
            figure.high,
            figure.n_members,
            figure.n_nonmembers,
            figure.realised_fpr,
            figure.note,
        )


@dataclass(frozen=True)
class LeakageRow:
    """One figure, see `Figure`. subset: `all`, `abnormal:<selection>` or `uncalibrated`."""

    format: str
    device: str
    attack: str
    variant: str
    shadow_match: str
    exposure: str
    subset: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n_members: int
    n_nonmembers: int
    realised_fpr: float | None = None
    note: str | None = None

    def with_note(self, text: str) -> LeakageRow:
        """Return the row with `text` appended to its note."""
        return replace(self, note=text if self.note is None else f"{self.note}; {text}")

    @property
    def figure(self) -> tuple[str, str, str, str]:
        """(attack, variant, subset, metric), the key that joins the rows of several targets."""
        return self.attack, self.variant, self.subset, self.metric

    def of_target(self) -> TargetFigure:
        """Return the columns that are stored for targets beyond the first."""
        return TargetFigure(*self.figure, self.value, self.realised_fpr)


@dataclass(frozen=True)
class TargetFigure:
    """A figure of a target beyond the first, as in `LeakageRow`."""

    attack: str
    variant: str
    subset: str
    metric: str
    value: float | None
    realised_fpr: float | None

    @property
    def figure(self) -> tuple[str, str, str, str]:
        """(attack, variant, subset, metric), the key that joins the rows of several targets."""
        return self.attack, self.variant, self.subset, self.metric


@dataclass(frozen=True)
class CurveRow:
    """A thinned ROC curve; first point (0, 0), last (1, 1)."""

    format: str
    device: str
    attack: str
    variant: str
    shadow_match: str
    subset: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


@dataclass(frozen=True)
class NullHistogramRow:
    """p-values of the nonmembers in equal bins over [0, 1]. test: the variant."""

    format: str
    device: str
    shadow_match: str
    test: str
    kind: PKind
    counts: tuple[int, ...]


@dataclass(frozen=True)
class PCalibrationRow:
    """The rate of p <= nominal among known nonmembers, see `CalibrationRow`.

    source: the targets' nonmembers, or the audited records of null targets. is_p_value: whether p is valid as a
    p-value; otherwise it serves for ranking only.
    """

    format: str
    device: str
    shadow_match: str
    attack: str
    variant: str
    kind: PKind
    source: PSource
    is_p_value: bool
    nominal: float
    observed: float
    low: float
    high: float
    count: int
    n: int
    attainable: float | None
    status: CalibrationStatus
    targets: int
    note: str | None
    band_low: float | None
    band_high: float | None
    known: int | None

    @classmethod
    def of(
        cls, series: Series, kind: PKind, source: PSource, row: CalibrationRow, ranking: str | None
    ) -> PCalibrationRow:
        """Build from a calibration row. ranking: why the conformal p is a ranking only; None where it is a p-value."""
        conformal = kind == "conformal"
        note = "; ".join(part for part in (ranking, row.note) if part) if conformal and ranking else row.note
        return cls(
            series.place.format,
            series.place.device,
            series.place.shadow_match,
            series.attack,
            series.variant,
            kind,
            source,
            conformal and ranking is None,
            row.nominal,
            row.observed,
            row.low,
            row.high,
            row.count,
            row.n,
            row.attainable,
            row.status,
            row.targets,
            note,
            row.band_low,
            row.band_high,
            row.known,
        )


@dataclass(frozen=True)
class ExposedRow:
    """A record that an attack ranks among the most likely members.

    record: its id in the population. calibrated: whether the target's quantiser was calibrated on it.
    """

    format: str
    device: str
    rank: int
    record: int
    label: int
    score: float
    p_value: float | None
    member: bool
    calibrated: bool


@dataclass(frozen=True)
class CalibrationLeakRow:
    """AUC of calibration records against other records of the same side, with DeLong's interval and p of AUC = 0.5."""

    format: str
    device: str
    attack: str
    variant: str
    shadow_match: str
    exposure: str
    side: Literal["members", "nonmembers"]
    value: float
    low: float
    high: float
    p_value: float | None
    n_seen: int
    n_others: int


@dataclass(frozen=True)
class NullControlRow:
    """The AUC on a null target, with DeLong's interval and the p-value of AUC = 0.5."""

    format: str
    device: str
    attack: str
    variant: str
    shadow_match: str
    target: str
    value: float
    low: float
    high: float
    p_value: float | None
    n_members: int
    n_nonmembers: int


@dataclass(frozen=True)
class AcrossTargetsRow:
    """A figure's mean over targets, see `TargetMean`."""

    format: str
    device: str
    shadow_match: str
    attack: str
    variant: str
    subset: str
    metric: str
    value: float | None
    se: float | None
    low: float | None
    high: float | None
    targets: int
    missing: int
    note: str | None = None

    @classmethod
    def of(cls, place: Place, figure: tuple[str, str, str, str], mean: TargetMean) -> AcrossTargetsRow:
        """Build from a mean. figure: as in `LeakageRow.figure`."""
        return cls(
            place.format,
            place.device,
            place.shadow_match,
            *figure,
            mean.value,
            mean.se,
            mean.low,
            mean.high,
            mean.targets,
            mean.missing,
            mean.note,
        )


@dataclass(frozen=True)
class ComparisonRow:
    """`metric` of `first` minus that of `second`, see `Compared`. series: `attack/variant` of the compared scores."""

    kind: ComparisonKind
    format: str
    device: str
    shadow_match: str
    series: str
    metric: str
    first: str
    second: str
    first_value: float | None
    second_value: float | None
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    targets: int
    adjusted_p: float | None
    note: str | None

    @classmethod
    def of(
        cls, kind: ComparisonKind, place: Place, series: str, names: tuple[str, str], metric: str, difference: Compared
    ) -> ComparisonRow:
        """Build from a comparison. names: of the first and the second."""
        return cls(
            kind,
            place.format,
            place.device,
            place.shadow_match,
            series,
            metric,
            *names,
            difference.first,
            difference.second,
            difference.value,
            difference.low,
            difference.high,
            difference.p_value,
            difference.targets,
            difference.adjusted_p,
            difference.note,
        )


@dataclass(frozen=True)
class SameFileRow:
    """One file's answers to the same records in two deployments, see `Differing`."""

    format: str
    device: str
    other_format: str
    other_device: str
    records: int
    rows: int
    max_abs: float
    top1: int

    @classmethod
    def of(cls, first: tuple[str, str], second: tuple[str, str], difference: Differing) -> SameFileRow:
        """Build from a comparison. first, second: (format, device)."""
        return cls(*first, *second, difference.records, difference.rows, difference.max_abs, difference.top1)


@dataclass(frozen=True)
class TogetherSingle:
    """A multi-version attack's figure minus that of the baseline attack on one format. value: the baseline's figure."""

    format: str
    value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    note: str | None

    @classmethod
    def of(cls, format_id: str, difference: Compared) -> TogetherSingle:
        """Build from the difference between the combination and the baseline on this format."""
        return cls(
            format_id,
            difference.second,
            difference.value,
            difference.low,
            difference.high,
            difference.p_value,
            difference.note,
        )


@dataclass(frozen=True)
class TogetherRow:
    """A multi-version attack (on several formats of one model) against a baseline attack on each format alone.

    yardstick: the baseline attack. best: the format with the largest baseline figure. difference: combination minus
    that figure, with its interval. p_value: of H0 "some format alone is at least as good". method and yardstick are `-`
    where the set was not run.
    """

    formats: tuple[str, ...]
    device: str
    shadow_match: str
    method: str
    metric: str
    yardstick: str
    value: float | None
    low: float | None
    high: float | None
    best: str | None
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    p_value: float | None
    adjusted_p: float | None
    singles: tuple[TogetherSingle, ...]
    targets: int
    note: str | None


@dataclass(frozen=True)
class TogetherNullRow:
    """A multi-version attack's AUC on a null target, as in `NullControlRow`.

    format: the formats, joined by ` + `. attack: the method; variant: empty.
    """

    format: str
    attack: str
    variant: str
    target: str
    value: float | None
    low: float | None
    high: float | None
    p_value: float | None
    n_members: int
    n_nonmembers: int
