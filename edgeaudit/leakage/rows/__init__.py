"""The rows of a report, one frozen dataclass a kind: what stages create, store and read back, and what audit.json has.

audit.json and its JSON Schema take their fields and descriptions from these classes, so each field is defined once.
Every row names its deployment (a format on a device), and most the shadow-target match of the attack (see `Place`).
Values that cannot be resolved are None, and `note` gives the reason.

These modules import nothing that computes: reading an audit.json must not load scipy. Where a row is made from a result
of another module, the import is for the type checker alone.
"""

from edgeaudit.leakage.rows.behaviour import Behaviour, Gap, Gaps
from edgeaudit.leakage.rows.canaries import CanaryResult, CanaryTest
from edgeaudit.leakage.rows.comparisons import AcrossTargets, Comparison, ComparisonKind, SameFile, TargetMean
from edgeaudit.leakage.rows.figures import (
    CANARIES,
    Accuracy,
    CalibrationLeak,
    Curve,
    ExposedRecord,
    Figure,
    LeakageRow,
    Place,
    Series,
    TargetFigure,
)
from edgeaudit.leakage.rows.p_values import (
    CalibrationRow,
    CalibrationStatus,
    NullControlRow,
    NullHistogram,
    PCalibration,
    PKind,
    PSource,
)
from edgeaudit.leakage.rows.records import ClaimedRecord, RecordClaims
from edgeaudit.leakage.rows.slices import WorstSlice
from edgeaudit.leakage.rows.together import TogetherNullRow, TogetherRow, TogetherSingle

__all__ = [
    "CANARIES", "Accuracy", "AcrossTargets", "Behaviour", "CalibrationLeak", "CalibrationRow", "CalibrationStatus",
    "CanaryResult", "CanaryTest", "ClaimedRecord", "Comparison", "ComparisonKind", "Curve", "ExposedRecord",
    "Figure", "Gap", "Gaps", "LeakageRow", "NullControlRow", "NullHistogram", "PCalibration", "PKind", "PSource",
    "Place", "RecordClaims", "SameFile", "Series", "TargetFigure", "TargetMean", "TogetherNullRow", "TogetherRow",
    "TogetherSingle", "WorstSlice",
]  # fmt: skip
