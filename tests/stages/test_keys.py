"""Keys of stages: a change of any module reaches exactly the stages whose work runs through it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.graph import closure as closure_module
from edgeaudit.graph import distributions as distributions_module
from edgeaudit.graph import job as job_module
from edgeaudit.graph.executor import AnyJob, Silent, raise_errors
from edgeaudit.graph.job import Ref
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.audit import prepare
from edgeaudit.pipeline.last_jobs import collude_job, compare_job
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import make_plan
from edgeaudit.population.base import Population
from edgeaudit.population.build import build_population, population_content
from edgeaudit.stages.population import DrawPopulation

QUERIED = {"query", "view", "boundary", "trajectory", "latency", "measure", "weaken"}


def _spec(**changes: Any) -> AuditSpec:
    base: dict[str, Any] = {
        "model": {"recipe": "mlp", "epochs": 20, "batch": 16, "options": {"hidden": [8]}},
        "data": {"members": 60, "nonmembers": 60, "reference": 300, "calibration": {"records": 8}},
        "threat": {"shadows": 2, "views": ["noise-1"], "weaker": ["label"]},
        "attacks": ["yeom", "label-only", "loss-trajectory"],
        "label-only": {"records": 20, "queries": 200, "shadows": 1},
        "loss-trajectory": {"epochs": 2, "records": 30, "shadows": 1},
        "formats": ["torch-fp32", "onnx-fp32"],
        "together": "all",
        "controls": {"null-targets": 0},
    }
    return AuditSpec.model_validate({**base, **changes})


@pytest.fixture(scope="module")
def population(tmp_path_factory: pytest.TempPathFactory) -> Population:
    folder = tmp_path_factory.mktemp("population")
    build_population(_spec().data, 0, folder)
    return Population(folder)


@pytest.fixture
def commented(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes it look as if somebody had added a comment to a module."""
    real = closure_module.module_file

    def comment(module: str) -> None:
        def elsewhere(name: str) -> Path | None:
            path = real(name)
            if name != module:
                return path
            assert path is not None
            copy = tmp_path / path.name
            copy.write_bytes(path.read_bytes() + b"\n# a comment\n")
            return copy

        monkeypatch.setattr(closure_module, "module_file", elsewhere)
        monkeypatch.setattr(closure_module, "_cache", {})

    return comment


def _jobs(population: Population, **changes: Any) -> list[AnyJob]:
    """Every job of an audit, always in the same order."""
    spec = _spec(**changes)
    content = population_content(spec.data)
    assert content is not None
    drawn = DrawPopulation(content=content, seed=spec.seed, data=spec.data)
    plan = make_plan(spec, population, drawn, choose_attacks(spec))
    last = [compare_job(plan, lambda _: True), collude_job(spec, plan, lambda _: True)]
    return [drawn, *plan.jobs.values(), *(job for job in last if job is not None)]


def _anew(before: Iterable[AnyJob], after: Iterable[AnyJob]) -> set[str]:
    """The stages of which every job has another key. A stage of which only some have fails."""
    changed: dict[str, set[bool]] = {}
    for old, new in zip(before, after, strict=True):
        changed.setdefault(old.kind, set()).add(old.key != new.key)
    assert all(len(found) == 1 for found in changed.values()), changed
    return {kind for kind, found in changed.items() if found == {True}}


@pytest.mark.parametrize(
    ("module", "anew"),
    [
        ("edgeaudit.stages.query", QUERIED | {"compare", "collude"}),
        ("edgeaudit.host.quiet", None),
        ("edgeaudit.attacks.yeom", {"measure", "weaken", "compare", "collude"}),
        ("edgeaudit.attacks.lira", set()),
        ("edgeaudit.devices.ssh.transport", set()),
        ("edgeaudit.devices.qemu.prepare", set()),
        ("edgeaudit.runtimes.litert", set()),
        ("edgeaudit.report.html", set()),
        ("edgeaudit.cli.run", set()),
        ("edgeaudit.graph.processes", set()),
        ("edgeaudit.quality.latency", {"latency"}),
        ("edgeaudit.attacks.hop_skip_jump", {"boundary", "measure", "weaken", "compare", "collude"}),
        ("edgeaudit.controls.shift", {"control"}),
        ("edgeaudit.stages.compare", {"compare"}),
        ("edgeaudit.attacks.compleak", {"collude"}),
        ("edgeaudit.errors", {"all"}),
    ],
)
def test_a_changed_module_changes_exactly_the_stages_that_run_it(
    population: Population, commented: Callable[[str], None], module: str, anew: set[str] | None
) -> None:
    before = _jobs(population)
    keys = [job.key for job in before]
    commented(module)
    after = _jobs(population)
    assert keys == [job.key for job in before]
    if anew is None:  # some runtimes keep others quiet, so that only some of a stage's jobs are anew
        assert any(old.key != new.key for old, new in zip(before, after, strict=True))
        return
    every = {job.kind for job in before}
    assert _anew(before, after) == (every if anew == {"all"} else anew)


@pytest.mark.parametrize(
    "calibration",
    [{"records": 100}, {"records": 16, "policy": "members"}, {"records": 32, "policy": "nonmembers"}],
    ids=lambda value: "-".join(map(str, value.values())),
)
def test_another_calibration_trains_nothing_and_quantises_anew(
    population: Population, calibration: dict[str, Any]
) -> None:
    def keys(calibration: dict[str, Any]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        sides = {"members": 60, "nonmembers": 60, "reference": 300, "calibration": calibration}
        for job in _jobs(population, data=sides, formats=["torch-fp32", "onnx-int8-static"]):
            found.setdefault(job.kind, set()).add(job.key)
        return found

    before, after = keys({"records": 32}), keys(calibration)
    assert before["train"] == after["train"]
    assert before["population"] == after["population"]
    assert before["compress"] != after["compress"]
    assert before["compress"] & after["compress"]  # what is exported before it is quantised


def test_a_changed_pass_recomputes_only_its_own_artifacts(
    population: Population, commented: Callable[[str], None]
) -> None:
    before = _jobs(population, formats=["onnx-fp32", "onnx-int8-static", "litert-fp32"])
    commented("edgeaudit.exporters.litert")
    after = _jobs(population, formats=["onnx-fp32", "onnx-int8-static", "litert-fp32"])
    made = {
        (old.label.split()[0], old.key != new.key)
        for old, new in zip(before, after, strict=True)
        if old.kind == "compress"
    }
    assert made == {("onnx.export", False), ("ort.static-int8", False), ("litert.export", True)}


def test_a_changed_attack_is_measured_again_where_it_runs(
    population: Population, commented: Callable[[str], None]
) -> None:
    before = _jobs(population, attacks=["lira"])
    commented("edgeaudit.attacks.lira")
    assert _anew(before, _jobs(population, attacks=["lira"])) == {"measure", "weaken", "compare", "collude"}


def test_a_sibling_of_the_users_module_is_in_the_training_key(
    population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_net.py").write_text("from my_layers import body\ndef build(shape, n):\n    return body(shape, n)\n")
    (tmp_path / "my_layers.py").write_text("def body(shape, n): ...\n")
    model = {"recipe": "my_net:build", "epochs": 1}
    before = _jobs(population, model=model)
    keys = {job.key for job in before}
    (tmp_path / "my_layers.py").write_text("def body(shape, n): ...\n# a comment\n")
    after = _jobs(population, model=model)
    kept = {job.kind for job in after if job.key in keys}
    assert kept == {"population", "control"}


def test_the_private_loop_is_in_the_keys_of_private_trainings_alone(
    population: Population, commented: Callable[[str], None]
) -> None:
    private = {"model": {"recipe": "mlp", "epochs": 2, "privacy": {"epsilon": 8}}}
    before, plain = _jobs(population, **private), _jobs(population)
    keys = [{job.key for job in jobs if job.kind == "train"} for jobs in (before, plain)]
    using = [{"opacus" in job.about()["versions"] for job in jobs if job.kind == "train"} for jobs in (before, plain)]
    assert using == [{True}, {False}]
    commented("edgeaudit.recipes.private_training")
    after, same = ({job.key for job in jobs} for jobs in (_jobs(population, **private), _jobs(population)))
    assert not keys[0] & after
    assert keys[1] <= same


@pytest.mark.parametrize("package", ["torch", "scikit-learn", "onnxruntime"])
def test_package_versions_are_in_a_stages_key(population: Population, package: str) -> None:
    having = {job.kind for job in _jobs(population) if package in job.about()["versions"]}
    expected = {
        "torch": {"train", "compress", "query", "trajectory", "collude"},
        "scikit-learn": {"measure", "weaken", "control", "collude"},
        "onnxruntime": {"query"},
    }
    assert expected[package] <= having
    assert "inspect" not in having


def _compress(population: Population, formats: list[str]) -> dict[str, dict[str, Any]]:
    """Pass -> versions in the keys of its jobs."""
    jobs = _jobs(population, formats=formats)
    return {job.label.split()[0]: job.about()["versions"] for job in jobs if job.kind == "compress"}


def test_what_a_converter_calls_underneath_is_in_its_key_and_in_no_training(population: Population) -> None:
    versions = _compress(population, ["onnx-fp32", "nncf-pruned-50"])
    assert {"onnx", "protobuf", "onnxscript", "ml-dtypes"} <= set(versions["onnx.export"])
    assert not {"protobuf", "rich", "networkx"} & set(versions["nncf.prune"])
    trained = next(job for job in _jobs(population) if job.kind == "train")
    assert not {"protobuf", "rich", "networkx"} & set(trained.about()["versions"])


def test_another_version_below_a_converter_converts_again(
    population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kept() -> set[str]:
        return {job.key for job in _jobs(population)}

    before, real = kept(), metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "0.0" if name == "protobuf" else real(name))
    job_module._versions.cache_clear()
    distributions_module._version.cache_clear()
    after = _jobs(population)
    assert {"compress"} <= {job.kind for job in after if job.key not in before}
    assert not {"train", "population"} & {job.kind for job in after if job.key not in before}
    monkeypatch.undo()
    job_module._versions.cache_clear()
    distributions_module._version.cache_clear()
    assert kept() == before


_FRESH = """
import sys, json, pickle
sys.path[:] = {path!r}
from pathlib import Path
from edgeaudit.graph.store import Store
from edgeaudit.graph.worker import execute
outcome = execute(pickle.loads(Path({job!r}).read_bytes()), Store(Path({store!r})))
loaded = [name for name in sys.modules if name.split(".")[0] == "edgeaudit"]
print(json.dumps([str(outcome.error or ""), sorted(loaded)]))
"""


@pytest.mark.toolchain
@pytest.mark.e2e
def test_modules_loaded_by_a_real_run_are_in_the_key(tmp_path: Path) -> None:
    """Or in the key of a job before it, which is an input of its own."""
    store, spec = Store(tmp_path / "store"), _spec()
    with LocalProcesses(store, 1) as executor:
        prepared = prepare(spec, store, executor, Silent())
        plan = prepared.plan
        raise_errors(executor.run(plan.jobs, Silent()))
        for last in (compare_job(plan, lambda _: True), collude_job(spec, plan, lambda _: True)):
            assert last is not None
            plan.add(last)
        raise_errors(executor.run(plan.jobs, Silent()))
    one_of_each: dict[tuple[str, str], AnyJob] = {}
    for job in plan.jobs.values():
        one_of_each.setdefault((job.kind, str(getattr(job, "runtime", ""))), job)
    drawn = next(job for job in plan.jobs.values() if job.kind == "control").needs[0]
    assert len({kind for kind, _ in one_of_each}) >= 12
    for job in (drawn, *one_of_each.values()):
        store.drop(*job.ref)
        loaded = _loaded_by(job, store, tmp_path)
        allowed = frozenset[str]().union(*(one.closure().modules for one in (job, *_before(job))))
        outside = {name for name in loaded - allowed if not name.startswith("edgeaudit.graph")}
        known = {"edgeaudit.host", "edgeaudit.host.isolation", "edgeaudit.scratch"}
        assert outside <= known, f"{job.kind}: {sorted(outside)}"


def _loaded_by(job: AnyJob, store: Store, folder: Path) -> set[str]:
    file = folder / "job.pickle"
    file.write_bytes(pickle.dumps(job))
    code = _FRESH.format(path=sys.path, job=str(file), store=str(store.root))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    error, loaded = json.loads(done.stdout.splitlines()[-1])
    assert not error, f"{job.kind}: {error}"
    return set(loaded)


def _before(job: AnyJob) -> list[AnyJob]:
    found: dict[Ref, AnyJob] = {}
    queue = list(job.needs)
    while queue:
        need = queue.pop()
        if need.ref not in found:
            found[need.ref] = need
            queue += need.needs
    return list(found.values())
