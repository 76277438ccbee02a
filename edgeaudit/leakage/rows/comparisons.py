"""Means over targets, and differences between formats, devices, attacks, shadow matches and exposures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgeaudit.leakage.comparisons import Compared
    from edgeaudit.leakage.differing import Differing
    from edgeaudit.leakage.rows.figures import Place

__all__ = ["AcrossTargets", "Comparison", "ComparisonKind", "SameFile", "TargetMean"]

ComparisonKind = Literal["format", "format pair", "device", "shadow match", "attack", "exposure"]


@dataclass(frozen=True)
class TargetMean:
    """A mean over targets, in the figure's unit.

    value: mean. se: its standard error. low, high: t interval. targets: number with a value. missing: number without.
    Unknown values are None, and note gives the reason.
    """

    value: float | None
    se: float | None
    low: float | None
    high: float | None
    targets: int
    missing: int
    note: str | None = None


@dataclass(frozen=True)
class _FigureColumns:
    """What a mean is of: the columns before its own."""

    format: str
    device: str
    shadow_match: str
    attack: str
    variant: str
    subset: str
    metric: str


@dataclass(frozen=True)
class AcrossTargets(TargetMean, _FigureColumns):
    """A figure's mean over targets, its standard error and interval; targets without a figure are `missing`.

    The interval of AUC, TPR at an FPR, balanced accuracy and advantage on all records is over targets and records (of
    this pipeline, `pipeline_mean`), that of other figures over targets alone (`mean_over_targets`).

    format, ..., metric: as in `LeakageRow`.
    """

    @classmethod
    def of(cls, place: Place, figure: tuple[str, str, str, str], mean: TargetMean) -> AcrossTargets:
        """Build from a mean. figure: as in `LeakageRow.figure`."""
        attack, variant, subset, metric = figure
        return cls(
            format=place.format,
            device=place.device,
            shadow_match=place.shadow_match,
            attack=attack,
            variant=variant,
            subset=subset,
            metric=metric,
            **asdict(mean),
        )


@dataclass(frozen=True)
class Comparison:
    """A figure of `first` minus that of `second`, on the same records and memberships; positive: the first leaks more.

    kind: `format` (a format and the reference, by the attack `series`), `format pair` (any two formats but the
    reference), `device` (one format on two devices, by `series`), `shadow match` (matched against fp32 shadows, by
    `series`), `attack` (two attacks on `format`), or `exposure` (a weaker exposure of `format` against the audit's own,
    by `series`; where another attack reads the audit's own, `note` names it). targets: 1 = over the records of one
    target (paired DeLong, paired bootstrap), more = over targets (paired t). adjusted_p: Holm's, in its family: one
    metric, and all formats, pairs, devices, attacks or exposures compared.
    """

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
    adjusted_p: float | None
    targets: int
    note: str | None = None

    @classmethod
    def of(
        cls, kind: ComparisonKind, place: Place, series: str, names: tuple[str, str], metric: str, difference: Compared
    ) -> Comparison:
        """Build from a comparison. series: `attack/variant`. names: of the first and the second."""
        first, second = names
        return cls(
            kind=kind,
            format=place.format,
            device=place.device,
            shadow_match=place.shadow_match,
            series=series,
            metric=metric,
            first=first,
            second=second,
            first_value=difference.first,
            second_value=difference.second,
            value=difference.value,
            low=difference.low,
            high=difference.high,
            p_value=difference.p_value,
            adjusted_p=difference.adjusted_p,
            targets=difference.targets,
            note=difference.note,
        )


@dataclass(frozen=True)
class SameFile:
    """Answers of the first target's file to the same `records` in two deployments: on two devices, or in two runtimes.

    format, device: one deployment; other_format, other_device: the other. rows: answers that differ in some value.
    max_abs: the largest difference, in the file's own units. top1: records whose largest class differs.
    """

    format: str
    device: str
    other_format: str
    other_device: str
    records: int
    rows: int
    max_abs: float
    top1: int

    @classmethod
    def of(cls, first: tuple[str, str], second: tuple[str, str], difference: Differing) -> SameFile:
        """Build from a comparison. first, second: (format, device)."""
        return cls(*first, *second, difference.records, difference.rows, difference.max_abs, difference.top1)
