"""source -> population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from edgeaudit.config.data import DataSpec
from edgeaudit.graph.job import Context, Job, unkeyed
from edgeaudit.population.base import Population
from edgeaudit.population.registry import SOURCES

__all__ = ["DrawPopulation"]


@dataclass(frozen=True, eq=False, kw_only=True)
class DrawPopulation(Job[Population]):
    """Read the source, find copies, split, write the records once for every other job.

    content: what decides the population, by its content: digests of the source's files, the split that was asked for.
    data: the section of audit.yaml, whose paths say nothing.
    """

    kind: ClassVar[str] = "population"
    result: ClassVar[type[Population]] = Population

    content: Mapping[str, Any]
    seed: int
    data: DataSpec = unkeyed()
    group: str = unkeyed("torch")

    @property
    def isolation(self) -> str:
        """A function of the user's may read its records with the framework of his recipe."""
        return self.group

    def code(self) -> tuple[str, ...]:
        """A source of the user's own."""
        return source_modules(self.data.source)

    def run(self, context: Context) -> Population:
        """See the class."""
        from edgeaudit.population.build import build_population

        build_population(self.data, self.seed, context.draft)
        return Population(context.draft)


def source_modules(source: str) -> tuple[str, ...]:
    """The module of a source by name, or the user's in `module:function`."""
    module, separator, _ = source.partition(":")
    if module in SOURCES.names():
        return (SOURCES.module(module),)
    return (module,) if separator else ()
