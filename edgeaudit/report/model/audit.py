"""audit.json as a whole, with the tool, the machine and the population.

Every section that is a table is `Rows`, which have a method `to_frame()`.
"""

from __future__ import annotations

from typing import Literal

from edgeaudit.controls.base import Control
from edgeaudit.leakage.rows import (
    AcrossTargets,
    CalibrationLeak,
    CanaryResult,
    ClaimedRecord,
    Comparison,
    Curve,
    ExposedRecord,
    LeakageRow,
    NullHistogram,
    PCalibration,
    RecordClaims,
    SameFile,
    TogetherRow,
    WorstSlice,
)
from edgeaudit.report.model.base import SCHEMA_VERSION, Model, Seconds, Table, Versions
from edgeaudit.report.model.devices import DeviceInfo
from edgeaudit.report.model.formats import FormatResult, Latency, WeakerExposure
from edgeaudit.report.model.training import TrainingInfo
from edgeaudit.report.model.verdict import Verdict
from edgeaudit.rows import Rows

__all__ = ["Audit", "Environment", "PopulationInfo", "Thumbnail", "ToolInfo"]


class ToolInfo(Model):
    """The edgeaudit that made the file."""

    name: Literal["edgeaudit"] = "edgeaudit"
    version: str


class Environment(Model):
    """The machine and the packages; `isa` lists the CPU flags that select integer and half-precision kernels.

    foreign_files: how files of others were opened, in one sentence; null in files of earlier versions.
    """

    python: str
    os: str
    cpu: str
    isa: tuple[str, ...]
    packages: Versions
    foreign_files: str | None = None


class PopulationInfo(Model):
    """The records that were drawn. `duplicates` counts records that repeat an earlier one byte for byte.

    class_names: the data's own labels in the order of classes 0, 1, ...; empty where these are the labels. grouped_by:
    what makes records related. groups, largest_group: number of groups among the audited records, and records of the
    largest; null in files of earlier versions. notes: also how labels, files and columns were read.
    """

    source: str
    sha256: str
    records: int
    members: int
    nonmembers: int
    reference: int
    classes: int
    class_names: tuple[str, ...] = ()
    task: str = "classification"
    outputs: int | None = None
    input_shape: tuple[int, ...]
    duplicates: int
    conflicting_labels: int
    grouped_by: str | None = None
    groups: int | None = None
    largest_group: int | None = None
    notes: tuple[str, ...] = ()


class Thumbnail(Model):
    """A small image of a listed record. image: a data URI of a PNG of at most 64 pixels a side."""

    record: int
    image: str


class LongTable(Model):
    """A table beside audit.json, as Parquet. rows: how many it has."""

    file: str
    rows: int


class Audit(Model):
    """The whole of audit.json. Only `created`, `latency` and `timings` differ when an audit is repeated elsewhere.

    training: what early stopping and privacy did to the first target; null where neither was asked for.
    headlines: `attack/variant` that may stand for the audit, the strongest of its mode first; summaries, plots and
    comparisons use the first that could be run.
    claims, claimed: the records that can be claimed to be members. exposed: those with the highest scores, which are no
    claims. `report.records` of the spec says what is listed of both; thumbnails: images of them, where it asks for
    that. replaced: keys of audit.yaml whose values are those of a command line. weaker_leakage: figures of
    `weaker_exposures`, by their `exposure`; `leakage` has those of the audit's own, but for figures of subsets that no
    budget limits and no report shows, such as positive predictive values: those are in `long_tables` alone.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    tool: ToolInfo
    created: str
    name: str
    seed: int
    spec: Table
    replaced: tuple[str, ...] = ()
    environment: Environment
    population: PopulationInfo
    training: TrainingInfo | None = None
    threat: Table
    headlines: tuple[str, ...] = ()
    controls: Rows[Control] = Rows(of=Control)
    formats: Rows[FormatResult]
    leakage: Rows[LeakageRow]
    worst_slices: Rows[WorstSlice] = Rows(of=WorstSlice)
    canaries: Rows[CanaryResult] = Rows(of=CanaryResult)
    curves: Rows[Curve]
    null_p_values: Rows[NullHistogram]
    p_calibration: Rows[PCalibration] = Rows(of=PCalibration)
    across_targets: Rows[AcrossTargets] = Rows(of=AcrossTargets)
    comparisons: Rows[Comparison] = Rows(of=Comparison)
    devices: Rows[DeviceInfo] = Rows(of=DeviceInfo)
    same_file: Rows[SameFile] = Rows(of=SameFile)
    weaker_exposures: Rows[WeakerExposure] = Rows(of=WeakerExposure)
    weaker_leakage: Rows[LeakageRow] = Rows(of=LeakageRow)
    long_tables: Rows[LongTable] = Rows(of=LongTable)
    together: Rows[TogetherRow] = Rows(of=TogetherRow)
    claims: RecordClaims | None = None
    claimed: Rows[ClaimedRecord] = Rows(of=ClaimedRecord)
    exposed: Rows[ExposedRecord]
    thumbnails: Rows[Thumbnail] = Rows(of=Thumbnail)
    calibration: Rows[CalibrationLeak] = Rows(of=CalibrationLeak)
    latency: Rows[Latency] = Rows(of=Latency)
    verdict: Verdict
    timings: Seconds
