"""Isolation groups: processes that refuse each other's packages; jobs of two groups in one run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.config.audit import AuditSpec
from edgeaudit.errors import EdgeAuditError, ToolchainError
from edgeaudit.graph.executor import AnyJob, Silent
from edgeaudit.graph.job import Outcome
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.host.isolation import IsolationGroup, enter, require_apart
from edgeaudit.pipeline.measurement import choose_attacks
from edgeaudit.pipeline.plan import Plan, make_plan
from edgeaudit.population.build import population_content
from edgeaudit.stages.population import DrawPopulation


def refused(name: str) -> tuple[str, bool]:
    """What importing a package says in this process, and whether scipy works, which looks whether torch is loaded."""
    said = ""
    try:
        import_module(name)
    except ImportError as exc:
        said = str(exc)
    from scipy.stats import norm

    return said, name not in sys.modules and float(norm.cdf(0)) == 0.5


def elsewhere(isolation: IsolationGroup, function: Callable[..., Any], *given: Any) -> Any:
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=enter, initargs=(isolation,)) as pool:
        return pool.submit(function, *given).result()


@pytest.mark.parametrize(
    ("isolation", "name"), [("torch", "tensorflow"), ("tensorflow", "torch"), ("tensorflow", "triton")]
)
def test_a_worker_refuses_the_others_packages(isolation: IsolationGroup, name: str) -> None:
    said, works = elsewhere(isolation, refused, name)
    assert said == f"{name} cannot be imported in a worker process of {isolation}"
    assert works


def test_a_process_with_torch_refuses_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    with pytest.raises(ToolchainError, match="tensorflow and torch cannot share a process"):
        require_apart("tensorflow")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    require_apart("tensorflow")


class _Watch(Silent):
    """Counts the jobs that run at a time."""

    def __init__(self) -> None:
        self.running, self.most = 0, 0
        self.groups: set[str] = set()

    def started(self, job: AnyJob) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.groups.add(job.isolation)

    def finished(self, job: AnyJob, outcome: Outcome) -> None:
        self.running -= 1

    def skipped(self, job: AnyJob) -> None:
        raise AssertionError(job.label)

    def repeated(self, job: AnyJob, reason: EdgeAuditError) -> None:
        raise AssertionError(f"{job.label}: {reason}")


def planned(store: Store, recipe: str, formats: list[str]) -> Plan:
    spec = AuditSpec.model_validate(
        {
            "model": {"recipe": recipe, "epochs": 15},
            "data": {"members": 50, "nonmembers": 50, "reference": 200, "calibration": {"records": 16}},
            "threat": {"shadows": 2},
            "controls": {"null-targets": 0, "shift": False},
            "formats": formats,
            "attacks": ["gap"],
        }
    )
    content = population_content(spec.data)
    assert content is not None
    drawn = DrawPopulation(content=content, seed=spec.seed, data=spec.data)
    with LocalProcesses(store, 1) as executor:
        executor.run({drawn.ref: drawn}, _Watch())
    return make_plan(spec, store.read(drawn), drawn, choose_attacks(spec))


@pytest.mark.toolchain
def test_two_models_in_the_workers_of_one_run(tmp_path: Path) -> None:
    """A torch model through litert-torch and a Keras one through TensorFlow, which no one process survives."""
    store, watch = Store(tmp_path), _Watch()
    plans = [planned(store, "mlp", ["litert-fp32"]), planned(store, "keras:mlp", ["tflite-int8"])]
    jobs = {
        ref: job
        for plan in plans
        for ref, job in plan.jobs.items()
        if ref[0] in {"train", "compress", "query"} and "shadow" not in job.label
    }
    with LocalProcesses(store, 2) as executor:
        result = executor.run(jobs, watch)
    assert not result.errors
    assert result.executed == len(jobs) == 6
    assert watch.groups == {"torch", "tensorflow"}
    assert watch.most <= 2
