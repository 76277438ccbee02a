"""artifact -> how its file was made, as far as the file says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeaudit.errors import ArtifactError
from edgeaudit.filetypes.registry import filetype_module, find_filetype
from edgeaudit.filetypes.traits import Traits
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.stages.artifacts import ArtifactJob, is_of_others
from edgeaudit.stages.json_files import read_json, write_json

__all__ = ["FileTraits", "ReadTraits"]

_FILE = "traits.json"


@dataclass(frozen=True)
class FileTraits:
    """traits: None where the file cannot say them, and `note` gives the reason."""

    traits: Traits | None
    note: str | None = None

    def save(self, folder: Path) -> None:
        """As JSON."""
        write_json(folder / _FILE, self)

    @classmethod
    def load(cls, folder: Path) -> FileTraits:
        """Read what `save` wrote."""
        return read_json(folder / _FILE, cls)


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadTraits(Job[FileTraits]):
    """Read how an artifact's file was made; nothing is run. filetype: of the artifact."""

    kind: ClassVar[str] = "traits"
    result: ClassVar[type[FileTraits]] = FileTraits

    source: ArtifactJob
    filetype: str
    format: str = unkeyed("")

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"read how {self.format} was made"

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

    def run(self, context: Context) -> FileTraits:
        """See the class."""
        artifact, filetype = context.read(self.source).artifact, find_filetype(self.filetype)
        if (reason := filetype.spec.unreadable.get("traits")) is not None:
            return FileTraits(None, reason)
        try:
            return FileTraits(filetype.traits(artifact.path, artifact.manifest.place))
        except ArtifactError as exc:  # a file may work in its runtime although our reader cannot parse it
            return FileTraits(None, str(exc))
