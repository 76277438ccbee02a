"""Tasks without classes, as attacks see them: each answer is one number, how far it is from the record's truth.

What a model of several labels, of values or of reconstructed records returns is compared with the truth where answers
are read (`edgeaudit.tasks.audited`), so that attacks hold one number a record and model, whatever the width of the
output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.errors import AttackError
from edgeaudit.tasks.base import Exposure

__all__ = ["LabelsLoss", "SquaredError", "squared_error"]

_Answers = npt.NDArray[np.floating[Any]]
_FloatArray = npt.NDArray[np.float64]
_BoolArray = npt.NDArray[np.bool_]
_IntArray = npt.NDArray[np.int64]

_TINY = float(np.finfo(np.float64).tiny)
_LEAST_FREEDOM, _MOST_FREEDOM = 0.5, 200.0


@dataclass(frozen=True)
class _RecordLoss:
    """What tasks without classes share. Answers: [..., 1], at least 0. Labels and exposure are not used."""

    name: str

    @property
    def has_classes(self) -> bool:
        """See `Task.has_classes`."""
        return False

    def answers_problem(self, shape: tuple[int, ...]) -> str | None:
        """See `Task.answers_problem`."""
        if len(shape) != 2 or shape[1] != 1:
            return f"must have shape [records, 1], one number a record; the shape is {shape}"
        return None

    def labels_problem(self, labels: _IntArray, outputs: int) -> str | None:  # noqa: ARG002  answers hold the truth
        """See `Task.labels_problem`."""
        return None

    def nats(self, answers: _Answers) -> _FloatArray:
        """Return the loss in nats, float64 of the shape of `answers`."""
        raise NotImplementedError

    def probabilities(self, answers: _Answers, exposure: Exposure) -> _FloatArray:  # noqa: ARG002
        """Return the likelihood of the truth, exp(-loss), in the place of a class's probability; float64 [..., 1]."""
        return np.asarray(np.exp(-self.nats(answers)), dtype=np.float64)

    def entropy(self, answers: _Answers, exposure: Exposure) -> _FloatArray:  # noqa: ARG002
        """See `Task.entropy`."""
        return np.zeros(len(answers))

    def loss(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:  # noqa: ARG002
        """Return the loss in nats; it is not clipped, since no probability of it reaches 1 by rounding."""
        return self.nats(answers[..., 0])

    def true_probability(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:  # noqa: ARG002
        """Return exp(-loss), clipped to [floor, 1 - floor]."""
        likelihood = np.exp(-self.nats(answers[..., 0]))
        return np.asarray(np.clip(likelihood, max(floor, _TINY), 1 - floor), dtype=np.float64)

    def decision(self, answers: _Answers) -> _IntArray:  # noqa: ARG002
        """See `Task.decision`."""
        raise AttackError(f"{self.name} has no predicted class")

    def correct(self, answers: _Answers, labels: _IntArray) -> _BoolArray:  # noqa: ARG002
        """See `Task.correct`."""
        raise AttackError(f"{self.name} has no predicted class")


@dataclass(frozen=True)
class LabelsLoss(_RecordLoss):
    """Several labels a record. An answer is the sum over labels of the binary cross-entropies, in nats.

    exp(-loss) is the probability of all of the record's labels together, as the model has them independent. The margin
    is its log odds, as that of one class among many is.
    """

    name: str = "multi-label"

    def nats(self, answers: _Answers) -> _FloatArray:
        """See `_RecordLoss.nats`."""
        return np.asarray(answers, dtype=np.float64)

    def margin(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:  # noqa: ARG002
        """Return the log odds of the record's labels, log p - log(1 - p) with p = exp(-loss)."""
        loss = np.maximum(self.nats(answers[..., 0]), _TINY)
        # log(exp(l) - 1) = l + log(1 - exp(-l)), which does not overflow.
        return np.asarray(-(loss + np.log(-np.expm1(-loss))), dtype=np.float64)

    def loss_of(self, margins: _FloatArray) -> _FloatArray:
        """See `Task.loss_of`."""
        return np.asarray(np.logaddexp(0.0, -margins), dtype=np.float64)


@dataclass(frozen=True)
class SquaredError(_RecordLoss):
    """Values, or reconstructed records. An answer is the mean over outputs of the squared errors.

    noise: mean error of models that did not train on the record, above 0. freedom: how many independent errors the
    outputs have together: an error over the noise is about a chi-squared number of so many degrees over that number.

    The loss is that of normal errors with these, freedom error / (2 noise), in nats and without the terms that all
    answers share. The margin is -(error / noise)^(1/3): the cube root of a chi-squared number is close to normal for
    any number of degrees, where its logarithm has a long tail towards errors of 0 (Wilson and Hilferty 1931, "The
    distribution of chi-square").
    """

    noise: float = 1.0
    freedom: float = 1.0

    def nats(self, answers: _Answers) -> _FloatArray:
        """See `_RecordLoss.nats`."""
        return np.asarray(answers, dtype=np.float64) * (self.freedom / (2 * self.noise))

    def margin(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:  # noqa: ARG002
        """Return -(error / noise)^(1/3)."""
        return np.asarray(-np.cbrt(np.asarray(answers[..., 0], dtype=np.float64) / self.noise), dtype=np.float64)

    def loss_of(self, margins: _FloatArray) -> _FloatArray:
        """See `Task.loss_of`."""
        return np.asarray(self.freedom / 2 * -(margins**3), dtype=np.float64)


def squared_error(name: str, unseen: _FloatArray) -> SquaredError:
    """Return the task with noise and freedom from errors of models on records that they did not train on, [n].

    The freedom is Satterthwaite's, 2 mean^2 / variance, within [0.5, 200].
    """
    mean = float(unseen.mean()) if len(unseen) else 0.0
    if not mean > 0:
        return SquaredError(name)
    variance = float(unseen.var())
    freedom = 2 * mean**2 / variance if variance > 0 else _MOST_FREEDOM
    return SquaredError(name, mean, float(np.clip(freedom, _LEAST_FREEDOM, _MOST_FREEDOM)))
