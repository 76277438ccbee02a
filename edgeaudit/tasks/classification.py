"""Single-label classification: softmax, cross-entropy of the true class, margin of the true class, argmax.

Answers are [..., classes] with two or more classes; labels are int64 in [0, classes). Every function of logits is
unchanged when a constant is added to a record's logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeaudit.tasks.base import Exposure

__all__ = [
    "CLASSIFICATION",
    "Classification",
    "as_classes",
    "probabilities",
    "softmax",
    "true_class_loss",
    "true_class_margin",
    "true_class_probability",
]

_Answers = npt.NDArray[np.floating[Any]]
_FloatArray = npt.NDArray[np.float64]
_BoolArray = npt.NDArray[np.bool_]
_IntArray = npt.NDArray[np.int64]


def softmax(logits: _Answers) -> _FloatArray:
    """Softmax over the last axis, computed in float64 whatever the dtype of `logits`."""
    raw = np.asarray(logits, dtype=np.float64)
    shifted: _FloatArray = raw - raw.max(axis=-1, keepdims=True)
    np.exp(shifted, out=shifted)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return shifted


def probabilities(answers: _Answers, exposure: Exposure) -> _FloatArray:
    """Return the answers as probabilities, float64.

    Probabilities are returned unchanged: the softmax of an integer artifact sums to 1 only up to its output step, and
    renormalising would give values that the artifact never returned.
    """
    return softmax(answers) if exposure == "logits" else np.asarray(answers, dtype=np.float64)


def as_classes(answers: _Answers, exposure: Exposure) -> _Answers:
    """Return answers with a number for each class; those of one output, [..., 1], as two classes, [..., 2].

    One logit z is that of class 1 against 0 for class 0, since the sigmoid of z is the softmax of (0, z). One
    probability p is that of class 1, and 1 - p is that of class 0. Others are returned unchanged.
    """
    if answers.shape[-1] != 1:
        return answers
    first = 1 - answers if exposure == "probabilities" else np.zeros_like(answers)
    return np.concatenate((first, answers), axis=-1)


def true_class_margin(answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
    """Return the margin phi of one model in nats: positive where the true class has more mass than all others together.

    logits: phi = z_y - logsumexp over j != y of z_j; never clipped. probabilities: phi = log p - log(1 - p) with p_y
    clipped to [floor, 1 - floor]; the other entries of the row are not used.

    Args:
        answers: [records, classes].
        labels: int [records].
        exposure: whether `answers` are logits or probabilities.
        floor: probabilities are clipped to [floor, 1 - floor].

    Returns:
        float64 [records].

    Source: Carlini et al., "Membership Inference Attacks From First Principles" (S&P 2022), section IV.A and its
    appendix on the stable form.
    """
    rows = np.arange(len(labels))
    if exposure == "probabilities":
        p = np.clip(np.asarray(answers[rows, labels], dtype=np.float64), floor, 1 - floor)
        return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)
    others = np.array(answers, dtype=np.float64)
    true = others[rows, labels]
    others[rows, labels] = -np.inf
    top = others.max(axis=1)
    others -= top[:, None]
    return np.asarray(true - top - np.log(np.exp(others).sum(axis=1)), dtype=np.float64)


def true_class_loss(answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
    """Return the cross-entropy -log p of one model in nats (lower = more member-like), p clipped to [floor, 1 - floor].

    Shapes as in `true_class_margin`. From logits the loss is softplus(-phi), which equals -log of the softmax and stays
    precise where p rounds to 1. The clipping is the same; floor = 0 turns it off.
    """
    if exposure == "probabilities":
        p = np.asarray(answers[np.arange(len(labels)), labels], dtype=np.float64)
        return np.asarray(-np.log(np.clip(p, floor, 1 - floor)), dtype=np.float64)
    loss = np.logaddexp(0.0, -true_class_margin(answers, labels, exposure, floor))
    highest = -np.log(floor) if floor > 0 else np.inf
    return np.asarray(np.clip(loss, -np.log1p(-floor), highest), dtype=np.float64)


def true_class_probability(answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
    """Return p_y of one model, clipped to [floor, 1 - floor]; shapes as in `true_class_margin`."""
    p = probabilities(answers, exposure)[np.arange(len(labels)), labels]
    return np.asarray(np.clip(p, floor, 1 - floor), dtype=np.float64)


@dataclass(frozen=True)
class Classification:
    """Single-label classification, see `Task`. Of equally large outputs the first is the decision, as in deployment."""

    name: str = "classification"

    @property
    def has_classes(self) -> bool:
        """See `Task.has_classes`."""
        return True

    def answers_problem(self, shape: tuple[int, ...]) -> str | None:
        """See `Task.answers_problem`."""
        if len(shape) != 2 or shape[1] < 2:
            return f"must have shape [records, 2 or more classes]; the shape is {shape}"
        return None

    def labels_problem(self, labels: _IntArray, outputs: int) -> str | None:
        """See `Task.labels_problem`."""
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < outputs):
            return f"labels run from {labels.min()} to {labels.max()}; there are {outputs} classes"
        return None

    def probabilities(self, answers: _Answers, exposure: Exposure) -> _FloatArray:
        """See `probabilities`."""
        return probabilities(answers, exposure)

    def entropy(self, answers: _Answers, exposure: Exposure) -> _FloatArray:
        """Return the entropy of the returned probabilities, in nats."""
        p = self.probabilities(answers, exposure)
        return np.asarray(-(p * np.log(np.maximum(p, np.finfo(np.float64).tiny))).sum(axis=1), dtype=np.float64)

    def margin(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """See `true_class_margin`."""
        return true_class_margin(answers, labels, exposure, floor)

    def loss(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """See `true_class_loss`."""
        return true_class_loss(answers, labels, exposure, floor)

    def loss_of(self, margins: _FloatArray) -> _FloatArray:
        """See `Task.loss_of`."""
        return np.asarray(np.logaddexp(0.0, -margins), dtype=np.float64)

    def true_probability(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """See `true_class_probability`."""
        return true_class_probability(answers, labels, exposure, floor)

    def decision(self, answers: _Answers) -> _IntArray:
        """Return the class with the largest output, int64 [...]."""
        return np.asarray(answers.argmax(axis=-1), dtype=np.int64)

    def correct(self, answers: _Answers, labels: _IntArray) -> _BoolArray:
        """Return where the class with the largest output is the label, bool [...]."""
        return np.asarray(self.decision(answers) == labels, dtype=np.bool_)


CLASSIFICATION = Classification()
