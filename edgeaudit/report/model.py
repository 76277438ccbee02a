"""audit.json: the one result of an audit, versioned, with a published JSON Schema.

Everything else that is shown (terminal table, HTML) is made from this and from nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

__all__ = [
    "SCHEMA_VERSION",
    "Accuracy",
    "AcrossTargets",
    "Agreement",
    "ArtifactInfo",
    "Audit",
    "Budget",
    "CalibrationLeak",
    "Control",
    "Curve",
    "Environment",
    "ExposedRecord",
    "FormatResult",
    "Latency",
    "LeakageRow",
    "NullHistogram",
    "Outputs",
    "PCalibration",
    "PassInfo",
    "PopulationInfo",
    "Quality",
    "RuntimeInfo",
    "TogetherRow",
    "TogetherSingle",
    "ToolInfo",
    "Verdict",
    "WeakerExposure",
]

SCHEMA_VERSION: Final = "1.0"


def _canonical(value: Any) -> Any:
    """Sort the keys of free-form tables and make their sequences lists, so that equal audits give equal bytes."""
    if isinstance(value, dict):
        return {str(key): _canonical(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    return value


_Table = Annotated[dict[str, Any], AfterValidator(_canonical)]
_Versions = Annotated[dict[str, str], AfterValidator(_canonical)]
_Seconds = Annotated[dict[str, float], AfterValidator(_canonical)]


class _Model(BaseModel):
    """Unknown keys are refused, and so are NaN and infinity: JSON has neither, a figure that is missing is null."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ToolInfo(_Model):
    """Which edgeaudit made the file."""

    name: Literal["edgeaudit"] = "edgeaudit"
    version: str


class Environment(_Model):
    """The machine and the packages; `isa` lists the CPU flags that select integer and half-precision kernels."""

    python: str
    os: str
    cpu: str
    isa: tuple[str, ...]
    packages: _Versions


class PopulationInfo(_Model):
    """What was drawn. `duplicates` counts records that repeat an earlier one byte for byte."""

    source: str
    sha256: str
    records: int
    members: int
    nonmembers: int
    reference: int
    classes: int
    input_shape: tuple[int, ...]
    duplicates: int
    conflicting_labels: int
    notes: tuple[str, ...] = ()


class PassInfo(_Model):
    """One toolchain step of a format, as applied to the target."""

    name: str
    params: _Table
    versions: _Versions


class RuntimeInfo(_Model):
    """What served the artifact."""

    name: str
    version: str
    options: _Table


class ArtifactInfo(_Model):
    """The target's file.

    companions: SHA-256 of the files that ship beside it, by name; bytes counts them. calibration_audited: calibration
    records that are audited, too, which is a leak of its own. found: what was read from a file that was made elsewhere,
    and what its answers say of it.
    """

    file: str
    sha256: str
    bytes: int
    softmax_inside: bool
    calibration_policy: str | None
    calibration_records: int
    calibration_audited: int = 0
    companions: dict[str, str] = {}
    found: tuple[str, ...] = ()


class Accuracy(_Model):
    """Share of records whose largest output is the label.

    shadow_*: mean over the shadows, on the records that each did and did not train on.
    """

    train: float
    test: float
    shadow_train: float | None = None
    shadow_test: float | None = None


class Outputs(_Model):
    """How coarse the answers are.

    distinct: number of different true-class probabilities. tie_mass: share of records whose value another shares.
    """

    distinct: int
    tie_mass: float


class Agreement(_Model):
    """Artifact against its trained model, on check records: the target's figures, and the worst shadow's."""

    records: int
    max_abs: float
    rel_rms: float
    top1: float
    range_ratio: float
    worst_class: float
    worst_shadow_rel_rms: float | None = None
    worst_shadow_top1: float | None = None


class Quality(_Model):
    """What the target's file costs to ship, beside `ArtifactInfo.bytes` and `Accuracy.test`.

    compressed_bytes: of the file and its companions, each by itself, as `compression` says. zeros of weights: entries
    of its constants with more than one dimension; a weight that is an integer is zero at its zero point. sparsity:
    zeros / weights. All three are null where the file's weights cannot be read, and `note` says why.
    """

    compressed_bytes: int
    compression: str
    weights: int | None
    zeros: int | None
    sparsity: float | None
    note: str | None = None


class FormatResult(_Model):
    """One format on one device. status `failed` carries the error and has no figures."""

    id: str
    device: str
    status: Literal["ok", "failed"]
    summary: str
    precision: str
    passes: tuple[PassInfo, ...] = ()
    runtime: RuntimeInfo | None = None
    artifact: ArtifactInfo | None = None
    accuracy: Accuracy | None = None
    outputs: Outputs | None = None
    agreement: Agreement | None = None
    quality: Quality | None = None
    error: str | None = None


class LeakageRow(_Model):
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


class Latency(_Model):
    """How long the runtime took for one batch of `batch` records, in milliseconds, on the device of `format`.

    median_ms, p95_ms: of `n` calls of the runtime itself, one after the other, on records in the file's own layout and
    dtype, while no other job of the audit ran; ..._low, ..._high: 95% intervals by order statistics over these calls,
    null where n cannot bound them. record_ms: median_ms / batch. cpu_share: CPU time over wall time of the calls; far
    below 1 where other programs took the processor. All null where the format cannot take the batch; note says why.
    """

    format: str
    device: str
    batch: int
    threads: int
    n: int = 0
    median_ms: float | None = None
    median_low: float | None = None
    median_high: float | None = None
    p95_ms: float | None = None
    p95_low: float | None = None
    p95_high: float | None = None
    record_ms: float | None = None
    cpu_share: float | None = None
    note: str | None = None


class AcrossTargets(_Model):
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


class Comparison(_Model):
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


class SameFile(_Model):
    """The first target's file asked in two places about the same `records`: on two devices, or in two runtimes.

    format, device: one place; other_format, other_device: the other. rows: that differ in some value. max_abs: the
    largest difference, in the file's own units. top1: records whose largest class is another.
    """

    format: str
    device: str
    other_format: str
    other_device: str
    records: int
    rows: int
    max_abs: float
    top1: int


class PlacesCompared(_Model):
    """One model's answers on this machine and on a device: as `SameFile`."""

    model: str
    records: int
    rows: int
    max_abs: float
    top1: int


class DeviceFormat(_Model):
    """How one format was asked on a device.

    options: of its runtime. engaged: delegates or execution providers that really computed. engines: files that the
    runtime compiled on the device and computed with, with their SHA-256 and precision. asked: records that the
    target was asked about; resumed: of them, those that an earlier run had been answered about. restored: how often
    the connection was lost and came back. shadows: whose answers stand for the shadows', `device` or `this machine`;
    equivalence: the evidence. fingerprint: as the device's agent told it after answering; empty of other servers.
    """

    format: str
    versions: dict[str, str]
    options: _Table
    engaged: tuple[str, ...]
    engines: tuple[_Table, ...] = ()
    asked: int
    resumed: int
    restored: int
    shadows: Literal["device", "this machine", "none"]
    stood_in_regardless: bool = False
    equivalence: tuple[PlacesCompared, ...] = ()
    fingerprint: _Table


class DeviceInfo(_Model):
    """A device that formats were asked on. verified: as its profile states it; null without a profile."""

    name: str
    via: str
    profile: str | None = None
    title: str | None = None
    cpu: str | None = None
    machine: str | None = None
    isa: tuple[str, ...] = ()
    os: str | None = None
    python: str | None = None
    verified: str | None = None
    compared: str | None = None
    formats: tuple[DeviceFormat, ...] = ()


class TogetherSingle(_Model):
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


class TogetherRow(_Model):
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


class PCalibration(_Model):
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


class Curve(_Model):
    """A ROC curve, thinned to what a plot can show; first point (0, 0), last (1, 1)."""

    format: str
    device: str
    attack: str
    variant: str
    subset: str
    shadow_match: str
    fpr: tuple[float, ...]
    tpr: tuple[float, ...]


class NullHistogram(_Model):
    """p-values of the nonmembers in equal bins over [0, 1]; flat where they hold. kind: see `PCalibration`."""

    format: str
    device: str
    test: str
    kind: Literal["conformal", "nominal"]
    shadow_match: str
    counts: tuple[int, ...]


class ExposedRecord(_Model):
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


class CalibrationLeak(_Model):
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


class Control(_Model):
    """A check of the audit itself; one that failed makes it invalid.

    value, low, high: the figure that was tested (an AUC of members against nonmembers, or a share) with its 95%
    interval. p_value: corrected for the control's other tests. n: records that the figure rests on. format null: the
    control is of the whole audit.
    """

    name: str
    status: Literal["holds", "failed", "not run", "warning"]
    statement: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    n: int | None = None
    format: str | None = None
    note: str | None = None


class WeakerExposure(_Model):
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


class Budget(_Model):
    """One budget and how it came out; `low`/`high` is the interval it was judged on. device null: all devices."""

    metric: str
    level: Literal["warn", "error"]
    limit: str
    format: str
    attack: str
    subset: str
    verdict: Literal["pass", "fail", "inconclusive"]
    value: float | None
    low: float | None
    high: float | None
    note: str | None = None
    device: str | None = None


class Verdict(_Model):
    """The audit's outcome. exit_code: 0 within budget or not judged, 1 exceeded, 2 error, 3 inconclusive or invalid."""

    outcome: Literal["within budget", "not judged", "budget exceeded", "error", "inconclusive", "invalid"]
    exit_code: Literal[0, 1, 2, 3]
    reasons: tuple[str, ...]
    budgets: tuple[Budget, ...]


class Audit(_Model):
    """The whole of audit.json. `created`, `latency` and `timings` alone differ when an audit is repeated elsewhere.

    weaker_leakage: figures of `weaker_exposures`, by their `exposure`; `leakage` has those of the audit's own.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    tool: ToolInfo
    created: str
    name: str
    seed: int
    spec: _Table
    environment: Environment
    population: PopulationInfo
    threat: _Table
    controls: tuple[Control, ...] = ()
    formats: tuple[FormatResult, ...]
    leakage: tuple[LeakageRow, ...]
    curves: tuple[Curve, ...]
    null_p_values: tuple[NullHistogram, ...]
    p_calibration: tuple[PCalibration, ...] = ()
    across_targets: tuple[AcrossTargets, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    devices: tuple[DeviceInfo, ...] = ()
    same_file: tuple[SameFile, ...] = ()
    weaker_exposures: tuple[WeakerExposure, ...] = ()
    weaker_leakage: tuple[LeakageRow, ...] = ()
    together: tuple[TogetherRow, ...] = ()
    exposed: tuple[ExposedRecord, ...]
    calibration: tuple[CalibrationLeak, ...] = ()
    latency: tuple[Latency, ...] = ()
    verdict: Verdict
    timings: _Seconds
