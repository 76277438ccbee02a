"""A target that is no model of its records is refused when its answers arrive, before anything is learned from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import ArtifactError
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import make_plan
from edgeaudit.population.base import Population
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import _require_model_of


def _spec(**model: object) -> AuditSpec:
    return AuditSpec.model_validate({
        "data": {"members": 100, "nonmembers": 100, "reference": 300, "calibration": {"records": 8}},
        "model": {"recipe": "mlp", **model},
        "threat": {"shadows": 2},
        "formats": ["torch-fp32"],
        "controls": {"null-targets": 0, "shift": False},
    })  # fmt: skip


@pytest.mark.parametrize(("rate", "refused"), [(1e-9, True), (0.05, False)])
def test_a_target_that_training_did_not_change_is_refused(tmp_path: Path, rate: float, refused: bool) -> None:
    spec, store = _spec(lr=rate, epochs=10), Store(tmp_path)
    drawn = DrawPopulation(content={"test": 1}, seed=spec.seed, data=spec.data)
    assert execute(drawn, store).error is None
    plan = make_plan(spec, store.read(drawn), drawn, choose_attacks(spec))
    wanted = plan.formats[0].target_query
    error = None
    for job in plan.jobs.values():
        error = execute(job, store).error
        if job is wanted or error is not None:
            break
    assert job.ref == wanted.ref
    assert isinstance(error, ArtifactError) is refused
    if refused:
        assert "of the 100 records that it trained on correctly, no more than always answering" in str(error)


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Population:
    spec, store = _spec(), Store(tmp_path_factory.mktemp("store"))
    drawn = DrawPopulation(content={"test": 1}, seed=spec.seed, data=spec.data)
    assert execute(drawn, store).error is None
    return store.read(drawn)


def test_members_decide_and_not_others(population: Population) -> None:
    labels = population.labels[population.queried]
    answers = np.eye(10, dtype=np.float32)[labels]
    answers[100:] = np.roll(answers[100:], 1, axis=1)  # wrong on all others: learned by heart, and a model all the same
    _require_model_of(population, answers, "made.onnx")
    with pytest.raises(ArtifactError, match=r"made.onnx classifies 0.0% of the 100 records that it trained on"):
        _require_model_of(population, np.roll(answers, 1, axis=1), "made.onnx")
