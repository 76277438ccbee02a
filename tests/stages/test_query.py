"""Answers that are collected are those of a model of the records, or nothing is learned from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import ArtifactError
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import make_plan
from edgeaudit.stages import target_check
from edgeaudit.stages.population import DrawPopulation

HERE = __name__


def hardly(module: nn.Module, x: Any, y: Any, *, seed: int, epochs: int) -> None:
    """A training loop that changes weights and teaches nothing."""
    with torch.no_grad():
        for weights in module.parameters():
            weights.mul_(0.999)


@pytest.mark.parametrize("examined", [True, False])
def test_a_target_that_training_hardly_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examined: bool
) -> None:
    """By the job that trains it, and, where a format spoils what was examined, by the job that asks it."""
    spec, store = AuditSpec.model_validate({
        "data": {"members": 100, "nonmembers": 100, "reference": 300, "calibration": {"records": 8}},
        "model": {"recipe": "mlp", "train": f"{HERE}:hardly"},
        "threat": {"shadows": 2},
        "formats": ["torch-fp32"],
        "controls": {"null-targets": 0, "shift": False},
    }), Store(tmp_path)  # fmt: skip
    if not examined:
        monkeypatch.setattr(target_check, "require_trained", lambda *_: None)
    drawn = DrawPopulation(content={"test": 1}, seed=spec.seed, data=spec.data)
    assert execute(drawn, store).error is None
    plan = make_plan(spec, store.read(drawn), drawn, choose_attacks(spec))
    refused, error = None, None
    for job in plan.jobs.values():
        error = execute(job, store).error
        if error is not None:
            refused = job.kind
            break
    assert refused == ("train" if examined else "query")
    assert isinstance(error, ArtifactError)
    assert "of the 100 records that it trained on and" in str(error)
    assert "not clearly more than always answering the most frequent label" in str(error)
