"""Number of weights and of zero weights in an artifact's files; `filetypes.base.WeightTensor` defines a weight."""

from __future__ import annotations

from dataclasses import dataclass

from edgeaudit.errors import MissingToolchain
from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.filetypes.registry import find_filetype

__all__ = ["Sparsity", "sparsity"]


@dataclass(frozen=True)
class Sparsity:
    """weights, zeros: counts; both None where the weights cannot be read, and `note` gives the reason."""

    weights: int | None
    zeros: int | None
    note: str | None = None


def sparsity(artifact: Artifact) -> Sparsity:
    """Count the weights in an artifact's files and the zeros among them.

    The counts are None, with the reason, for a file type whose weights cannot be read and where its reader is not
    installed. Raises `ArtifactError` for a damaged file.
    """
    filetype = find_filetype(artifact.manifest.kind)
    if (reason := filetype.spec.unreadable.get("weights")) is not None:
        return Sparsity(None, None, reason)
    try:
        tensors = filetype.weights(artifact.path)
    except MissingToolchain as exc:
        return Sparsity(None, None, str(exc))
    return Sparsity(sum(tensor.values.size for tensor in tensors), sum(tensor.zeros for tensor in tensors))
