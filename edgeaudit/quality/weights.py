"""How many of the weights in a file, as it ships, are zero. What counts as one: `filetypes.base.WeightTensor`."""

from __future__ import annotations

from dataclasses import dataclass

from edgeaudit.errors import MissingToolchain
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.filetypes.registry import find_filetype

__all__ = ["Sparsity", "sparsity"]


@dataclass(frozen=True)
class Sparsity:
    """zeros of weights; both None where the file's weights cannot be read, and `note` says why."""

    weights: int | None
    zeros: int | None
    note: str | None = None


def sparsity(artifact: Artifact) -> Sparsity:
    """Count the weights in an artifact's files and the zeros among them.

    A file type whose weights cannot be read gives none and the reason, and so does one whose reader is not installed.
    Raises `ArtifactError` where a file cannot be read.
    """
    filetype = find_filetype(artifact.manifest.kind)
    if (reason := filetype.spec.unreadable.get("weights")) is not None:
        return Sparsity(None, None, reason)
    try:
        tensors = filetype.weights(artifact.path)
    except MissingToolchain as exc:
        return Sparsity(None, None, str(exc))
    return Sparsity(sum(tensor.values.size for tensor in tensors), sum(tensor.zeros for tensor in tensors))
