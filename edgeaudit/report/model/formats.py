"""What each format is: its passes, runtime and file, and how well the file answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeaudit.leakage.rows import Accuracy
from edgeaudit.report.model.base import Model, Table, Versions

__all__ = [
    "Agreement",
    "ArtifactInfo",
    "FileTraits",
    "FormatResult",
    "Latency",
    "Outputs",
    "PassInfo",
    "Quality",
    "RuntimeInfo",
    "ShadowFiles",
    "WeakerExposure",
]


class PassInfo(Model):
    """One toolchain step of a format, as applied to the target."""

    name: str
    params: Table
    versions: Versions


class RuntimeInfo(Model):
    """The runtime that served the artifact."""

    name: str
    version: str
    options: Table


class FileTraits(Model):
    """How a file was made, as far as it says so.

    producer: the toolchain that wrote it; empty where it does not say. weights: dtype of most of its weights; empty
    where it has none. activations: float32, int8, uint8 or int16 with ranges in the file, or dynamic. scales: of
    integer weights, per channel or per tensor. arrangement: of quantised operators, QDQ or QOperator, where there are
    several. head: softmax, sigmoid or other, the last operator. quantised: whether any weight or activation is an
    integer.
    """

    producer: str
    weights: str
    activations: str
    scales: str
    arrangement: str
    head: str
    quantised: bool


class ArtifactInfo(Model):
    """The target's file.

    companions: SHA-256 of the files that ship beside it, by name; bytes counts them. calibration_audited: calibration
    records that are also audited, which is a separate leak. unread_outputs: outputs of a file that was made elsewhere
    beside the one with the scores, and unread_values of that one, which an attacker sees and nothing here reads.
    found: for such a file, what was read from it and what its answers show; traits: how it was made, null where its
    type does not say.
    """

    file: str
    sha256: str
    bytes: int
    softmax_inside: bool
    calibration_policy: str | None
    calibration_records: int
    calibration_audited: int = 0
    companions: dict[str, str] = Field(default={})
    unread_outputs: int = 0
    unread_values: int = 0
    found: tuple[str, ...] = ()
    traits: FileTraits | None = None


class ShadowFiles(Model):
    """What the shadows of a file that was made elsewhere went through; their files, by the first one's.

    passes: from the trained model on. traits: null where such files do not say, and note gives the reason.
    """

    passes: tuple[PassInfo, ...]
    kind: str
    softmax_inside: bool
    calibration_policy: str | None
    calibration_records: int
    traits: FileTraits | None = None
    note: str | None = None


class Outputs(Model):
    """Granularity of the answers.

    distinct: number of different true-class probabilities. tie_mass: share of records whose value another shares.
    """

    distinct: int
    tie_mass: float


class Agreement(Model):
    """Artifact against its trained model, on check records: the target's figures, and the worst shadow's."""

    records: int
    max_abs: float
    rel_rms: float
    top1: float | None
    range_ratio: float
    worst_class: float
    worst_shadow_rel_rms: float | None = None
    worst_shadow_top1: float | None = None


class Quality(Model):
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


class FormatResult(Model):
    """One format on one device. status `failed` carries the error and has no figures.

    passes: of the target; none where its file was made elsewhere, and shadow_files has those of its shadows.
    probability_floor: p of the format's own figures is clipped to [floor, 1 - floor]; formats are compared at the one
    in `threat`.
    """

    id: str
    device: str
    status: Literal["ok", "failed"]
    summary: str
    precision: str
    passes: tuple[PassInfo, ...] = ()
    runtime: RuntimeInfo | None = None
    artifact: ArtifactInfo | None = None
    shadow_files: ShadowFiles | None = None
    accuracy: Accuracy | None = None
    outputs: Outputs | None = None
    probability_floor: float | None = None
    agreement: Agreement | None = None
    quality: Quality | None = None
    error: str | None = None


class Latency(Model):
    """How long the runtime took for one batch of `batch` records, in milliseconds, on the device of `format`.

    median_ms, p95_ms: of `n` calls of the runtime itself, one after the other, on records in the file's own layout and
    dtype, while no other job of the audit ran; ..._low, ..._high: 95% intervals by order statistics over these calls,
    null where n cannot bound them. record_ms: median_ms / batch. cpu_share: CPU time over wall time of the calls; far
    below 1 where other programs used the processor. All null where the format cannot take the batch; note says why.
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


class WeakerExposure(Model):
    """One format served at a coarser output granularity.

    exposure: top-<classes>, rounded-<decimals>, label, probabilities (of an audit of logits). outputs: granularity
    of the true class's probability at that level. error: why the level could not be measured; it then has no figures.
    """

    format: str
    device: str
    shadow_match: str
    exposure: str
    outputs: Outputs | None = None
    error: str | None = None
