"""recipe -> seconds of one training, measured over moments, for the estimate of `edgeaudit plan`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from edgeaudit.graph.job import JobContext
from edgeaudit.recipes import Recipe
from edgeaudit.recipes.frameworks import framework_of

__all__ = ["probe"]

_RECORDS = 512


def probe(context: JobContext) -> Mapping[str, Any]:
    """Train one epoch on a few records twice (the first warms up) and scale by records and epochs."""
    recipe = Recipe.from_dict(context.inputs["recipe"])
    loop = framework_of(recipe.name).loop()
    population = context.population()
    ids = population.training_ids(context.inputs["role"], context.inputs["seed"])
    few = ids[:_RECORDS]
    x, y = population.take(few), population.labels[few]
    module = loop.build(recipe, 0)
    loop.train(module, x, y, recipe, 0, epochs=1)
    started = time.perf_counter()
    loop.train(module, x, y, recipe, 0, epochs=1)
    seconds = (time.perf_counter() - started) * len(ids) / len(few) * recipe.training.epochs
    return {"recipe_seconds": seconds}
