"""Estimate job durations from finished jobs of the same class, or else from their own first guess."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgeaudit.graph.executor import AnyJob
from edgeaudit.graph.job import Cost, Ref
from edgeaudit.graph.store import Store

__all__ = ["Rates", "StageEstimate", "estimate", "typical_seconds"]

_TRAINING = 10.0
"""Seconds of one training, as long as none was measured."""


class Rates:
    """Mean seconds of finished jobs by class. Jobs of one class differ in nothing that takes time."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}
        self._classes: dict[str, str] = {}

    @property
    def empty(self) -> bool:
        """Whether no job has been counted yet."""
        return not self._seen

    def learn(self, job: AnyJob, seconds: float) -> None:
        """Count one finished job."""
        total, count = self._seen.get(self._class(job), (0.0, 0))
        self._seen[self._class(job)] = (total + seconds, count + 1)

    def seconds(self, job: AnyJob) -> float | None:
        """Mean of the job's class, or None."""
        seen = self._seen.get(self._class(job))
        return None if seen is None else seen[0] / seen[1]

    def _class(self, job: AnyJob) -> str:
        if job.key not in self._classes:
            self._classes[job.key] = f"{job.kind}:{json.dumps(job.cost().group, sort_keys=True)}"
        return self._classes[job.key]


def typical_seconds(cost: Cost, training_seconds: float | None = None) -> float:
    """A first guess. training_seconds: duration of training one model of this audit."""
    return cost.seconds + cost.trainings * (_TRAINING if training_seconds is None else training_seconds)


@dataclass(frozen=True)
class StageEstimate:
    """One stage: number of jobs, how many of them are stored, and CPU seconds for the rest."""

    stage: str
    jobs: int
    stored: int
    seconds: float


def estimate(jobs: Mapping[Ref, AnyJob], store: Store, training_seconds: float | None) -> list[StageEstimate]:
    """Counts and seconds of each stage, in the order in which stages begin.

    training_seconds: duration of one training; None if stored jobs are enough for an estimate.
    """
    rates = Rates()
    stored = {ref for ref in jobs if store.has(*ref)}
    for ref in stored:
        rates.learn(jobs[ref], store.entry_seconds(*ref))
    rows = []
    for stage in dict.fromkeys(ref.kind for ref in jobs):
        todo = [job for ref, job in jobs.items() if ref.kind == stage and ref not in stored]
        count = sum(ref.kind == stage for ref in jobs)
        rows.append(StageEstimate(stage, count, count - len(todo), _sum(todo, rates, training_seconds)))
    return rows


def _sum(todo: Iterable[AnyJob], rates: Rates, training_seconds: float | None) -> float:
    total = 0.0
    for job in todo:
        mean = rates.seconds(job)
        total += typical_seconds(job.cost(), training_seconds) if mean is None else mean
    return total
