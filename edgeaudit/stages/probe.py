"""recipe -> seconds of one training, measured on a short run, for the estimate of `edgeaudit plan`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgeaudit.graph.job import Context, Job
from edgeaudit.recipes.base import Privacy, Recipe
from edgeaudit.recipes.frameworks import framework_of
from edgeaudit.stages.train import Train

__all__ = ["Probe", "ProbeResult"]

_RECORDS = 512
_FILE = "probe.json"


@dataclass(frozen=True)
class ProbeResult:
    """recipe_seconds: duration of one full training. outputs: numbers that a model of the recipe answers."""

    recipe_seconds: float
    outputs: int

    def save(self, folder: Path) -> None:
        """As JSON."""
        (folder / _FILE).write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> ProbeResult:
        """Read what `save` wrote."""
        return cls(**json.loads((folder / _FILE).read_text(encoding="utf-8")))


@dataclass(frozen=True, eq=False, kw_only=True)
class Probe(Job[ProbeResult]):
    """Train one epoch on a few records twice (the first warms up) and scale by records and epochs.

    train: the training job whose speed is measured; it does not run.
    """

    kind: ClassVar[str] = "probe"
    essential: ClassVar[bool] = True
    result: ClassVar[type[ProbeResult]] = ProbeResult

    train: Train

    @property
    def label(self) -> str:
        """See `Job`."""
        return "measure the recipe's speed"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return self.train.isolation

    def reads(self) -> tuple[Job[Any], ...]:
        """Only the records: the training job itself does not run."""
        return (self.train.population,)

    def run(self, context: Context) -> ProbeResult:
        """See the class."""
        recipe, population = self.train.recipe, context.read(self.train.population)
        loop = framework_of(recipe.name).loop()
        ids = population.training_ids(self.train.role, self.train.seed)
        few = ids[:_RECORDS]
        x, y = population.take(few), population.truth(few)
        module = loop.build(recipe, 0)
        timed, epochs = _one_epoch(recipe)
        loop.train(module, x, y, timed, 0, epochs=epochs)
        started = time.perf_counter()
        loop.train(module, x, y, timed, 0, epochs=epochs)
        seconds = (time.perf_counter() - started) * len(ids) / len(few) * recipe.training.epochs
        return ProbeResult(seconds, int(loop.logits(module, x[:2]).shape[1]))


def _one_epoch(recipe: Recipe) -> tuple[Recipe, int | None]:
    """The recipe and the number of epochs that train one epoch; a private one as such, which fine-tuning is not.

    Its epsilon and delta are such as few records allow: how much noise is added does not change the time.
    """
    setting = recipe.training
    if setting.privacy is None:
        return recipe, 1
    private = replace(setting, epochs=1, privacy=Privacy(8.0, 1e-6, setting.privacy.clip))
    return replace(recipe, training=private), None
