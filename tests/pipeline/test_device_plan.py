"""The plan of an audit on devices: what is asked there, what may be taken from here, and what a key depends on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.devices.transport import Reach
from edgeaudit.errors import DeviceError, SpecError
from edgeaudit.graph.job import Job
from edgeaudit.pipeline.measurement import measurement_inputs
from edgeaudit.pipeline.plan import Plan, make_plan, preflight
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population

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

    def told(_reach: Reach, runtime: str) -> dict[str, Any]:
        return {**facts, "versions": {**facts["versions"], runtime: "1.0"}}

    monkeypatch.setattr("edgeaudit.pipeline.device_plan.device_facts", told)
    return facts


def plan(population: Population, **changes: Any) -> Plan:
    made = spec(**changes)
    return make_plan(made, population, ("population", "p"), measurement_inputs(made))


def asked_there(made: Plan) -> list[Job]:
    return [job for ref, job in made.jobs.items() if ref[0] == "query" and "reach" in job.inputs["device"]]


def test_targets_are_asked_there_and_other_models_where_a_comparison_says(population: Population) -> None:
    made = plan(population)
    there = asked_there(made)
    assert len(there) == 2 * MODELS  # two formats; the trained model ships nowhere
    targets = [job for job in there if job.inputs["role"] == "target"]
    assert all("stand_in" not in job.inputs for job in targets)
    others = [job for job in there if job.inputs["role"] != "target"]
    for job in others:
        stand_in = job.inputs["stand_in"]
        assert not stand_in["whatever"]
        native = made.jobs[tuple(stand_in["native"])]
        assert native.inputs["role"] == job.inputs["role"]
        assert "reach" not in native.inputs["device"]
        assert {tuple(stand_in["native"]), tuple(stand_in["equivalence"])} <= set(job.needs)
    compared = [job for ref, job in made.jobs.items() if ref[0] == "equivalence"]
    assert Counter(job.inputs["shadow"]["role"] for job in compared) == {"null-target": 2}
    assert all(job.inputs["shadow"]["records"] == 256 for job in compared)
    assert [(p.use.id, p.device) for p in made.formats] == [
        ("torch-fp32", "local"), ("onnx-int8-static", "local"), ("onnx-int8-static", "raspberry-pi-4"),
        ("litert-int8", "local"), ("litert-int8", "raspberry-pi-4"),
    ]  # fmt: skip
    # This machine's queries are those that there would be without the device.
    alone = plan(population, devices=["local"])
    assert {ref for ref in alone.jobs if ref[0] in {"train", "compress", "query"}} <= set(made.jobs)


def test_nothing_is_asked_here_that_no_comparison_needs(population: Population) -> None:
    formats = FORMATS[1:]
    here = {"formats": formats, "devices": ["raspberry-pi-4"]}
    assert len(plan(population, **here).jobs) > len(asked_there(plan(population, **here)))
    only = plan(population, formats=formats, devices={"pi": {"profile": "raspberry-pi-4", "shadows": "device"}})
    assert not [ref for ref in only.jobs if ref[0] == "equivalence"]
    native = [job for ref, job in only.jobs.items() if ref[0] == "query" and "reach" not in job.inputs["device"]]
    assert {job.inputs["role"] for job in native} == {"target"}  # where a wrong file shows
    assert all("stand_in" not in job.inputs for job in asked_there(only))


def test_told_to_this_machine_stands_in_and_no_shadow_is_compared(population: Population) -> None:
    made = plan(population, devices={"local": None, "pi": {"profile": "raspberry-pi-4", "shadows": "native"}})
    assert all(job.inputs["shadow"] is None for ref, job in made.jobs.items() if ref[0] == "equivalence")
    assert all(job.inputs["stand_in"]["whatever"] for job in asked_there(made) if job.inputs["role"] != "target")


def test_a_server_is_asked_about_the_target_alone(population: Population) -> None:
    made = plan(population, devices={"local": None, "s": {"via": "oip://localhost:1", "model": "m"}})
    compared = [job for ref, job in made.jobs.items() if ref[0] == "equivalence"]
    assert all(job.inputs["shadow"] is None and job.inputs["needs_identity"] for job in compared)
    assert all(job.hints["asking"]["alone"] for job in asked_there(made))


def test_how_slowly_a_device_is_asked_is_no_part_of_a_key(population: Population) -> None:
    def keys(**device: Any) -> set[str]:
        there = asked_there(plan(population, devices={"local": None, "pi": {"profile": "raspberry-pi-4", **device}}))
        return {job.key for job in there}

    plain = keys()
    assert keys(rate=3, retries=1, max_queries=10**6, max_time="2h") == plain
    assert not keys(batch=1) & plain
    assert not keys(options={"onnxruntime": {"session": {"a": "1"}}, "litert": {"xnnpack": False}}) & plain


def test_another_answer_of_the_device_about_itself_is_another_key(
    population: Population, known: dict[str, Any]
) -> None:
    before = {job.key for job in asked_there(plan(population))}
    known["cpu"] = "Cortex-A76"
    assert not before & {job.key for job in asked_there(plan(population))}


def test_options_are_the_deployed_ones_there_and_this_machines_here(population: Population) -> None:
    made = plan(population)
    sessions = {
        "reach" in job.inputs["device"]: job.inputs["options"]["session"]
        for ref, job in made.jobs.items()
        if ref[0] == "query" and job.inputs["runtime"] == "onnxruntime"
    }
    assert sessions == {True: {}, False: {"session.x64quantprecision": "1"}}


def test_time_is_taken_over_ssh_and_never_under_emulation(population: Population) -> None:
    made = plan(population, devices={"local": None, "pi": "raspberry-pi-4", "desk": {"via": "ssh://pi@desk"}})
    timed = {planned.device: planned.latency for planned in made.formats if planned.use.id == "litert-int8"}
    assert timed["pi"] is None
    assert timed["desk"] is not None
    assert made.jobs[timed["desk"]].hints["asking"]["alone"]
    assert not made.jobs[timed["desk"]].exclusive


def test_a_budget_that_the_targets_exceed_is_refused_before_anything_runs(population: Population) -> None:
    records = 2 * (len(population.queried) + 32)  # two formats, and what checks the file
    fits = {"profile": "raspberry-pi-4", "max_queries": records}
    plan(population, devices={"local": None, "pi": fits})
    with pytest.raises(
        SpecError, match=rf"devices\.pi\.max_queries: .* {records:,} records there, and {records - 1:,} are"
    ):
        plan(population, devices={"local": None, "pi": {**fits, "max_queries": records - 1}})


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ({"options": {"litert": {"xnpack": 1}}}, r"devices\.pi\.options\.litert: .*no option 'xnpack'"),
        ({"options": {"lite": {}}}, r"devices\.pi\.options: there is no runtime 'lite' on devices"),
    ],
)
def test_options_are_checked_before_a_device_is_asked(device: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        preflight(spec(devices={"local": None, "pi": {"profile": "raspberry-pi-4", **device}}))


def test_a_device_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_reach: Reach, _runtime: str) -> dict[str, Any]:
        raise DeviceError("no route to host")

    monkeypatch.setattr("edgeaudit.pipeline.device_plan.device_facts", gone)
    with pytest.raises(DeviceError, match=r"^devices\.raspberry-pi-4: no route to host$"):
        preflight(spec())
