"""audit.json as a whole, and what it says of the tool, the machine and the population."""

from __future__ import annotations

from typing import Literal

from edgeaudit.report.model.base import SCHEMA_VERSION, Model, Seconds, Table, Versions
from edgeaudit.report.model.devices import DeviceInfo
from edgeaudit.report.model.formats import FormatResult, Latency, SameFile
from edgeaudit.report.model.leakage import (
    AcrossTargets,
    CalibrationLeak,
    Comparison,
    Curve,
    ExposedRecord,
    LeakageRow,
    NullHistogram,
    PCalibration,
    TogetherRow,
    WeakerExposure,
)
from edgeaudit.report.model.verdict import Control, Verdict

__all__ = ["Audit", "Environment", "PopulationInfo", "ToolInfo"]


class ToolInfo(Model):
    """Which edgeaudit made the file."""

    name: Literal["edgeaudit"] = "edgeaudit"
    version: str


class Environment(Model):
    """The machine and the packages; `isa` lists the CPU flags that select integer and half-precision kernels."""

    python: str
    os: str
    cpu: str
    isa: tuple[str, ...]
    packages: Versions


class PopulationInfo(Model):
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


class Audit(Model):
    """The whole of audit.json. `created`, `latency` and `timings` alone differ when an audit is repeated elsewhere.

    weaker_leakage: figures of `weaker_exposures`, by their `exposure`; `leakage` has those of the audit's own.
    """

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    tool: ToolInfo
    created: str
    name: str
    seed: int
    spec: Table
    environment: Environment
    population: PopulationInfo
    threat: Table
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
    timings: Seconds
