"""Figures of leakage, comparisons between them, and what they are drawn from."""

from __future__ import annotations

from typing import Literal

from edgeaudit.report.model.base import Model
from edgeaudit.report.model.formats import Outputs

__all__ = [
    "AcrossTargets",
    "CalibrationLeak",
    "Comparison",
    "Curve",
    "ExposedRecord",
    "LeakageRow",
    "NullHistogram",
    "PCalibration",
    "TogetherRow",
    "TogetherSingle",
    "WeakerExposure",
]


class LeakageRow(Model):
    """One figure. `value` is null where the records or shadows cannot resolve it, and `note` says why.

    metric: auc, tpr@fpr=0.01, tpr@fpr=0.001, balanced_accuracy, advantage, ppv@prior=0.5 ...; for verdicts of
    CM-MIA: coverage@0.05, ppv@0.05, recall@0.05, fpr@0.05, forced_accuracy@0.05 (number = cutoff on the conformal
    p-value), coverage@nominal=0.05 ... (the paper's rule: cutoff on what `ecdf` or `pchip` call a p-value); for claims
    at a false discovery rate: claimed@by=0.05, fdp@by=0.05, recall@by=0.05 (bh: Benjamini-Hochberg, by: Benjamini-
    Yekutieli); epsilon_lower, epsilon_one_run: 95% lower bounds, which have no upper end.
    low, high: 95% interval. realised_fpr: at the threshold that was used.
    subset: all, or abnormal:<selection>.
    """

    format: str
    device: str
    attack: str
    variant: str
    exposure: str
    subset: str
    shadow_match: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n_members: int
    n_nonmembers: int
    realised_fpr: float | None = None
    note: str | None = None


class AcrossTargets(Model):
    """A figure's mean over targets, its standard error and t interval; targets without a figure are `missing`.

    format, ..., metric: as in `LeakageRow`.
    """

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


class Comparison(Model):
    """A figure of `first` less that of `second`, on the same records and memberships; positive = the first leaks more.

    kind: `format` (a format and the reference, by the attack `series`), `format pair` (any two formats but the
    reference), `device` (one format on two devices, by `series`), `shadow match` (matched against fp32 shadows, by
    `series`), `attack` (two attacks on `format`), or `exposure` (a weaker exposure of `format` against the audit's own,
    by `series`; where another attack reads the audit's own, `note` names it). targets: 1 = over the records of one
    target (paired DeLong, paired bootstrap), more = over targets (paired t). adjusted_p: Holm's, in its family: one
    metric, and all formats, pairs, devices, attacks or exposures compared.
    """

    kind: Literal["format", "format pair", "device", "shadow match", "attack", "exposure"]
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


class TogetherSingle(Model):
    """A combined attack's figure less that of the yardstick on one format alone; value is the yardstick's.

    low, high, p_value: of the difference, paired; two-sided, unadjusted.
    """

    format: str
    value: float | None
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    note: str | None = None


class TogetherRow(Model):
    """An attacker who holds several formats of one model, against the yardstick attack on each of them alone.

    method: compleak-sr, compleak-mr, joint-offline, joint-online, mean-score; `-` where the set was not run. value,
    low, high: of the combination, over the records of one target or, with several, over targets. yardstick: the audit's
    headline attack (cm-mia/calibrated), or an attack of the same kind (lira/offline-global, compleak-nr). best:
    the format whose yardstick is largest; difference and its interval: combination less that. p_value: of "some format
    alone is at least as good", the largest over the singles; two-sided. adjusted_p: Holm's, over all sets and methods
    against one kind of yardstick, in one metric.
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
    note: str | None = None


class PCalibration(Model):
    """How often a test says p <= nominal of records that are known nonmembers.

    kind: conformal, the rank of a record's score among those of `known` records that the target did not train on; or
    nominal, what the test itself calls a p-value, which is a ranking. source: the targets' nonmembers, or the audited
    records asked of a null target. is_p_value: whether p is used as a p-value: conformal, and no row of this test and
    format above the band that is widened for all of them at once (Bonferroni). count of n records; low, high: 95%
    interval of the observed rate; band_low, band_high: where a valid conformal test's observed rate lies with 95%.
    attainable: the largest p <= nominal that was given.
    """

    format: str
    device: str
    shadow_match: str
    attack: str
    variant: str
    kind: Literal["conformal", "nominal"]
    source: Literal["nonmembers", "null target"]
    is_p_value: bool
    nominal: float
    observed: float
    low: float
    high: float
    count: int
    n: int
    attainable: float | None
    status: Literal["calibrated", "conservative", "anti-conservative", "not resolvable"]
    targets: int
    note: str | None = None
    band_low: float | None = None
    band_high: float | None = None
    known: int | None = None


class Curve(Model):
    """A ROC curve, thinned to what a plot can show; first point (0, 0), last (1, 1)."""

    format: str
    device: str
    attack: str
    variant: str
    subset: str
    shadow_match: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


class NullHistogram(Model):
    """p-values of the nonmembers in equal bins over [0, 1]; flat where they hold. kind: see `PCalibration`."""

    format: str
    device: str
    test: str
    kind: Literal["conformal", "nominal"]
    shadow_match: str
    counts: tuple[int, ...]


class ExposedRecord(Model):
    """A record that the attack ranks among the most likely members, by the population's record id.

    calibrated: the quantiser saw it, which can expose a record that the training never used.
    """

    format: str
    device: str
    rank: int
    record: int
    label: int
    score: float
    p_value: float | None
    member: bool
    calibrated: bool = False


class CalibrationLeak(Model):
    """Records of one side that the quantiser saw, against the others of that side: a leak of the calibration set.

    value: AUC of the attack's score, above 0.5 where seen records look more like members; low, high: DeLong's 95%
    interval. p_value: two-sided, of AUC = 0.5, not adjusted.
    """

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


class WeakerExposure(Model):
    """One format as a device would serve it that returns less of an answer.

    exposure: top-<classes>, rounded-<decimals>, label, probabilities (of an audit of logits). outputs: of what is left
    of the true class's probability. error: why the level could not be measured; it then has no figures.
    """

    format: str
    device: str
    shadow_match: str
    exposure: str
    outputs: Outputs | None = None
    error: str | None = None
