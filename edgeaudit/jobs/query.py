"""artifact + runtime + records -> responses, refused where the artifact does not agree with its torch model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from edgeaudit.artifact import Manifest, file_sha256
from edgeaudit.devices.local import cpu_flags, saturates
from edgeaudit.errors import AgreementError, ArtifactError, StoreError
from edgeaudit.jobs.base import JobContext
from edgeaudit.jobs.check import read_check
from edgeaudit.runtimes.agreement import comparable, require_agreement
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["RESPONSES", "query"]

SATURATES = (
    "This CPU has AVX2 and no VNNI: ONNX Runtime sums 8-bit products in 16 bits here, which overrun, so the same file "
    "answers otherwise on ARM and on x86 with VNNI. Audit it on such a machine, or take another format"
)

RESPONSES = "responses.npy"


def query(context: JobContext) -> Mapping[str, Any]:
    """Ask the artifact about every record; write float32 [records, classes] in the order of Population.queried."""
    artifact, population = context.artifact(), context.population()
    if file_sha256(artifact.path) != artifact.manifest.sha256:
        raise StoreError(f"{artifact.path} is not the file that its manifest describes; remove that folder, run again")
    runtime = find_runtime(context.inputs["runtime"])(artifact, context.inputs["options"])
    ids, logits = read_check(artifact.folder, artifact.manifest.calibration_policy)
    answers = runtime.query(population.take(ids))
    with _about_this_cpu(artifact.manifest):
        agreement = require_agreement(
            comparable(logits, softmax_inside=artifact.manifest.softmax_inside),
            answers,
            what=context.inputs["format"],
            tolerance=context.inputs["tolerance"],
            range_tolerance=context.inputs["range_tolerance"],
        )
    # In blocks, so that a large population is never in memory as float32 at once.
    queried, step = population.queried, max(1, 4096 // runtime.batch) * runtime.batch
    blocks = [runtime.query(population.take(queried[i : i + step])) for i in range(0, len(queried), step)]
    responses = np.concatenate(blocks)
    if not np.isfinite(responses).all():
        bad = int(queried[~np.isfinite(responses).all(axis=1)][0])
        raise ArtifactError(f"{context.inputs['format']} answered record {bad} with a value that is not finite")
    np.save(context.draft / RESPONSES, responses.astype(np.float32))
    return {
        "agreement": asdict(agreement),
        "options": runtime.options,
        "queries": len(queried) + len(ids),
        "check_records": len(ids),
    }


@contextmanager
def _about_this_cpu(manifest: Manifest) -> Iterator[None]:
    """Add to a disagreement what the CPU has to do with it, where that is known."""
    try:
        yield
    except AgreementError as exc:
        if manifest.kind == "onnx" and manifest.calibration_policy and saturates(cpu_flags()):
            raise AgreementError(f"{exc}. {SATURATES}") from exc
        raise
