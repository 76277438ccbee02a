"""How long an audit will take: from jobs that ran before, or from a few training steps that are timed now."""

from __future__ import annotations

from dataclasses import dataclass

from edgeaudit.graph.estimate import StageEstimate, estimate
from edgeaudit.graph.executor import Listener, raise_errors
from edgeaudit.pipeline.audit import Prepared
from edgeaudit.pipeline.engine import Engine
from edgeaudit.stages.probe import Probe
from edgeaudit.stages.train import Train

__all__ = ["Forecast", "forecast"]


@dataclass(frozen=True)
class Forecast:
    """stages: counts and CPU seconds of each, in the order in which they begin.

    outputs: numbers that a model of the recipe answers; None without a recipe.
    """

    stages: list[StageEstimate]
    outputs: int | None


def forecast(prepared: Prepared, running: Engine, listener: Listener) -> Forecast:
    """What is left to do. Checkpoints are opened; where no model was trained yet, some steps of a training are timed.

    Raises what that raises.
    """
    jobs, store = prepared.plan.jobs, running.store
    trains = [job for job in jobs.values() if isinstance(job, Train)]
    # Checkpoints are opened and examined now: what is wrong with one is said before anything is trained.
    given = {job.ref: job for job in trains if job.checkpoint is not None}
    raise_errors(running.executor.run({ref: job for ref, job in given.items() if not store.has(*ref)}, listener))
    stored = [job for job in trains if store.has(*job.ref)]
    training_seconds = None
    outputs = store.read(stored[0]).artifact.manifest.output.shape[-1] if stored else None
    if trains and all(job.ref in given for job in stored):
        probe = Probe(train=next((job for job in trains if job.ref not in given), trains[0]))
        raise_errors(running.executor.run({probe.ref: probe}, listener))
        found = store.read(probe)
        training_seconds, outputs = found.recipe_seconds, found.outputs
    return Forecast(estimate(jobs, store, training_seconds), outputs)
