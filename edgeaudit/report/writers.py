"""Report writers: each writes an audit to one file. `edgeaudit.report.registry` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgeaudit.errors import SpecError, toolchain_errors
from edgeaudit.report.model import Audit
from edgeaudit.report.registry import ALWAYS, WRITERS

__all__ = ["Writer", "WriterSpec", "find_writers", "require_writers", "write_reports"]


@dataclass(frozen=True)
class WriterSpec:
    """name: as in `report.writers` of audit.yaml and `--write`. file: name of the written file in the output folder."""

    name: str
    file: str
    summary: str


class Writer(ABC):
    """Writes one file. Subclasses set `spec` and implement `write`; `write_atomically` never leaves a partial file."""

    spec: ClassVar[WriterSpec]

    def require_ready(self) -> None:  # noqa: B027  most writers require nothing
        """Raise what would keep `write` from writing, whatever the audit. It is asked before an audit runs."""

    @abstractmethod
    def write(self, audit: Audit, path: Path) -> None:
        """Write the audit to `path`, replacing an existing file. Raises `StoreError` where that fails."""

    def write_since(self, audit: Audit, baseline: Audit | None, path: Path) -> None:  # noqa: ARG002
        """As `write`; a writer that tells what is new since `baseline`, an earlier audit, overrides this."""
        self.write(audit, path)


def find_writers(names: Iterable[str]) -> list[type[Writer]]:
    """Return the writers of these names, without repeats, that of audit.json first.

    Raises `SpecError` for an unknown name, and for two writers of one file.
    """
    writers = [WRITERS.find(name) for name in dict.fromkeys((ALWAYS, *names))]
    by_file: dict[str, str] = {}
    for writer in writers:
        other = by_file.setdefault(writer.spec.file, writer.spec.name)
        if other != writer.spec.name:
            raise SpecError(f"the writers '{other}' and '{writer.spec.name}' both write {writer.spec.file}; choose one")
    return writers


def require_writers(names: Iterable[str]) -> None:
    """Raise what would keep the writers of these names from writing: as `find_writers` does, or a writer's own."""
    for writer in find_writers(names):
        writer().require_ready()


def write_reports(audit: Audit, folder: Path, names: Iterable[str], baseline: Audit | None = None) -> list[Path]:
    """Write audit.json and the reports of these names into `folder`; returns the paths.

    baseline: an earlier audit, for writers that tell what is new since.

    Raises `SpecError` as `find_writers` does, `StoreError` where the folder cannot be written, and `ToolchainError`
    with the writer's name where it fails in another way.
    """
    paths = []
    for writer in find_writers(names):
        path = folder / writer.spec.file
        with toolchain_errors(f"the report writer '{writer.spec.name}'"):
            writer().write_since(audit, baseline, path)
        paths.append(path)
    return paths
