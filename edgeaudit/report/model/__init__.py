"""audit.json: the one result of an audit, versioned, with a published JSON Schema.

All other reports (terminal table, HTML) are rendered from this alone. Import the types from here; the modules of this
package group them. Rows of leakage figures are the dataclasses of
`edgeaudit.leakage.rows`, controls that of `edgeaudit.controls.base`.
"""

from edgeaudit.controls.base import Control
from edgeaudit.leakage.rows import (
    CANARIES,
    Accuracy,
    AcrossTargets,
    CalibrationLeak,
    CanaryResult,
    CanaryTest,
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
    TogetherSingle,
    WorstSlice,
)
from edgeaudit.report.model.audit import Audit, Environment, LongTable, PopulationInfo, Thumbnail, ToolInfo
from edgeaudit.report.model.base import SCHEMA_VERSION
from edgeaudit.report.model.devices import DeviceFormat, DeviceInfo, PlacesCompared
from edgeaudit.report.model.formats import (
    Agreement,
    ArtifactInfo,
    FileTraits,
    FormatResult,
    Latency,
    Outputs,
    PassInfo,
    Quality,
    RuntimeInfo,
    ShadowFiles,
    WeakerExposure,
)
from edgeaudit.report.model.training import EarlyStopped, PrivacySpent, TrainingInfo
from edgeaudit.report.model.verdict import (
    Budget,
    JudgedAttack,
    JudgedWaiver,
    LimitsOrigin,
    PolicyOrigin,
    Verdict,
    Waiver,
)

__all__ = [
    "CANARIES",
    "SCHEMA_VERSION",
    "Accuracy",
    "AcrossTargets",
    "Agreement",
    "ArtifactInfo",
    "Audit",
    "Budget",
    "CalibrationLeak",
    "CanaryResult",
    "CanaryTest",
    "ClaimedRecord",
    "Comparison",
    "Control",
    "Curve",
    "DeviceFormat",
    "DeviceInfo",
    "EarlyStopped",
    "Environment",
    "ExposedRecord",
    "FileTraits",
    "FormatResult",
    "JudgedAttack",
    "JudgedWaiver",
    "Latency",
    "LeakageRow",
    "LimitsOrigin",
    "LongTable",
    "NullHistogram",
    "Outputs",
    "PCalibration",
    "PassInfo",
    "PlacesCompared",
    "PolicyOrigin",
    "PopulationInfo",
    "PrivacySpent",
    "Quality",
    "RecordClaims",
    "RuntimeInfo",
    "SameFile",
    "ShadowFiles",
    "Thumbnail",
    "TogetherRow",
    "TogetherSingle",
    "ToolInfo",
    "TrainingInfo",
    "Verdict",
    "Waiver",
    "WeakerExposure",
    "WorstSlice",
]
