"""responses -> losses of a student distilled from them, epoch by epoch; the device is not queried again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.attacks.traces import spread
from edgeaudit.errors import TrainingError
from edgeaudit.graph.job import Context, Cost, Job, unkeyed
from edgeaudit.population.base import SHADOW, Population, stream
from edgeaudit.recipes.base import Recipe, recipe_modules
from edgeaudit.recipes.frameworks import Loop, framework_of
from edgeaudit.stages.population import DrawPopulation
from edgeaudit.stages.query import Query
from edgeaudit.stages.traces import StoredTrace
from edgeaudit.stages.train import model_seed
from edgeaudit.tasks.classification import as_classes, softmax, true_class_loss

__all__ = ["Trajectory", "as_labels", "distillation_half", "records_to_distil"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_BLOCK = 1024
_MOST_EXAMPLES = 5_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Trajectory(Job[StoredTrace]):
    """Distil a student from one model's answers and write its loss on the scored records after each epoch.

    The student has the recipe's architecture, even if the format's file has a smaller one, and learns from the model's
    stored answers on reference records of the distillation half that the model did not train on, at most `records` of
    them, drawn by the seed. For a target all audited records are scored; for a shadow the reference records of the
    other half, at most 5,000 that it trained on and as many others, evenly spaced. So no student learns from a scored
    record or from a copy of one.

    Logits become probabilities by the softmax, so the student is the same whether
    the audit exposes logits or probabilities. Probabilities are divided by their sum, since an integer
    output may be off by its step; a row of zeros becomes uniform.

    Source: Liu, Zhao, Backes, Zhang, "Membership Inference Attacks by Exploiting Loss Trajectory" (CCS 2022). We
    deviate: they have one distillation set, disjoint from everything else. A pool from which shadows are drawn cannot
    spare one, so each model distils on its own part of one half. It must not have trained on that part, because the
    target did not train on any of it, and their students are compared.

    values: [m, epochs], cross-entropy in nats from the student's logits, not clipped. trainings: approximate cost
    of the student in trainings of the recipe.
    """

    kind: ClassVar[str] = "trajectory"
    result: ClassVar[type[StoredTrace]] = StoredTrace

    population: DrawPopulation
    query: Query
    role: str
    recipe: Recipe
    epochs: int
    records: int
    seed: int
    trainings: float = unkeyed(1.0)

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"student of {self.query.label}"

    @property
    def isolation(self) -> str:
        """See `Job`."""
        return framework_of(self.recipe.name).isolation

    def code(self) -> tuple[str, ...]:
        """Modules of the training loop and of the user."""
        return (framework_of(self.recipe.name).training, *recipe_modules(self.recipe.name))

    def packages(self) -> tuple[str, ...]:
        """Packages of the framework."""
        return framework_of(self.recipe.name).packages

    def cost(self) -> Cost:
        """Grouped by the student's settings and the format."""
        group = (self.population.key, self.recipe.to_dict(), self.epochs, self.records, self.query.format)
        return Cost(group, 0.0, self.trainings)

    def run(self, context: Context) -> StoredTrace:
        """See the class."""
        population, recipe = context.read(self.population), self.recipe
        distilled, scored = _places(population, self.role, self.seed, self.records)
        answers = self._soft_answers(context)[distilled].astype(np.float32)
        student_seed = model_seed(self.seed, f"student of {self.role}")
        loop = framework_of(recipe.name).loop()
        student, losses = loop.build(recipe, student_seed), np.empty((self.epochs, len(scored)))
        epochs = iter(losses)

        def after_epoch(model: Any) -> None:
            next(epochs)[:] = _losses(loop, model, population, population.queried[scored])

        records = population.take(population.queried[distilled])
        loop.distil(student, records, answers, recipe, student_seed, self.epochs, after_epoch)
        return StoredTrace(scored, np.ascontiguousarray(losses.T), np.zeros(len(scored), np.int64), distilled)

    def _soft_answers(self, context: Context) -> FloatArray:
        """Stored answers as probabilities that sum to 1, float64 [queried, classes]."""
        stored = context.read(self.query).responses.astype(np.float64)
        inside = context.read(self.query.source).artifact.manifest.softmax_inside
        classes = as_classes(stored, "probabilities" if inside else "logits")
        return as_labels(np.asarray(classes, np.float64), softmax_inside=inside)


def records_to_distil(n_reference: int, n_trained: int, most: int) -> int:
    """How many records a student learns from, at most `most`: nine tenths of what a shadow leaves of half the pool.

    The average is used, so that the students of targets, which leave all of it, and of shadows learn from the same
    number; for a shadow that leaves fewer, all of those are used.
    """
    return min(most, n_reference // 2 * (n_reference - n_trained) * 9 // (10 * n_reference))


def distillation_half(population: Population, seed: int) -> BoolArray:
    """Which reference records may be distilled on, bool [reference]: half of them, drawn by the seed, for every model.

    Records are sorted by a keyed digest of their bytes, so that copies of a record stay together: a student that
    learned from one copy would know the other.
    """
    ids, key = population.split.reference, f"distillation {seed}".encode()
    digests = np.array(
        [
            hashlib.blake2b(record.tobytes(), digest_size=16, key=key).hexdigest()
            for start in range(0, len(ids), _BLOCK)
            for record in population.take(ids[start : start + _BLOCK])
        ]
    )
    half: BoolArray = digests <= np.sort(digests)[max(0, len(ids) // 2 - 1)]
    return half


def _places(population: Population, role: str, seed: int, most: int) -> tuple[IntArray, IntArray]:
    """Positions in `queried` of the records that the student learns from, and of those that it is scored on."""
    n_audited, queried = len(population.audited), population.queried
    pool = np.arange(n_audited, len(queried))
    half = distillation_half(population, seed)
    trained = np.isin(queried[pool], population.training_ids(role, seed))
    taught = np.sort(stream(seed, "distillation", role).permutation(pool[half & ~trained])[:most])
    if not role.startswith(SHADOW):
        return taught, np.arange(n_audited)
    kinds = (pool[~half & trained], pool[~half & ~trained])
    return taught, np.sort(np.concatenate([spread(kind, _MOST_EXAMPLES) for kind in kinds]))


def as_labels(stored: FloatArray, *, softmax_inside: bool) -> FloatArray:
    """Stored answers as soft labels, rows that sum to 1; see `Trajectory` for integer outputs."""
    if not softmax_inside:
        return softmax(stored)
    total = stored.sum(axis=1, keepdims=True)
    uniform = np.full_like(stored, 1 / stored.shape[1])
    return np.asarray(np.divide(stored, total, out=uniform, where=total > 0), dtype=np.float64)


def _losses(loop: Loop, model: Any, population: Population, ids: IntArray) -> FloatArray:
    """Cross-entropy of each record's label, float64 [n], in nats."""
    losses = np.empty(len(ids))
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        answers = as_classes(loop.logits(model, population.take(block)).astype(np.float64), "logits")
        losses[start : start + _BLOCK] = true_class_loss(answers, population.labels[block], "logits", floor=0.0)
    if not np.isfinite(losses).all():
        bad = int(ids[~np.isfinite(losses)][0])
        raise TrainingError(f"a student's loss on record {bad} is not finite; lower model.lr")
    return losses
