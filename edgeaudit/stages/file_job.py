"""What jobs have in common that open one file of another maker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeaudit.filetypes.registry import filetype_module, find_filetype
from edgeaudit.graph.job import Job, R
from edgeaudit.runtimes.registry import find_runtime
from edgeaudit.stages.train import SourceFile

__all__ = ["MOST_MEMORY", "MOST_SECONDS", "FileJob", "ReadJob", "memory_for"]

MOST_SECONDS = 60.0
"""For a file to be read and asked about some records, which takes seconds."""
MOST_MEMORY = 500 * 2**20


def memory_for(filetype: str) -> int:
    """Bytes that reading a file and asking it about some records may take, beyond ten times its size."""
    return MOST_MEMORY + find_filetype(filetype).spec.libraries


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadJob(Job[R]):
    """Reads a foreign file, which may never end."""

    most_seconds: ClassVar[float | None] = MOST_SECONDS

    file: SourceFile

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"read {self.file.path.name}"

    @property
    def confined(self) -> bool:
        """See `Job`."""
        return True

    def opens(self) -> tuple[Path, ...]:
        """See `Job`."""
        return self.file.paths


@dataclass(frozen=True, eq=False, kw_only=True)
class FileJob(ReadJob[R]):
    """Asks a foreign file, which may never answer. runtime: its name."""

    runtime: str

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return find_runtime(self.runtime).spec.isolation

    def memory(self) -> int:
        """See `Job`."""
        return memory_for(find_runtime(self.runtime).spec.serves)

    def code(self) -> tuple[str, ...]:
        """The runtime and the file type."""
        runtime = find_runtime(self.runtime)
        return (runtime.__module__, *runtime.spec.code, filetype_module(runtime.spec.serves))

    def packages(self) -> tuple[str, ...]:
        """Packages of the runtime."""
        return find_runtime(self.runtime).spec.packages
