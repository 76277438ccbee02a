"""p-values of known nonmembers and of null targets: whether a test's p-values are valid."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgeaudit.leakage.rows.figures import Series

__all__ = [
    "CalibrationRow", "CalibrationStatus", "NullControlRow", "NullHistogram", "PCalibration", "PKind", "PSource",
]  # fmt: skip

PKind = Literal["conformal", "nominal"]
PSource = Literal["nonmembers", "null target"]
CalibrationStatus = Literal["calibrated", "conservative", "anti-conservative", "not resolvable"]


@dataclass(frozen=True)
class NullHistogram:
    """p-values of the nonmembers in equal bins over [0, 1]; flat where they are valid.

    test: the variant. kind: see `PCalibration`.
    """

    format: str
    device: str
    test: str
    kind: PKind
    shadow_match: str
    counts: tuple[int, ...]


@dataclass(frozen=True)
class CalibrationRow:
    """Calibration at one nominal level.

    observed: rate of p <= nominal. low, high: its 95% interval. band_low, band_high: 95% band of a valid conformal
    test's observed rate, see `conformal_band`; None where p is not conformal. count, n: false positives and nonmembers
    over all targets. known: number of z's that p ranks among, the smallest of any target. attainable: the largest
    observed p <= nominal, None if there is none: a test with few distinct p-values can have no other rate. targets: 1 =
    interval over records (Clopper-Pearson), more = over targets (t).
    """

    nominal: float
    observed: float
    low: float
    high: float
    count: int
    n: int
    attainable: float | None
    status: CalibrationStatus
    targets: int
    note: str | None = None
    band_low: float | None = None
    band_high: float | None = None
    known: int | None = None


@dataclass(frozen=True)
class _TestColumns:
    """What a calibration is of: the columns before its own."""

    format: str
    device: str
    shadow_match: str
    attack: str
    variant: str
    kind: PKind
    source: PSource
    is_p_value: bool


@dataclass(frozen=True)
class PCalibration(CalibrationRow, _TestColumns):
    """How often a test says p <= nominal of records that are known nonmembers.

    kind: conformal, the rank of a record's score among those of `known` records that the target did not train on; or
    nominal, what the test itself calls a p-value, which is a ranking. source: the targets' nonmembers, or the audited
    records queried on a null target. is_p_value: whether p is used as a p-value: conformal, and no row of this test and
    format above the band that is widened for all of them at once (Bonferroni). count of n records; low, high: 95%
    interval of the observed rate; band_low, band_high: where a valid conformal test's observed rate lies with 95%.
    attainable: the largest observed p <= nominal.
    """

    @classmethod
    def of(cls, series: Series, kind: PKind, source: PSource, row: CalibrationRow, ranking: str | None) -> PCalibration:
        """Build from a calibration row. ranking: why the conformal p is a ranking only; None where it is a p-value."""
        conformal = kind == "conformal"
        note = "; ".join(part for part in (ranking, row.note) if part) if conformal and ranking else row.note
        return cls(
            format=series.place.format,
            device=series.place.device,
            shadow_match=series.place.shadow_match,
            attack=series.attack,
            variant=series.variant,
            kind=kind,
            source=source,
            is_p_value=conformal and ranking is None,
            **{**asdict(row), "note": note},
        )


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
