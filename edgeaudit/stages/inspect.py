"""artifact -> what it costs to ship: compressed bytes, zero weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edgeaudit.errors import ArtifactError
from edgeaudit.graph.job import JobContext
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.quality.size import COMPRESSION, compressed_bytes
from edgeaudit.quality.weights import Sparsity, sparsity

__all__ = ["inspect_artifact"]


def inspect_artifact(context: JobContext) -> Mapping[str, Any]:
    """Read the artifact's files; nothing is run."""
    artifact = context.artifact()
    try:
        with quiet(NO_TELEMETRY):
            found = sparsity(artifact)
    except ArtifactError as exc:  # a file may be served well and be written in a way that our reader does not know
        found = Sparsity(None, None, str(exc))
    return {"compressed_bytes": compressed_bytes(artifact), "compression": COMPRESSION, **asdict(found)}
