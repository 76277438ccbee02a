"""Output granularity: an attacker's view of answers of which a device returns less, derived without further queries.

Attacks expect a probability for every class, so each level defines how to complete what is returned. The attacker could
use his own shadows' full answers, but degrades them like the target's: signals are comparable only where both have the
same granularity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeaudit.attacks.base import AttackSpec
from edgeaudit.attacks.evidence import Exposure, FloatArray, Grid
from edgeaudit.config.exposures import Level
from edgeaudit.tasks.classification import probabilities

__all__ = ["Seen", "largest", "one_hot", "rounded", "unreadable"]


def largest(answers: FloatArray, k: int) -> FloatArray:
    """Keep the `k` largest probabilities and spread the remaining mass evenly over the other classes.

    Of equal probabilities the class with the smaller index is kept, as in argmax. Each other class gets an equal share
    of the remaining mass, 1 - sum of the kept (the maximum-entropy guess), but less than the smallest kept value, since
    a class that was not returned cannot exceed it. That bound matters where an integer softmax does not sum to 1. The
    order of the kept classes does not change. With k >= classes the answers are returned unchanged.

    Args:
        answers: float64 [..., classes], probabilities as the model returned them.
        k: number of probabilities that are returned, at least 1.
    """
    classes = answers.shape[-1]
    if k >= classes:
        return answers
    kept = np.argsort(-answers, axis=-1, kind="stable")[..., :k]
    values = np.take_along_axis(answers, kept, axis=-1)
    smallest = values[..., -1:]
    remaining = np.maximum(1 - values.sum(axis=-1, keepdims=True), 0) / (classes - k)
    share = np.minimum(remaining, np.nextafter(smallest, 0))
    completed = np.broadcast_to(share, answers.shape).copy()
    np.put_along_axis(completed, kept, values, axis=-1)
    return completed


def rounded(answers: FloatArray, decimals: int) -> FloatArray:
    """Round probabilities [..., classes] to `decimals`, half to even; the result need not sum to 1."""
    return np.asarray(np.round(answers, decimals), dtype=np.float64)


def one_hot(answers: FloatArray) -> FloatArray:
    """Return 1 for the predicted class of answers [..., classes] (the first of equals) and 0 for all others."""
    encoded = np.zeros(answers.shape)
    np.put_along_axis(encoded, answers.argmax(axis=-1)[..., None], 1.0, axis=-1)
    return encoded


@dataclass(frozen=True)
class Seen:
    """The attacker's view of answers: complete, or at a coarser output granularity.

    exposure: of the complete answers. level: the granularity; None where answers are returned completely.
    """

    exposure: Exposure
    level: Level | None = None

    @property
    def read_as(self) -> Exposure:
        """The exposure of the answers that `of` returns: `probabilities` where there is a level."""
        return self.exposure if self.level is None else "probabilities"

    def of(self, answers: FloatArray) -> FloatArray:
        """Return the view of answers [..., classes] at `exposure`; float64 of the same shape."""
        if self.level is None:
            return answers
        complete = probabilities(answers, self.exposure)
        if self.level.kind == "top":
            return largest(complete, self.level.amount)
        if self.level.kind == "rounded":
            return rounded(complete, self.level.amount)
        return one_hot(complete) if self.level.kind == "label" else complete

    def floor(self, floor: float) -> float:
        """Return the floor of probabilities, at least half of the last decimal: a rounded 0 may stand for that much."""
        if self.level is None or self.level.kind != "rounded":
            return floor
        return max(floor, 0.5 * self._step)

    @property
    def _step(self) -> float:
        return 10.0 ** -(self.level.amount if self.level is not None else 0)

    def grid(self, grid: Grid | None, models: int, classes: int) -> Grid | None:
        """Return the grid of the viewed answers; None where they lie on none.

        Rounding puts every model on a grid of probabilities in [0, 1] with a step of one decimal. An integer softmax
        inside the artifact keeps its own grid where its step is coarser (1/256 under three decimals). Integer logits
        with the softmax outside were rounded before, too, but a grid of probabilities cannot express that: the cells
        are those of the last rounding. `top` and `label` have no grid: a class that is not returned lies anywhere
        between 0 and the smallest returned value.

        Args:
            grid: of the complete answers.
            models: 1 + the number of shadows.
            classes: number of classes of an answer.
        """
        if self.level is None or self.level.kind == "probabilities":
            return grid
        if self.level.kind == "top" and self.level.amount >= classes:
            return grid
        if self.level.kind != "rounded":
            return None
        step, low, high = np.full(models, self._step), np.zeros(models), np.ones(models)
        if grid is not None and grid.of == "probabilities":
            coarser = grid.step > self._step
            step, low, high = (
                np.where(coarser, own, decimal)
                for own, decimal in ((grid.step, step), (grid.low, low), (grid.high, high))
            )
        return Grid("probabilities", step, low, high)


def unreadable(spec: AttackSpec, variant: str, level: Level) -> str | None:
    """Return a sentence on why `variant` cannot use answers at this level, or None where it can.

    The trace of the decision boundary needs labels only, so every level allows it.

    Raises `AttackError` for an unknown variant.
    """
    needs = spec.needs_of(variant)
    if needs.trace == "trajectory":
        return f"'{spec.name}' needs students distilled from complete answers, which this output granularity lacks"
    if level.kind == "label" and variant not in spec.reads_labels:
        return f"'{spec.name}' needs the model's confidence, which a label does not give"
    if level.kind == "top" and needs.grid:
        return f"'{spec.name}' reads answers as intervals of one step; a class outside the largest has none"
    return None
