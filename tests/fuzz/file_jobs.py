"""Jobs that open many damaged files in one confined worker, as the jobs of an audit open one."""

from __future__ import annotations

import json
import shutil
import signal
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import numpy as np

from edgeaudit.digests import file_sha256
from edgeaudit.errors import EdgeAuditError
from edgeaudit.graph.job import Context, Job, unkeyed
from edgeaudit.stages.file_job import memory_for
from edgeaudit.stages.population import DrawPopulation
from tests.graph.jobs import Text

SLOWEST = 30.0
"""Seconds of a file."""


class TooSlow(Exception):
    """A file took too long."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OpenMany(Job[Text]):
    """Opens files one after the other, and keeps what each said.

    names: of files in `folder`. progress: a file in the store that says which is open, and what the others said. A file
    that ends the worker is left out when the job is tried again, which goes on behind it. from_here: the first to open.
    """

    kind: ClassVar[str] = "open-many"
    result: ClassVar[type[Text]] = Text
    most_seconds: ClassVar[float | None] = 300.0

    folder: Path
    names: tuple[str, ...]
    progress: Path
    from_here: int = 0
    how: str = unkeyed("")

    @property
    def confined(self) -> bool:
        return True

    @property
    def isolation(self) -> str:
        return "tensorflow" if self.how == "keras" else "torch"

    def run(self, context: Context) -> Text:
        said: dict[str, tuple[str, str]] = {}
        if self.progress.exists():
            ended, said = json.loads(self.progress.read_text(encoding="utf-8"))
            said[ended] = ("crash", "")
        opening = self.opening(context)
        for name in self.names:
            if name in said:
                continue
            self.progress.write_text(json.dumps([name, said]), encoding="utf-8")
            try:
                with _bounded():
                    opening(self.folder / name)
                said[name] = ("", "")
            except EdgeAuditError as exc:
                said[name] = ("ours", str(exc))
            except MemoryError:
                said[name] = ("ours", "memory")  # one sentence of the worker
            except Exception as exc:  # noqa: BLE001  what the test looks for
                said[name] = (type(exc).__name__, traceback.format_exc())
        return Text(json.dumps(said))

    def opening(self, context: Context) -> Callable[[Path], None]:
        """What is done with a file."""
        raise NotImplementedError


@contextmanager
def _bounded() -> Any:
    def late(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SLOWEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True, eq=False, kw_only=True)
class InspectMany(OpenMany):
    """Reads each, and asks it in every way, as `edgeaudit inspect --data` does."""

    kind: ClassVar[str] = "inspect-many"
    population: DrawPopulation
    filetype: str
    runtime: str

    def memory(self) -> int:
        return memory_for(self.filetype)

    def opening(self, context: Context) -> Callable[[Path], None]:
        from edgeaudit.filetypes.registry import find_filetype
        from edgeaudit.stages.examine_file import ExamineFile, ReadFile
        from edgeaudit.stages.train import SourceFile

        filetype = find_filetype(self.filetype)

        def open_one(path: Path) -> None:
            names = filetype.companions(path)
            file = SourceFile(file_sha256(path), {name: file_sha256(path.parent / name) for name in names}, path)
            ReadFile(file=file, filetype=self.filetype).run(context)
            draft = context.draft / "open"
            draft.mkdir()
            try:
                job = ExamineFile(population=self.population, file=file, runtime=self.runtime)
                job.run(replace(context, draft=draft))
            finally:
                shutil.rmtree(draft)

        return open_one


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadMany(OpenMany):
    """Loads each as a checkpoint. recipe: by name; width: of its records."""

    kind: ClassVar[str] = "load-many"
    recipe: str
    options: tuple[tuple[str, tuple[int, ...]], ...] = ()
    shape: tuple[int, ...] = (4,)

    def opening(self, context: Context) -> Callable[[Path], None]:
        from edgeaudit.recipes.base import Recipe, build
        from edgeaudit.recipes.keras_checkpoint import ARCHITECTURE, CHECKPOINT, architecture_of

        if self.how == "keras":
            from edgeaudit.recipes.keras_trained import read_checkpoint

            def load(path: Path) -> None:
                options = {ARCHITECTURE: architecture_of(path)} if self.recipe == CHECKPOINT else {}
                recipe = Recipe(self.recipe, self.shape, 2, {**dict(self.options), **options})
                read_checkpoint(path, recipe, np.zeros((4, *self.shape), np.float32))

            return load
        from edgeaudit.recipes.torch_checkpoint import load_checkpoint

        recipe = Recipe(self.recipe, self.shape, 2, dict(self.options))

        def load_torch(path: Path) -> None:
            load_checkpoint(build(recipe, 0), path, recipe)

        return load_torch
