"""How long an audit will take: from jobs that ran before, or from a few training steps that are timed now."""

from __future__ import annotations

from edgeaudit.graph.estimate import StageEstimate, estimate
from edgeaudit.graph.executor import Listener, raise_errors
from edgeaudit.pipeline.audit import Prepared
from edgeaudit.pipeline.engine import Engine
from edgeaudit.stages.probe import Probe
from edgeaudit.stages.train import Train

__all__ = ["forecast"]


def forecast(prepared: Prepared, running: Engine, listener: Listener) -> list[StageEstimate]:
    """Counts and CPU seconds of each stage, in the order in which stages begin.

    Where no model of the audit was trained yet, some steps of a training are timed. Raises what that raises.
    """
    jobs, store = prepared.plan.jobs, running.store
    trains = [job for job in jobs.values() if isinstance(job, Train)]
    training_seconds = None
    if trains and not any(store.has(*job.ref) for job in trains):
        probe = Probe(train=trains[0])
        raise_errors(running.executor.run({probe.ref: probe}, listener))
        training_seconds = store.read(probe).recipe_seconds
    return estimate(jobs, store, training_seconds)
