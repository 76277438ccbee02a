"""artifact + runtime + records -> responses, refused where the artifact does not agree with its trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from edgeaudit.artifact import Artifact
from edgeaudit.errors import ArtifactError, StoreError
from edgeaudit.jobs.ask import described
from edgeaudit.jobs.base import JobContext
from edgeaudit.jobs.check import read_check
from edgeaudit.runtimes.agreement import comparable, require_agreement
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["RESPONSES", "query"]

RESPONSES = "responses.npy"


def query(context: JobContext) -> Mapping[str, Any]:
    """Ask the artifact about every record; write float32 [records, classes] in the order of Population.queried."""
    artifact, population = context.artifact(), context.population()
    if (changed := artifact.changed()) is not None:
        raise StoreError(f"{changed} is not the file that its manifest describes; remove that folder, run again")
    runtime = find_runtime(context.inputs["runtime"])(artifact, context.inputs["options"])
    agreement, checked = (None, 0) if artifact.manifest.foreign else _agreement(context, artifact, runtime)
    # In blocks, so that a large population is never in memory as float32 at once.
    queried, step = population.queried, max(1, 4096 // runtime.batch) * runtime.batch
    blocks = [runtime.query(population.take(queried[i : i + step])) for i in range(0, len(queried), step)]
    responses = np.concatenate(blocks)
    if not np.isfinite(responses).all():
        bad = int(queried[~np.isfinite(responses).all(axis=1)][0])
        what = described(artifact, context.inputs["role"])
        raise ArtifactError(f"{what} answered record {bad} with a value that is not finite")
    np.save(context.draft / RESPONSES, responses.astype(np.float32))
    return {
        "agreement": agreement,
        "options": runtime.options,
        "queries": len(queried) + checked,
        "check_records": checked,
    }


def _agreement(context: JobContext, artifact: Artifact, runtime: Runtime) -> tuple[dict[str, Any], int]:
    """How far the answers are from the torch model's, and on how many records; raises where it is too far."""
    ids, logits = read_check(artifact.folder, artifact.manifest.calibration_policy)
    found = require_agreement(
        comparable(logits, softmax_inside=artifact.manifest.softmax_inside),
        runtime.query(context.population().take(ids)),
        what=described(artifact, context.inputs["role"]),
        tolerance=context.inputs["tolerance"],
        range_tolerance=context.inputs["range_tolerance"],
    )
    return asdict(found), len(ids)
