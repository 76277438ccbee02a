"""Facts in files of others that a plan depends on. Confined workers open the files, not the planning process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgeaudit.digests import file_sha256
from edgeaudit.errors import ArtifactError, UnusableEntry, reason_of
from edgeaudit.filetypes.base import FileType
from edgeaudit.graph.executor import Executor, Listener, raise_errors
from edgeaudit.graph.job import Job, Result
from edgeaudit.graph.store import Store
from edgeaudit.recipes.keras_checkpoint import checkpoint_digest
from edgeaudit.stages.stated import ReadArchitecture, ReadNames
from edgeaudit.stages.train import SourceFile

__all__ = ["FilesOfOthers", "NoFiles", "OpenedFiles"]

R = TypeVar("R", bound=Result)


class FilesOfOthers(Protocol):
    """What is asked of files while an audit is planned."""

    def companions(self, path: Path, filetype: FileType, sha256: str | None = None) -> tuple[str, ...]:
        """Names of the files that belong to a model file; they exist beside it. Raises `ArtifactError`.

        sha256: of the file; None if the caller does not know it.
        """

    def architecture(self, path: Path) -> Mapping[str, Any]:
        """The architecture in a .keras file. Raises `SpecError`."""


class NoFiles:
    """For a plan without files of others."""

    def companions(self, path: Path, filetype: FileType, sha256: str | None = None) -> tuple[str, ...]:
        """Refuse: there is nobody to open it."""
        del sha256
        raise RuntimeError(f"{path} ({filetype.spec.name}): no worker opens files of others for this plan")

    def architecture(self, path: Path) -> Mapping[str, Any]:
        """Refuse: there is nobody to open it."""
        raise RuntimeError(f"{path}: no worker opens files of others for this plan")


class OpenedFiles:
    """Files are opened by jobs, once for each content."""

    def __init__(self, store: Store, executor: Executor, listener: Listener) -> None:
        self._store, self._executor, self._listener = store, executor, listener

    def companions(self, path: Path, filetype: FileType, sha256: str | None = None) -> tuple[str, ...]:
        """See `FilesOfOthers`."""
        if not filetype.states_companions:
            return filetype.companions(path)
        try:
            file = SourceFile(sha256 or file_sha256(path), {}, path)
        except OSError as exc:
            raise ArtifactError(f"{path} cannot be read: {reason_of(exc)}") from exc
        stated = self._done(ReadNames(file=file, filetype=filetype.spec.name))
        return filetype.checked_companions(path, stated.names)

    def architecture(self, path: Path) -> Mapping[str, Any]:
        """See `FilesOfOthers`."""
        return self._done(ReadArchitecture(file=SourceFile(checkpoint_digest(path), {}, path))).config

    def _done(self, job: Job[R]) -> R:
        raise_errors(self._executor.run({job.ref: job}, self._listener))
        try:
            return self._store.read(job)
        except UnusableEntry as exc:
            self._store.drop(exc.kind, exc.key)
            self._listener.repeated(job, exc)
            raise_errors(self._executor.run({job.ref: job}, self._listener))
            return self._store.read(job)
