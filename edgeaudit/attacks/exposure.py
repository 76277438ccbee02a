"""What an attacker sees where a device returns less of its answers: derived from full ones, never queried again.

Attacks expect a probability for every class, so a level says how what is returned is read as one. The shadows are the
attacker's own and would tell him more, but he degrades their answers like the target's: signals are only comparable
where both were seen in the same way.
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
    """Probabilities [..., classes] of which the `k` largest are known, read as probabilities of all classes.

    The known ones stay where they are; of equal ones the class with the smaller number is taken first, as argmax does.
    All other classes get an even share of the mass that is left, 1 - sum of the known, which is the share of the most
    ignorant guess, but always less than the smallest known value: a class that was not returned has no more than
    that. The bound is reached where an integer softmax does not sum to 1. The order of the known classes and the
    largest of them stay what they were. From k = classes on nothing changes.

    Args:
        answers: float64 [..., classes], probabilities as they were answered.
        k: 1 or more.
    """
    classes = answers.shape[-1]
    if k >= classes:
        return answers
    known = np.argsort(-answers, axis=-1, kind="stable")[..., :k]
    values = np.take_along_axis(answers, known, axis=-1)
    smallest = values[..., -1:]
    left = np.maximum(1 - values.sum(axis=-1, keepdims=True), 0) / (classes - k)
    share = np.minimum(left, np.nextafter(smallest, 0))
    read = np.broadcast_to(share, answers.shape).copy()
    np.put_along_axis(read, known, values, axis=-1)
    return read


def rounded(answers: FloatArray, decimals: int) -> FloatArray:
    """Probabilities [..., classes] rounded to `decimals`, halves to the even neighbour; they no longer sum to 1."""
    return np.asarray(np.round(answers, decimals), dtype=np.float64)


def one_hot(answers: FloatArray) -> FloatArray:
    """The largest class of answers [..., classes] as probabilities: 1 for it, 0 for all others; the first of equals."""
    read = np.zeros(answers.shape)
    np.put_along_axis(read, answers.argmax(axis=-1)[..., None], 1.0, axis=-1)
    return read


@dataclass(frozen=True)
class Seen:
    """How answers at one exposure are seen by an attacker, whole or at a weaker level.

    exposure: of the answers that `of` is given. level: None where all of an answer is returned.
    """

    exposure: Exposure
    level: Level | None = None

    @property
    def read_as(self) -> Exposure:
        """What the answers are that `of` returns; a level is one of probabilities."""
        return self.exposure if self.level is None else "probabilities"

    def of(self, answers: FloatArray) -> FloatArray:
        """One model's answers [..., classes] at `exposure`, as they are seen; float64 of the same shape."""
        if self.level is None:
            return answers
        answered = probabilities(answers, self.exposure)
        if self.level.kind == "top":
            return largest(answered, self.level.amount)
        if self.level.kind == "rounded":
            return rounded(answered, self.level.amount)
        return one_hot(answered) if self.level.kind == "label" else answered

    def floor(self, floor: float) -> float:
        """The floor of probabilities: half of the last decimal where that is more, since a 0 may be as much."""
        if self.level is None or self.level.kind != "rounded":
            return floor
        return max(floor, 0.5 * self._step)

    @property
    def _step(self) -> float:
        return 10.0 ** -(self.level.amount if self.level is not None else 0)

    def grid(self, grid: Grid | None, models: int, classes: int) -> Grid | None:
        """The grid on which the answers lie that are seen; None where they lie on none.

        Rounding puts every model on a grid of probabilities from 0 to 1 with a step of one decimal. Where an integer
        softmax inside the artifact has a coarser step (1/256 under three decimals), its own grid says more and stays.
        An integer output of logits with the softmax outside was rounded before, too, which a grid of probabilities
        cannot say: its cells are those of the last rounding. Of the k largest, a class that is not among them lies
        between 0 and the smallest known value, and a label says which is the largest: no grid either way.

        Args:
            grid: of the answers that `of` is given.
            models: 1 + the number of shadows.
            classes: of an answer.
        """
        if self.level is None or self.level.kind == "probabilities":
            return grid
        if self.level.kind == "top" and self.level.amount >= classes:
            return grid
        if self.level.kind != "rounded":
            return None
        step, low, high = np.full(models, self._step), np.zeros(models), np.ones(models)
        if grid is not None and grid.of == "probabilities":
            own = grid.step > self._step
            step, low, high = (
                np.where(own, theirs, ours) for theirs, ours in ((grid.step, step), (grid.low, low), (grid.high, high))
            )
        return Grid("probabilities", step, low, high)


def unreadable(spec: AttackSpec, variant: str, level: Level) -> str | None:
    """Why `variant` can make nothing of answers at this level, in a sentence; None where it can.

    A boundary is found by labels, so its trace may be read at every level.

    Raises `AttackError` where the attack has no such variant.
    """
    needs = spec.needs_of(variant)
    if needs.trace == "trajectory":
        return f"'{spec.name}' reads students that were distilled from full answers, which this exposure does not give"
    if level.kind == "label" and variant not in spec.reads_labels:
        return f"'{spec.name}' reads how sure the model is, and a label does not say"
    if level.kind == "top" and needs.grid:
        return f"'{spec.name}' reads answers as intervals of one step, which a class beyond the largest has not"
    return None
