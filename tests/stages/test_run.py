"""Jobs that meet a store which somebody took files out of."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import StoreError
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.pipeline.measurement import measurement_inputs
from edgeaudit.pipeline.plan import make_plan, population_job
from edgeaudit.population.base import Population

SPEC = AuditSpec.model_validate({
    "data": {"members": 20, "nonmembers": 20, "reference": 60, "calibration": {"records": 8}},
    "model": {"epochs": 1},
    "threat": {"shadows": 2},
    "formats": ["torch-fp32"],
    "controls": {"null-targets": 0, "shift": False},
})  # fmt: skip


def test_a_file_that_is_gone_is_named_with_its_entry_and_the_remedy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    drawn = population_job(SPEC, {"test": 1}, "")
    assert execute(drawn, tmp_path).error is None
    folder = store.entry(*drawn.ref).folder
    plan = make_plan(SPEC, Population(folder), drawn.ref, measurement_inputs(SPEC))
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    gone = max(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
    gone.unlink()
    error = execute(train, tmp_path).error
    assert isinstance(error, StoreError)
    assert f"{gone.name} is gone from {folder}; remove that folder and run again" in str(error)
    assert not (tmp_path / "logs").exists()


def test_a_missing_file_outside_the_store_is_no_damage_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        Path("/nowhere/at/all").read_bytes()

    monkeypatch.setattr("edgeaudit.stages.population.draw", fail)
    error = execute(population_job(SPEC, {"test": 1}, ""), tmp_path).error
    assert not isinstance(error, StoreError)
    assert "FileNotFoundError" in str(error)
