"""data source -> population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.config.canaries import CanariesSpec
from edgeaudit.config.data import DataSpec
from edgeaudit.config.shadows import ShadowsSpec
from edgeaudit.errors import DataError
from edgeaudit.graph.job import Context, Job, unkeyed
from edgeaudit.population.base import Population
from edgeaudit.population.registry import SOURCES
from edgeaudit.tasks import TaskName

__all__ = ["DrawPopulation"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawPopulation(Job[Population]):
    """Read the source, find copies, split, write the records once for every other job.

    Raises `DataError` where a file was changed since `content` was computed: the records would be stored under the key
    of others.

    content: everything that determines the population: digests of the source's files, the requested split.
    data, canaries, shadows: the sections of audit.yaml, which `content` has; paths are not part of the key. task: of
    audit.yaml.
    """

    kind: ClassVar[str] = "population"
    essential: ClassVar[bool] = True
    result: ClassVar[type[Population]] = Population

    content: Mapping[str, Any]
    seed: int
    task: TaskName = "classification"
    data: DataSpec = unkeyed()
    canaries: CanariesSpec | None = unkeyed(None)
    shadows: ShadowsSpec | None = unkeyed(None)
    group: str = unkeyed("torch")

    @property
    def isolation(self) -> str:
        """A user function may read its records with the framework of the recipe."""
        return self.group

    @property
    def confined(self) -> bool:
        """See `Job`: where one of our sources reads files, and nothing of the user's runs or downloads."""
        columns = (self.data.groups, *self.data.slices.values())
        return reads_files(self.data) and not any(function_modules(column) for column in columns)

    def opens(self) -> tuple[Path, ...]:
        """See `Job`."""
        return tuple(path for path in (self.data.path, *(side.path for side in self.data.sides.values())) if path)

    def code(self) -> tuple[str, ...]:
        """The module of the source, unless the content was found by reading it: then the code that read it is known."""
        if "about" in self.content:
            return ()
        columns = (self.data.groups, *self.data.slices.values())
        own = (module for column in columns for module in function_modules(column))
        return (*source_modules(self.data.source), *own)

    def run(self, context: Context) -> Population:
        """See the class."""
        from edgeaudit.population.build import build_population, population_content

        build_population(self.data, self.seed, context.draft, self.canaries, self.task, self.shadows)
        if "source" in self.content and population_content(self.data, self.canaries, self.shadows) != self.content:
            raise DataError("data: a file of the records changed while the audit ran; run it again")
        return Population(context.draft)


def function_modules(column: str) -> tuple[str, ...]:
    """The module of a column that the user's `module:function` gives."""
    module, separator, _ = column.partition(":")
    return (module,) if separator else ()


def reads_files(data: DataSpec) -> bool:
    """Whether the source is one of ours that reads files of others, and downloads none."""
    name = data.source.partition(":")[0]
    if name not in SOURCES.names() or name == "digits" or data.options.get("download"):
        return False
    return SOURCES.module(name).partition(".")[0] == "edgeaudit"


def source_modules(source: str) -> tuple[str, ...]:
    """The module of a named source, or the user's module in `module:function`."""
    module = source.partition(":")[0]
    if module in SOURCES.names():
        return (SOURCES.module(module),)
    return function_modules(source)
