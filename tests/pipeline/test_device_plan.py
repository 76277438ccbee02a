"""The plan of an audit on devices: what is asked there, what may be taken from here, and what a key depends on."""

from __future__ import annotations

from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.endpoint import Endpoint
from edgeaudit.errors import DeviceError, SpecError
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import Plan, make_plan
from edgeaudit.pipeline.preflight import preflight
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population
from edgeaudit.stages.device_query import DeviceQuery
from edgeaudit.stages.equivalence import Equivalence
from edgeaudit.stages.latency import Latency
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query

FORMATS = ["torch-fp32", "onnx-int8-static", "litert-int8"]
SHADOWS = 3
MODELS = 1 + 1 + SHADOWS
"""The target, the null target and the shadows."""


def spec(**changes: Any) -> AuditSpec:
    base: dict[str, Any] = {
        "model": {"recipe": "cnn"},
        "data": {"members": 100, "nonmembers": 100, "reference": 400, "calibration": {"records": 32}},
        "threat": {"shadows": SHADOWS},
        "formats": FORMATS,
        "devices": ["local", "raspberry-pi-4"],
    }
    return AuditSpec.model_validate({**base, **changes})


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Population:
    folder = tmp_path_factory.mktemp("population")
    build_population(spec().data, 0, folder)
    return Population(folder)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What devices say of themselves, without asking any."""
    facts: dict[str, Any] = {"machine": "aarch64", "cpu": "Cortex-A72", "versions": {"numpy": "2.4.6"}}

    def told(_endpoint: Endpoint, runtime: str) -> dict[str, Any]:
        return {**facts, "versions": {**facts["versions"], runtime: "1.0"}}

    monkeypatch.setattr("edgeaudit.pipeline.device_plan.device_facts", told)
    return facts


def plan(population: Population, **changes: Any) -> Plan:
    made = spec(**changes)
    drawn = DrawPopulation(content={"records": "digits"}, seed=0, data=made.data)
    return make_plan(made, population, drawn, choose_attacks(made))


def asked_there(made: Plan) -> list[DeviceQuery]:
    return [job for job in made.jobs.values() if isinstance(job, DeviceQuery)]


def asked_here(made: Plan) -> list[Query]:
    return [job for job in made.jobs.values() if isinstance(job, Query) and not isinstance(job, DeviceQuery)]


def comparisons(made: Plan) -> list[Equivalence]:
    return [job for job in made.jobs.values() if isinstance(job, Equivalence)]


def test_targets_are_queried_on_the_device_and_others_where_the_comparison_decides(population: Population) -> None:
    made = plan(population)
    there = asked_there(made)
    assert len(there) == 2 * MODELS  # two formats; the trained model ships nowhere
    targets = [job for job in there if job.role == "target"]
    assert len(targets) == 2
    assert all(job.stand_in is None for job in targets)
    others = [job for job in there if job.role != "target"]
    for job in others:
        assert job.stand_in is not None
        assert not job.stand_in.regardless
        assert made.jobs[job.stand_in.native.ref] in asked_here(made)
        assert job.stand_in.native.role == job.role
        assert job.stand_in.equivalence in comparisons(made)
        needed = {need.ref for need in job.needs}
        assert {job.stand_in.native.ref, job.stand_in.equivalence.ref} <= needed
    compared = [(job.shadow.native.role, job.shadow.records) for job in comparisons(made) if job.shadow is not None]
    assert compared == [("null-target", 256)] * 2
    assert [(p.use.id, p.device) for p in made.formats] == [
        ("torch-fp32", "local"), ("onnx-int8-static", "local"), ("onnx-int8-static", "raspberry-pi-4"),
        ("litert-int8", "local"), ("litert-int8", "raspberry-pi-4"),
    ]  # fmt: skip
    # This machine's queries are those that there would be without the device.
    alone = plan(population, devices=["local"])
    assert {ref for ref in alone.jobs if ref[0] in {"train", "compress", "query"}} <= set(made.jobs)


def test_only_queries_needed_for_a_comparison_run_on_this_machine(population: Population) -> None:
    formats = FORMATS[1:]
    here = {"formats": formats, "devices": ["raspberry-pi-4"]}
    assert len(plan(population, **here).jobs) > len(asked_there(plan(population, **here)))
    only = plan(population, formats=formats, devices={"pi": {"profile": "raspberry-pi-4", "shadows": "device"}})
    assert not comparisons(only)
    assert {job.role for job in asked_here(only)} == {"target"}  # where a wrong file shows
    assert all(job.stand_in is None for job in asked_there(only))


def test_native_shadows_need_no_shadow_comparison(population: Population) -> None:
    made = plan(population, devices={"local": None, "pi": {"profile": "raspberry-pi-4", "shadows": "native"}})
    assert [job.shadow for job in comparisons(made)] == [None, None]
    stand_ins = [job.stand_in for job in asked_there(made) if job.role != "target"]
    assert len(stand_ins) == 2 * (MODELS - 1)
    assert all(one is not None and one.regardless for one in stand_ins)


def test_a_server_is_queried_about_the_target_alone(population: Population) -> None:
    made = plan(population, devices={"local": None, "s": {"via": "oip://localhost:1", "model": "m"}})
    assert [(job.shadow, job.required) for job in comparisons(made)] == [(None, True)] * 2
    assert asked_there(made)
    assert all(job.policy.exclusive for job in asked_there(made))


def test_the_query_policy_is_not_in_the_key(population: Population) -> None:
    def keys(**device: Any) -> set[str]:
        there = asked_there(plan(population, devices={"local": None, "pi": {"profile": "raspberry-pi-4", **device}}))
        return {job.key for job in there}

    plain = keys()
    assert keys(rate=3, retries=1, max_queries=10**6, max_time="2h") == plain
    assert not keys(batch=1) & plain
    assert not keys(options={"onnxruntime": {"session": {"a": "1"}}, "litert": {"xnnpack": False}}) & plain


def test_the_device_fingerprint_is_part_of_the_key(population: Population, known: dict[str, Any]) -> None:
    before = {job.key for job in asked_there(plan(population))}
    known["cpu"] = "Cortex-A76"
    assert not before & {job.key for job in asked_there(plan(population))}


def test_deployed_options_on_the_device_and_default_options_here(population: Population) -> None:
    made = plan(population)
    sessions = {
        isinstance(job, DeviceQuery): job.options["session"]
        for job in made.jobs.values()
        if isinstance(job, Query) and job.runtime == "onnxruntime"
    }
    assert sessions == {True: {}, False: {"session.x64quantprecision": "auto"}}


def test_latency_is_measured_over_ssh_and_never_under_emulation(population: Population) -> None:
    made = plan(population, devices={"local": None, "pi": "raspberry-pi-4", "desk": {"via": "ssh://pi@desk"}})
    timed = {planned.device: planned.latency for planned in made.formats if planned.use.id == "litert-int8"}
    assert timed["pi"] is None
    desk = timed["desk"]
    assert isinstance(desk, Latency)
    assert isinstance(desk.query, DeviceQuery)
    assert desk.query.policy.exclusive  # nobody else queries the device meanwhile
    assert not desk.exclusive  # and jobs on this machine do not disturb it


def test_reject_a_budget_that_the_targets_exceed(population: Population) -> None:
    records = 2 * (len(population.queried) + 32)  # two formats, and the records of calibration that check each file
    fits = {"profile": "raspberry-pi-4", "max_queries": records}
    plan(population, devices={"local": None, "pi": fits})
    with pytest.raises(
        SpecError, match=rf"devices\.pi\.max_queries: .* {records:,} queries there, but only {records - 1:,} are"
    ):
        plan(population, devices={"local": None, "pi": {**fits, "max_queries": records - 1}})


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({"options": {"litert": {"xnpack": 1}}}, r"devices\.pi\.options\.litert: .*no option 'xnpack'"),
        ({"options": {"lite": {}}}, r"devices\.pi\.options: there is no runtime 'lite' on devices"),
    ],
)
def test_options_are_checked_before_a_device_is_contacted(device: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        preflight(spec(devices={"local": None, "pi": {"profile": "raspberry-pi-4", **device}}))


def test_a_device_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_endpoint: Endpoint, _runtime: str) -> dict[str, Any]:
        raise DeviceError("no route to host")

    monkeypatch.setattr("edgeaudit.pipeline.device_plan.device_facts", gone)
    with pytest.raises(DeviceError, match=r"^devices\.raspberry-pi-4: no route to host$"):
        preflight(spec())
