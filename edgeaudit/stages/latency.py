"""artifact + runtime -> milliseconds a call: on this machine while no other job runs, or on a device of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.devices.device_runtime import RemoteRuntime
from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import JobContext
from edgeaudit.host.quiet import quiet
from edgeaudit.quality.latency import summarised, take_times, undisturbed
from edgeaudit.runtimes.base import Runtime
from edgeaudit.stages.serving import asked_artifact, opened

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
    told = {**asked, "options": {**asked["options"], "batch": batch}}
    records, repetitions = population.take(population.queried[:batch]), context.inputs["repetitions"]
    try:
        with opened(context, told, artifact) as runtime:
            if runtime.batch != batch:
                return _none(batch, f"the file takes {runtime.batch} at a time")
            timed = undisturbed(lambda: summarised(*_times(runtime, records, repetitions)))
    except ArtifactError as exc:
        if batch == 1:
            raise
        return _none(batch, str(exc))  # exported for fewer
    return {"batch": batch, "note": None, **asdict(timed)}


def _times(runtime: Runtime, records: npt.NDArray[np.float32], repetitions: int) -> tuple[list[float], float]:
    """Milliseconds of calls where the runtime runs, and their CPU share."""
    if isinstance(runtime, RemoteRuntime):
        return runtime.take_times(records, repetitions, _SECONDS)
    with quiet():
        return take_times(runtime.native_call(records), repetitions, _SECONDS)


def _none(batch: int, note: str) -> dict[str, Any]:
    return {"batch": batch, "note": note}
