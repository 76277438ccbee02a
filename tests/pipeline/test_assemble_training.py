"""Which files keep the differential privacy of a training."""

from __future__ import annotations

from typing import Any

import pytest

from edgeaudit.pipeline.assemble_training import privacy_controls
from edgeaudit.report.model import FormatResult, TrainingInfo

SPENT = {
    "epsilon": 7.994, "delta": 1e-5, "clip": 1.0, "noise_multiplier": 0.9, "sample_rate": 0.1, "steps": 300,
    "accountant": "rdp",
}  # fmt: skip
TRAINING = TrainingInfo.model_validate({"privacy": SPENT})
FILE: dict[str, Any] = {
    "file": "m.onnx", "sha256": "0" * 64, "bytes": 1, "softmax_inside": False, "calibration_policy": None,
    "calibration_records": 0,
}  # fmt: skip


def _format(*passes: tuple[str, dict[str, Any]], status: str = "ok", policy: str | None = None) -> FormatResult:
    return FormatResult.model_validate(
        {
            "id": "f", "device": "local", "status": status, "summary": "", "precision": "int8",
            "passes": [{"name": name, "params": params, "versions": {}} for name, params in passes],
            "artifact": {**FILE, "calibration_policy": policy},
        }
    )  # fmt: skip


EXPORT: tuple[str, dict[str, Any]] = ("onnx.export", {})


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (_format(EXPORT), None),
        (_format(EXPORT, policy="disjoint"), None),
        (_format(EXPORT, policy="members"), "calibration read"),
        (_format(("nncf.prune", {"epochs": 5}), EXPORT), "the pass 'nncf.prune' read"),
        (_format(("nncf.prune", {"epochs": 0}), EXPORT), None),
        (_format(("distil", {"epochs": None}), EXPORT, policy="members"), "the pass 'distil' and calibration read"),
    ],
)
def test_what_reads_training_records_again_voids_it(result: FormatResult, said: str | None) -> None:
    (found,) = privacy_controls(TRAINING, [result])
    assert found.format == "f"
    assert found.status == ("holds" if said is None else "warning")
    assert found.statement.startswith(said or "epsilon 7.99 at delta 1e-05")


def test_without_privacy_there_is_nothing_to_say() -> None:
    assert privacy_controls(None, [_format(EXPORT)]) == []
    assert privacy_controls(TrainingInfo(), [_format(EXPORT)]) == []
    assert privacy_controls(TRAINING, [_format(EXPORT, status="failed")]) == []
