"""How long jobs will take: from what like jobs took, else from a short measurement of the recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgeaudit.exporters import find_pass
from edgeaudit.graph.job import Job
from edgeaudit.graph.store import Store
from edgeaudit.pipeline.plan import Plan

__all__ = ["Rates", "StageEstimate", "estimate", "probe_job"]

_STAGES = (
    "control", "train", "compress", "adopt", "query", "view", "boundary", "trajectory", "equivalence", "measure",
    "exposure",
    "inspect", "latency",
)  # fmt: skip

_SECONDS = {"inspect": 0.5, "latency": 1.2, "equivalence": 10.0, "device": 12.0}
"""equivalence, device: an agent that starts under emulation, and some hundred records of a small model."""


class Rates:
    """Mean seconds of finished jobs by class. Jobs of one class differ in nothing but the model's role."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}
        self._classes: dict[str, str] = {}

    @property
    def empty(self) -> bool:
        """Whether nothing was learned yet."""
        return not self._seen

    def learn(self, job: Job, seconds: float) -> None:
        """Count one finished job."""
        total, count = self._seen.get(self._class(job), (0.0, 0))
        self._seen[self._class(job)] = (total + seconds, count + 1)

    def seconds(self, job: Job) -> float | None:
        """Mean of its class, or None."""
        seen = self._seen.get(self._class(job))
        return None if seen is None else seen[0] / seen[1]

    def _class(self, job: Job) -> str:
        if job.key not in self._classes:
            self._classes[job.key] = _job_class(job)
        return self._classes[job.key]


def _job_class(job: Job) -> str:
    inputs = job.inputs
    told: dict[str, Any] = {
        "train": lambda: (inputs["population"], inputs["recipe"]),
        # All passes so far: what is exported may be a smaller model than in another format.
        "compress": lambda: (inputs["population"], job.hints["passes"]),
        "query": lambda: (
            *(inputs[name] for name in ("population", "runtime", "options")),
            job.hints.get("format"),
            _asked_at(job),
        ),
        "view": lambda: (inputs["population"], inputs["view"], job.hints.get("format")),
        "boundary": lambda: (inputs["population"], inputs["budget"], inputs["records"], job.hints.get("format")),
        "trajectory": lambda: (
            *(inputs[name] for name in ("population", "recipe", "epochs", "records")),
            job.hints.get("format"),
        ),
        "measure": lambda: (inputs["population"], len(inputs["shadows"])),
        "exposure": lambda: (inputs["population"], len(inputs["shadows"]), inputs["level"]),
    }
    return f"{job.kind}:{json.dumps(told[job.kind](), sort_keys=True)}" if job.kind in told else job.kind


def _asked_at(job: Job) -> list[str]:
    """Where a query is asked; here and there take different times, and so does what may be taken from here."""
    reach = job.inputs["device"].get("reach")
    return (
        [] if reach is None else [reach["via"], reach["profile"] or "", "stand-in" if "stand_in" in job.inputs else ""]
    )


def typical_seconds(job: Job, recipe_seconds: float = 10.0) -> float:
    """A first guess. recipe_seconds: of training one model of this audit."""
    if job.kind == "compress":
        spec = find_pass(str(job.inputs["pass"])).spec
        return spec.typical_seconds + (spec.trainings if spec.trains else 0.0) * recipe_seconds
    if job.kind == "trajectory":
        return float(job.hints["trainings"]) * recipe_seconds
    if job.kind == "query" and _asked_at(job):
        return _SECONDS["device"]
    if job.kind in _SECONDS:
        return _SECONDS[job.kind]
    return {"train": recipe_seconds, "query": 0.15 + 0.04 * recipe_seconds, "view": 0.2 + 0.04 * recipe_seconds}.get(
        job.kind, 5.0
    )


@dataclass(frozen=True)
class StageEstimate:
    """One stage: all its jobs, those the store has, and CPU seconds for the rest."""

    stage: str
    jobs: int
    stored: int
    seconds: float


def probe_job(plan: Plan) -> Job:
    """A job that trains the audit's recipe for moments and reports the seconds of a whole training."""
    train = next(job for job in plan.jobs.values() if job.kind == "train")
    return Job("probe", train.inputs, train.needs, "measure the recipe's speed", train.hints)


def estimate(plan: Plan, store: Store, recipe_seconds: float | None) -> list[StageEstimate]:
    """Counts and seconds a stage. recipe_seconds: from `probe_job`; None where stored jobs tell enough."""
    rates = Rates()
    stored = {ref: job for ref, job in plan.jobs.items() if store.has(*ref)}
    for ref, job in stored.items():
        rates.learn(job, float(store.entry(*ref).about["seconds"]))
    rows = []
    for stage in _STAGES:
        jobs = [job for job in plan.jobs.values() if job.kind == stage]
        if not jobs:
            continue
        todo = [job for job in jobs if job.ref not in stored]
        rows.append(StageEstimate(stage, len(jobs), len(jobs) - len(todo), _sum(todo, rates, recipe_seconds)))
    return rows


def _sum(todo: Iterable[Job], rates: Rates, recipe_seconds: float | None) -> float:
    total = 0.0
    for job in todo:
        known = rates.seconds(job)
        total += typical_seconds(job, recipe_seconds or 10.0) if known is None else known
    return total
