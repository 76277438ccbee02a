"""artifact + runtime + canaries -> responses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import ArtifactError
from edgeaudit.graph.job import Context, Cost, Job
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import RESPONSES, Query, described

__all__ = ["CanaryQuery", "CanaryResponses"]

_BLOCK = 1024


@dataclass(frozen=True)
class CanaryResponses:
    """responses: float32 [canaries, outputs], in the order of `Population.canaries`."""

    responses: npt.NDArray[np.float32]

    def save(self, folder: Path) -> None:
        """As .npy."""
        np.save(folder / RESPONSES, self.responses)

    @classmethod
    def load(cls, folder: Path) -> CanaryResponses:
        """Read what `save` wrote."""
        return cls(np.load(folder / RESPONSES))


@dataclass(frozen=True, eq=False, kw_only=True)
class CanaryQuery(Job[CanaryResponses]):
    """Query the artifact of `query`, in its runtime, about the canaries."""

    kind: ClassVar[str] = "canary-query"
    result: ClassVar[type[CanaryResponses]] = CanaryResponses

    population: DrawPopulation
    query: Query

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"canaries of {self.query.label}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return self.query.isolation

    @property
    def confined(self) -> bool:
        """See `Job`."""
        return self.query.confined

    def cost(self) -> Cost:
        """Grouped by format."""
        return Cost((self.population.key, self.query.format), 0.15, 0.01)

    def run(self, context: Context) -> CanaryResponses:
        """See the class."""
        population = context.read(self.population)
        ids, query = population.canaries, self.query.answered_by(context)
        artifact = context.read(query.source).artifact
        with query.serve(context, artifact) as runtime:
            blocks = [
                runtime.query(population.take(ids[start : start + _BLOCK])) for start in range(0, len(ids), _BLOCK)
            ]
        responses = np.concatenate(blocks).astype(np.float32)
        if not np.isfinite(responses).all():
            raise ArtifactError(f"{described(artifact, query.role)} returned NaN or infinity for a canary")
        return CanaryResponses(responses)
