"""The job of multi-version attacks: planned last, on the formats that were measured."""

from __future__ import annotations

from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.graph.executor import AnyJob
from edgeaudit.pipeline.last_jobs import collude_job, sets_to_hold
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import Plan, make_plan
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.stages.collude import Collude, FormatSet
from edgeaudit.stages.population import DrawPopulation

FORMATS = ["onnx-fp32", "litert-int8", "torch-fp32"]


def _spec(**changes: Any) -> AuditSpec:
    base: dict[str, Any] = {
        "model": {"recipe": "cnn"},
        "data": {"members": 100, "nonmembers": 100, "calibration": {"records": 32}},
        "threat": {"shadows": 3, "shadow_match": ["matched", "fp32"]},
        "formats": FORMATS,
    }
    return AuditSpec.model_validate({**base, **changes})


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Population:
    folder = tmp_path_factory.mktemp("population")
    build_population(_spec().data, 0, folder)
    return Population(folder)


def _job(population: Population, failed: tuple[str, ...] = (), **changes: Any) -> tuple[Plan, Collude | None]:
    spec = _spec(**changes)
    drawn = DrawPopulation(content={"records": "digits"}, seed=0, data=spec.data)
    plan = make_plan(spec, population, drawn, choose_attacks(spec))
    lost = {measure.ref for p in plan.formats if p.use.id in failed for measure in p.measures.values()}

    def done(job: AnyJob) -> bool:
        return job.ref not in lost

    return plan, collude_job(spec, plan, done)


def test_the_original_comes_first_and_the_rest_as_in_formats() -> None:
    assert sets_to_hold(_spec(together="all")) == (("torch-fp32", "onnx-fp32", "litert-int8"),)
    same = [sets_to_hold(_spec(together=[one])) for one in (["litert-int8", "onnx-fp32"], ["onnx-fp32", "litert-int8"])]
    assert same == [(("onnx-fp32", "litert-int8"),)] * 2
    assert sets_to_hold(_spec()) == ()


def test_it_reads_the_audits_own_measurements_of_the_named_formats(population: Population) -> None:
    plan, job = _job(population, together=["litert-int8", "torch-fp32"])
    assert job is not None
    own = {p.use.id: p.measures["matched"] for p in plan.formats}
    assert {need.ref for need in job.needs if need.kind == "measure"} == {
        own[name].ref for name in ("torch-fp32", "litert-int8")
    }
    assert job.settings.shadow_match == "matched"
    assert job.settings.sets == (FormatSet(("torch-fp32", "litert-int8"), ("torch-fp32", "litert-int8"), None),)
    assert _job(population)[1] is None


def test_failed_formats_are_left_out_and_reported(population: Population) -> None:
    sets = [["torch-fp32", "litert-int8"], FORMATS]
    _, job = _job(population, ("litert-int8",), together=sets)
    assert job is not None
    two, three = job.settings.sets
    assert (two.formats, two.note) == (("torch-fp32",), "not run: litert-int8 failed")
    assert (three.formats, three.note) == (("torch-fp32", "onnx-fp32"), "without litert-int8, which failed")
    assert _job(population, tuple(FORMATS), together=sets)[1] is None


def test_its_key_depends_on_its_inputs(population: Population) -> None:
    def key(**changes: Any) -> str:
        job = _job(population, together="all", **changes)[1]
        assert job is not None
        return job.key

    first = key()
    assert key(name="other") == first
    assert key(seed=1) != first
    assert key(attacks=["lira"]) != first
    _, named = _job(population, together=[FORMATS[::-1]])
    assert named is not None
    assert named.key == first
