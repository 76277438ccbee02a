"""A model that learned nothing: audited where the built-in loop trained it, but no budget can pass."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.conftest import Workbench

pytestmark = pytest.mark.e2e


def test_no_budget_passes_on_a_model_that_learned_nothing(bench: Workbench) -> None:
    changes: dict[str, Any] = {
        "model": {"epochs": 1, "lr": 1e-9},
        "attacks": ["yeom"],
        "controls": {"null-targets": 0, "shift": False},
        "quality": {"latency": False},
        "formats": ["torch-fp32", "onnx-fp32"],
    }
    done = bench.audit(**changes)
    assert done.code == 0, done.stdout + done.stderr  # nothing was asked of it
    found = [control for control in done.audit["controls"] if control["name"] == "target accuracy"]
    assert {control["format"]: control["status"] for control in found} == {
        "torch-fp32": "undecided",
        "onnx-fp32": "undecided",
    }
    done = bench.audit(**changes, budgets={"auc": ["error", {"max": 0.9}]})
    assert done.code == 3
    last = " ".join(done.stdout.split()).rsplit("INCONCLUSIVE", 1)[1]
    assert "target accuracy: the target's answers are no better than chance" in last
