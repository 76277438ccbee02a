"""What jobs share that ask an artifact again: the runtime, opened as the query job opened it."""

from __future__ import annotations

from collections.abc import Sequence

from edgeaudit.artifact import Artifact
from edgeaudit.errors import StoreError
from edgeaudit.jobs.base import JobContext
from edgeaudit.runtimes.base import Runtime
from edgeaudit.runtimes.registry import find_runtime

__all__ = ["asked_artifact", "described", "open_runtime"]


def asked_artifact(context: JobContext, query: Sequence[str]) -> Artifact:
    """The artifact that a query job asked. query: (kind, key)."""
    kind, key = query
    source_kind, source_key = context.store.entry(kind, key).about["inputs"]["source"]
    return Artifact.load(context.store.entry(source_kind, source_key).folder)


def described(artifact: Artifact, role: str) -> str:
    """What was asked, for messages: `onnx.export + ort.static-int8 (target)`; several formats may share it."""
    if artifact.manifest.foreign:
        return f"{artifact.manifest.file} ({role})"
    return f"{' + '.join(step.name for step in artifact.manifest.passes) or artifact.manifest.kind} ({role})"


def open_runtime(context: JobContext, query: Sequence[str]) -> Runtime:
    """The runtime of a query job with its artifact loaded. That they agree with the torch model, the query job saw."""
    kind, key = query
    artifact = asked_artifact(context, query)
    if (changed := artifact.changed()) is not None:
        raise StoreError(f"{changed} is not the file that its manifest describes; remove that folder, run again")
    inputs = context.store.entry(kind, key).about["inputs"]
    return find_runtime(inputs["runtime"])(artifact, inputs["options"])
