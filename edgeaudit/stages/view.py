"""artifact + runtime + transformed records -> more responses, for attacks that ask about a record more than once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeaudit.config.views import parse_view
from edgeaudit.errors import ArtifactError
from edgeaudit.graph.job import JobContext
from edgeaudit.population.views import input_range, shown
from edgeaudit.stages.serving import described, open_asked

__all__ = ["VIEWS", "view"]

VIEWS = "views.npy"
_BLOCK = 1024


def view(context: JobContext) -> Mapping[str, Any]:
    """Ask about every record as the view shows it; write float32 [queries, records, classes].

    Records stand in the order of Population.queried. The query job that the inputs name asked the same artifact in the
    same runtime about the records as they are.
    """
    population, how, seed = context.population(), parse_view(context.inputs["view"]), context.inputs["seed"]
    limits, queried = input_range(population), population.queried
    with open_asked(context, context.inputs["query"]) as runtime:
        answers = [
            [
                runtime.query(shown(how, copy, population.take(queried[start : start + _BLOCK]), limits, seed, number))
                for number, start in enumerate(range(0, len(queried), _BLOCK))
            ]
            for copy in range(how.queries)
        ]
        artifact = runtime.artifact
    responses = np.stack([np.concatenate(blocks) for blocks in answers])
    finite = np.isfinite(responses).all(axis=(0, 2))
    if not finite.all():
        bad = int(queried[~finite][0])
        raise ArtifactError(
            f"{described(artifact, context.inputs['role'])} answered record {bad}, seen as {how.name}, with a "
            "value that is not finite"
        )
    np.save(context.draft / VIEWS, responses.astype(np.float32))
    return {"queries": how.queries * len(queried), "queries_per_record": how.queries}
