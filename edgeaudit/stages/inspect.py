"""artifact -> compressed size and zero weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.registry import filetype_module
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.host.quiet import NO_TELEMETRY, quiet
from edgeaudit.quality.size import COMPRESSION, compressed_bytes
from edgeaudit.quality.weights import Sparsity, sparsity
from edgeaudit.stages.artifacts import ArtifactJob, is_of_others

__all__ = ["Inspect", "Inspection"]

_FILE = "inspection.json"


@dataclass(frozen=True)
class Inspection:
    """Size of the compressed files, the compression, and zero weights; None where weights cannot be read."""

    compressed_bytes: int
    compression: str
    weights: int | None
    zeros: int | None
    note: str | None

    def save(self, folder: Path) -> None:
        """As JSON."""
        (folder / _FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Inspection:
        """Read what `save` wrote."""
        return cls(**json.loads((folder / _FILE).read_text(encoding="utf-8")))


@dataclass(frozen=True, eq=False, kw_only=True)
class Inspect(Job[Inspection]):
    """Read the artifact's files; nothing is run. filetype: of the artifact."""

    kind: ClassVar[str] = "inspect"
    result: ClassVar[type[Inspection]] = Inspection

    source: ArtifactJob
    filetype: str
    compressor: str
    format: str = unkeyed("")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"inspect {self.format}"

    @property
    def confined(self) -> bool:
        """See `Job`."""
        return is_of_others(self.source)

    def code(self) -> tuple[str, ...]:
        """The file type."""
        return (filetype_module(self.filetype),)

    def cost(self) -> Cost:
        """A short job."""
        return Cost((), 0.5)

    def run(self, context: Context) -> Inspection:
        """See the class."""
        artifact = context.read(self.source).artifact
        try:
            with quiet(NO_TELEMETRY):
                weights = sparsity(artifact)
        except ArtifactError as exc:  # a file may work in its runtime although our reader cannot parse it
            weights = Sparsity(None, None, str(exc))
        return Inspection(compressed_bytes(artifact), COMPRESSION, weights.weights, weights.zeros, weights.note)
