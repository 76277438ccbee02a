"""Jobs that meet a store which somebody took files out of."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import DamagedEntry, StoreError
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import make_plan
from edgeaudit.stages.population import DrawPopulation

SPEC = AuditSpec.model_validate({
    "data": {"members": 20, "nonmembers": 20, "reference": 60, "calibration": {"records": 8}},
    "model": {"epochs": 1},
    "threat": {"shadows": 2},
    "formats": ["torch-fp32"],
    "controls": {"null-targets": 0, "shift": False},
})  # fmt: skip
DRAWN = DrawPopulation(content={"test": 1}, seed=SPEC.seed, data=SPEC.data)


def test_a_missing_file_is_reported_with_entry_and_remedy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert execute(DRAWN, store).error is None
    folder = store.entry(*DRAWN.ref).folder
    plan = make_plan(SPEC, store.read(DRAWN), DRAWN, choose_attacks(SPEC))
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    gone = max(folder.glob("*.npy"), key=lambda path: path.stat().st_size)
    gone.unlink()
    error = execute(train, store).error
    assert isinstance(error, DamagedEntry)
    assert (error.kind, error.key, error.file) == (*DRAWN.ref, gone.name)
    assert f"{folder}: {gone.name} is missing or damaged; remove that folder and run again" in str(error)
    assert not (tmp_path / "logs").exists()


def test_a_missing_file_outside_the_store_is_not_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        Path("/nowhere/at/all").read_bytes()

    monkeypatch.setattr("edgeaudit.population.build.build_population", fail)
    error = execute(DRAWN, Store(tmp_path)).error
    assert not isinstance(error, StoreError)
    assert "FileNotFoundError" in str(error)
