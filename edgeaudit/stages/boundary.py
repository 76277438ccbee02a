"""artifact + runtime + records -> distances to the decision boundary, from predicted classes alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.hop_skip_jump import Boundary, hop_skip_jump
from edgeaudit.attacks.traces import spread
from edgeaudit.errors import ArtifactError
from edgeaudit.graph.job import Context, Cost, Job
from edgeaudit.population.base import SHADOW, Population, stream
from edgeaudit.population.views import input_range
from edgeaudit.runtimes.base import Runtime
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.traces import StoredTrace

__all__ = ["BoundaryDistance"]

IntArray = npt.NDArray[np.int64]

_CANDIDATES = 500
_CELLS = 2**22
_DRAWS = 400


@dataclass(frozen=True, eq=False, kw_only=True)
class BoundaryDistance(Job[StoredTrace]):
    """HopSkipJump on a sample of records: audited ones for a target, reference ones for a shadow.

    Distances are L2 in the units in which models see records. A search starts from the nearest of 500 reference
    records that the model assigns to another class according to its stored responses, so the start costs no query.

    query: its artifact and runtime are searched. role: of the model. records: how many. budget: queries per record.
    """

    kind: ClassVar[str] = "boundary"
    result: ClassVar[type[StoredTrace]] = StoredTrace

    population: DrawPopulation
    query: Query
    role: str
    records: int
    budget: int
    seed: int

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"boundary of {self.query.label}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return self.query.isolation

    @property
    def confined(self) -> bool:
        """See `Job`."""
        return self.query.confined

    def cost(self) -> Cost:
        """Grouped by records, budget and format."""
        return Cost((self.population.key, self.budget, self.records, self.query.format))

    def run(self, context: Context) -> StoredTrace:
        """See the class."""
        query = self.query.answered_by(context)
        with query.serve(context, context.read(query.source).artifact) as runtime:
            return self._search(context, runtime)

    def _search(self, context: Context, runtime: Runtime) -> StoredTrace:
        population = context.read(self.population)
        shape = population.input_shape
        inside = context.read(self.query.source).artifact.manifest.softmax_inside
        decide = partial(_classes, population, inside=inside)
        predicted = decide(context.read(self.query).responses)
        queried, seed = population.queried, self.seed
        places = _places(population, self.role, seed, self.records)
        limits = input_range(population)
        ends = tuple(np.broadcast_to(end, (1, *shape)).reshape(1, -1) for end in (limits.low, limits.high))
        steps = np.broadcast_to(limits.step, (1, *shape))

        def predict(points: npt.NDArray[np.float32]) -> IntArray:
            return decide(runtime.query(points.reshape(-1, *shape)))

        candidates = _candidates(population)
        pool = population.take(queried[candidates]).reshape(len(candidates), -1)
        boundaries: list[Boundary] = []
        group = max(1, _CELLS // (_DRAWS * int(np.prod(shape))))
        for start in range(0, len(places), group):
            some = places[start : start + group]
            records = population.take(queried[some]).reshape(len(some), -1)
            labels = population.labels[queried[some]]
            boundaries.append(
                hop_skip_jump(
                    predict,
                    records,
                    labels,
                    _starts(records, labels, pool, predicted[candidates]),
                    self.budget,
                    [stream(seed, "boundary", int(queried[i])) for i in some],
                    (np.minimum(ends[0], records), np.maximum(ends[1], records)),
                    float(np.sqrt(np.sum(steps.astype(np.float64) ** 2))),
                )
            )
        distance = np.concatenate([part.distance for part in boundaries])
        queries = np.concatenate([part.queries for part in boundaries])
        return StoredTrace(places, distance[:, None], queries, np.empty(0, np.int64))


def _classes(population: Population, answers: npt.NDArray[np.float32], *, inside: bool) -> IntArray:
    found = population.task.decisions(answers, inside=inside)
    if found is None:
        raise ArtifactError(f"a model for {population.task.name} has no decision boundary")
    return found


def _places(population: Population, role: str, seed: int, count: int) -> IntArray:
    """Positions in `queried`: evenly spaced audited records; for a shadow, reference records in and out of training."""
    n_audited, n = len(population.audited), len(population.queried)
    if not role.startswith(SHADOW):
        return spread(np.arange(n_audited), count)
    pool = np.arange(n_audited, n)
    inside = np.isin(population.queried[pool], population.training_ids(role, seed))
    return np.sort(np.concatenate([spread(pool[inside], count // 2), spread(pool[~inside], count // 2)]))


def _candidates(population: Population) -> IntArray:
    """Positions of reference records from which a search may start; of nonmembers if there is no pool."""
    n_audited, n = len(population.audited), len(population.queried)
    return spread(np.arange(n_audited, n) if n > n_audited else np.arange(n), _CANDIDATES)


def _starts(
    records: npt.NDArray[np.float32], labels: IntArray, pool: npt.NDArray[np.float32], predicted: IntArray
) -> npt.NDArray[np.float32]:
    """For each record the nearest pool record of another predicted class; the nearest of all if there is none."""
    squares = (pool**2).sum(axis=1) - 2 * records @ pool.T
    other = predicted != labels[:, None]
    wanted = np.where(other | ~other.any(axis=1, keepdims=True), squares, np.inf)
    return np.asarray(pool[wanted.argmin(axis=1)], np.float32)
