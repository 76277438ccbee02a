"""Houses: processes that refuse what cannot live in them; jobs of two houses in one run."""

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
from edgeaudit.errors import ToolchainError
from edgeaudit.graph.job import Job, Outcome
from edgeaudit.graph.processes import LocalProcesses
from edgeaudit.graph.store import Store
from edgeaudit.host.isolation import IsolationGroup, enter, require_apart
from edgeaudit.pipeline.plan import Plan, make_plan, population_job
from edgeaudit.population.base import Population


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
    with ProcessPoolExecutor(1, get_context("spawn"), initializer=enter, initargs=(house,)) as pool:
        return pool.submit(function, *given).result()


@pytest.mark.parametrize(
    ("house", "name"), [("torch", "tensorflow"), ("tensorflow", "torch"), ("tensorflow", "triton")]
)
def test_a_worker_refuses_the_others_packages(isolation: IsolationGroup, name: str) -> None:
    said, works = elsewhere(house, refused, name)
    assert said == f"{name} cannot be imported in a worker process of {house}"
    assert works


def test_a_process_that_has_torch_already_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", sys)
    with pytest.raises(ToolchainError, match="tensorflow and torch cannot be in one process"):
        require_apart("tensorflow")
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    require_apart("tensorflow")


class _Watch:
    """Counts the jobs that run at a time."""

    def __init__(self) -> None:
        self.running, self.most = 0, 0
        self.houses: set[str] = set()

    def started(self, job: Job) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.houses.add(str(job.hints.get("house", "torch")))

    def finished(self, job: Job, outcome: Outcome) -> None:
        self.running -= 1

    def skipped(self, job: Job) -> None:
        raise AssertionError(job.label)


def planned(store: Store, recipe: str, formats: list[str]) -> Plan:
    spec = AuditSpec.model_validate(
        {
            "model": {"recipe": recipe, "epochs": 1},
            "data": {"members": 50, "nonmembers": 50, "reference": 200, "calibration": {"records": 16}},
            "threat": {"shadows": 2},
            "controls": {"null-targets": 0, "shift": False},
            "formats": formats,
            "attacks": ["gap"],
        }
    )
    job = population_job(spec, population_inputs(spec.data, spec.seed), "")
    LocalProcesses(store, 1).run({job.ref: job}, _Watch())
    return make_plan(spec, Population(store.entry(*job.ref).folder), job.ref, {"attacks": {}})


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
    result = LocalProcesses(store, 2).run(jobs, watch)
    assert not result.errors
    assert result.executed == len(jobs) == 6
    assert watch.houses == {"torch", "tensorflow"}
    assert watch.most <= 2
