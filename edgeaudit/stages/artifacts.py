"""The result of train, compress and adopt: an artifact, and notes on how it was created."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from edgeaudit.filetypes.artifact import Artifact
from edgeaudit.graph.job import Job

__all__ = ["ADOPTED", "ArtifactJob", "StoredArtifact", "is_of_others"]

_NOTES = "notes.json"


@dataclass(frozen=True)
class StoredArtifact:
    """An artifact in the store.

    found: sentences on what was detected in a file or checkpoint of the user's. notes: figures of a toolchain or loop.
    """

    artifact: Artifact
    found: tuple[str, ...] = ()
    notes: Mapping[str, object] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the manifest and the notes; the file and its companions are already in the folder."""
        Artifact(folder, self.artifact.manifest).save()
        text = json.dumps({"found": self.found, "notes": self.notes}, allow_nan=False)
        (folder / _NOTES).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> StoredArtifact:
        """Read what `save` wrote."""
        about = json.loads((folder / _NOTES).read_text(encoding="utf-8"))
        return cls(Artifact.load(folder), tuple(about["found"]), about["notes"])


ArtifactJob: TypeAlias = Job[StoredArtifact]

ADOPTED = "adopt"
"""The kind of the job that takes in a model file of others."""


def is_of_others(source: ArtifactJob) -> bool:
    """Whether an artifact is a file of others as it is, so that every job that opens it is confined."""
    return source.kind == ADOPTED
