"""artifact + runtime + records -> distances to the decision boundary, from predicted classes alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.hop_skip_jump import Boundary, hop_skip_jump
from edgeaudit.attacks.trace_files import TRACE, spread
from edgeaudit.graph.job import JobContext
from edgeaudit.population import SHADOW, Population, stream
from edgeaudit.population.views import input_range
from edgeaudit.runtimes.base import Runtime
from edgeaudit.stages.query import RESPONSES
from edgeaudit.stages.serving import open_asked

__all__ = ["boundary"]

IntArray = npt.NDArray[np.int64]

_CANDIDATES = 500
_CELLS = 2**22
_DRAWS = 400


def boundary(context: JobContext) -> Mapping[str, Any]:
    """HopSkipJump on a sample of records: audited ones for a target, reference ones for a shadow.

    Distances are L2 in the units in which models see records. A search starts from the nearest of 500 reference
    records that the model is known to put into another class, so the start costs no query.
    """
    with open_asked(context, context.inputs["query"]) as runtime:
        return _search(context, runtime)


def _search(context: JobContext, runtime: Runtime) -> Mapping[str, Any]:
    inputs, population = context.inputs, context.population()
    shape = population.input_shape
    known = np.load(context.store.entry(*inputs["query"]).folder / RESPONSES).argmax(axis=1)
    queried, seed = population.queried, inputs["seed"]
    places = _places(population, inputs["role"], seed, inputs["records"])
    limits = input_range(population)
    ends = tuple(np.broadcast_to(end, (1, *shape)).reshape(1, -1) for end in (limits.low, limits.high))
    steps = np.broadcast_to(limits.step, (1, *shape))

    def predict(points: npt.NDArray[np.float32]) -> IntArray:
        return np.asarray(runtime.query(points.reshape(-1, *shape)).argmax(axis=1), dtype=np.int64)

    candidates = _candidates(population)
    pool = population.take(queried[candidates]).reshape(len(candidates), -1)
    found: list[Boundary] = []
    group = max(1, _CELLS // (_DRAWS * int(np.prod(shape))))
    for start in range(0, len(places), group):
        some = places[start : start + group]
        records = population.take(queried[some]).reshape(len(some), -1)
        labels = population.labels[queried[some]]
        found.append(
            hop_skip_jump(
                predict,
                records,
                labels,
                _starts(records, labels, pool, known[candidates]),
                inputs["budget"],
                [stream(seed, "boundary", int(queried[i])) for i in some],
                (np.minimum(ends[0], records), np.maximum(ends[1], records)),
                float(np.sqrt(np.sum(steps.astype(np.float64) ** 2))),
            )
        )
    distance = np.concatenate([part.distance for part in found])
    queries = np.concatenate([part.queries for part in found])
    np.savez(context.draft / TRACE, places=places, values=distance[:, None], queries=queries)
    return {"records": len(places), "queries": int(queries.sum()), "most_queries": int(queries.max())}


def _places(population: Population, role: str, seed: int, count: int) -> IntArray:
    """Positions in `queried`: evenly spaced audited records; for a shadow, reference records it did and did not see."""
    n_audited, n = len(population.audited), len(population.queried)
    if not role.startswith(SHADOW):
        return spread(np.arange(n_audited), count)
    pool = np.arange(n_audited, n)
    inside = np.isin(population.queried[pool], population.training_ids(role, seed))
    return np.sort(np.concatenate([spread(pool[inside], count // 2), spread(pool[~inside], count // 2)]))


def _candidates(population: Population) -> IntArray:
    """Positions of reference records that a search may start from; of nonmembers where there is no pool."""
    n_audited, n = len(population.audited), len(population.queried)
    return spread(np.arange(n_audited, n) if n > n_audited else np.arange(n), _CANDIDATES)


def _starts(
    records: npt.NDArray[np.float32], labels: IntArray, pool: npt.NDArray[np.float32], known: IntArray
) -> npt.NDArray[np.float32]:
    """For each record the nearest of the pool that is known to be of another class; the nearest where none is."""
    squares = (pool**2).sum(axis=1) - 2 * records @ pool.T
    other = known != labels[:, None]
    wanted = np.where(other | ~other.any(axis=1, keepdims=True), squares, np.inf)
    return np.asarray(pool[wanted.argmin(axis=1)], np.float32)
