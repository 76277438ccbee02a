"""artifact + runtime + transformed records -> more responses, for attacks that query a record more than once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.config.views import parse_view
from edgeaudit.errors import ArtifactError
from edgeaudit.graph.job import Context, Cost, Job
from edgeaudit.population.views import input_range, shown
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query, described

__all__ = ["VIEWS", "View", "ViewResponses"]

VIEWS = "views.npy"
_BLOCK = 1024


@dataclass(frozen=True)
class ViewResponses:
    """responses: float32 [queries of the view, records, outputs], records in the order of `Population.queried`."""

    responses: npt.NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """As .npy."""
        np.save(folder / VIEWS, self.responses)

    @classmethod
    def load(cls, folder: Path) -> ViewResponses:
        """Read what `save` wrote, memory-mapped."""
        return cls(np.load(folder / VIEWS, mmap_mode="r"))


@dataclass(frozen=True, eq=False, kw_only=True)
class View(Job[ViewResponses]):
    """Query the artifact of `query`, in its runtime, about every record as transformed by a view.

    view: its name. seed: of the audit, for noise.
    """

    kind: ClassVar[str] = "view"
    result: ClassVar[type[ViewResponses]] = ViewResponses

    population: DrawPopulation
    query: Query
    view: str
    seed: int

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"{self.view} {self.query.label}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return self.query.isolation

    @property
    def confined(self) -> bool:
        """See `Job`."""
        return self.query.confined

    def cost(self) -> Cost:
        """Grouped by view and format."""
        return Cost((self.population.key, self.view, self.query.format), 0.2, 0.04)

    def run(self, context: Context) -> ViewResponses:
        """See the class."""
        population, view = context.read(self.population), parse_view(self.view)
        limits, queried = input_range(population), population.queried
        query = self.query.answered_by(context)
        artifact = context.read(query.source).artifact
        starts = range(0, len(queried), _BLOCK)
        with query.serve(context, artifact) as runtime:
            answers = [
                [
                    runtime.query(
                        shown(view, copy, population.take(queried[start : start + _BLOCK]), limits, self.seed, number)
                    )
                    for number, start in enumerate(starts)
                ]
                for copy in range(view.queries)
            ]
        responses = np.stack([np.concatenate(blocks) for blocks in answers])
        finite = np.isfinite(responses).all(axis=(0, 2))
        if not finite.all():
            bad = int(queried[~finite][0])
            raise ArtifactError(
                f"{described(artifact, query.role)} returned NaN or infinity for record {bad} in the view {view.name}"
            )
        return ViewResponses(responses.astype(np.float32))
