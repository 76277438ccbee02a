"""artifact + runtime -> milliseconds a call, on this machine, while no other job runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgeaudit.artifact import Artifact
from edgeaudit.errors import ArtifactError
from edgeaudit.jobs.ask import asked_artifact
from edgeaudit.jobs.base import JobContext
from edgeaudit.quality.latency import time_calls, undisturbed
from edgeaudit.runtimes.quiet import quiet
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["THREADS", "latency"]

THREADS = 1
"""Of every runtime; workers are started with as many."""

_SECONDS = 0.4
"""A batch; with warm-up and loading, a format of a small model takes about a second."""


def latency(context: JobContext) -> Mapping[str, Any]:
    """Time the runtime's own call for each batch that the inputs name; a batch that the format cannot take says why."""
    asked = context.store.entry(*context.inputs["query"]).about["inputs"]
    artifact = asked_artifact(context, context.inputs["query"])
    return {"threads": THREADS, "batches": [_timed(context, asked, artifact, b) for b in context.inputs["batches"]]}


def _timed(context: JobContext, asked: Mapping[str, Any], artifact: Artifact, batch: int) -> dict[str, Any]:
    fixed, population = context.inputs["fixed_batch"], context.population()
    if fixed is not None and batch > fixed:
        return _none(batch, f"the format takes {fixed} at a time")
    try:
        runtime = find_runtime(asked["runtime"])(artifact, {**asked["options"], "batch": batch})
    except ArtifactError as exc:
        if batch == 1:
            raise
        return _none(batch, str(exc))  # exported for fewer
    if runtime.batch != batch:
        return _none(batch, f"the file takes {runtime.batch} at a time")
    call = runtime.native_call(population.take(population.queried[:batch]))
    with quiet():
        timed = undisturbed(lambda: time_calls(call, context.inputs["repetitions"], _SECONDS))
    return {"batch": batch, "note": None, **asdict(timed)}


def _none(batch: int, note: str) -> dict[str, Any]:
    return {"batch": batch, "note": note}
