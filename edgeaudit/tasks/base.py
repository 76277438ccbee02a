"""The interface of tasks: how answers are validated, compared with labels and turned into decisions.

Attacks and figures that need no more than these methods work for every task.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Exposure", "Task"]

Exposure = Literal["logits", "probabilities"]

_Answers = npt.NDArray[np.floating[Any]]
_FloatArray = npt.NDArray[np.float64]
_BoolArray = npt.NDArray[np.bool_]
_IntArray = npt.NDArray[np.int64]


class Task(Protocol):
    """The meaning of answers, [..., outputs], and of labels, one a record. Implementations are frozen and hold no data.

    `exposure` is `logits` (unnormalised) or `probabilities`. `floor` keeps probabilities away from 0 and 1, see
    `edgeaudit.attacks.evidence.ShadowAnswers.floor`.
    """

    @property
    def name(self) -> str:
        """The name in messages and reports."""
        ...

    @property
    def has_classes(self) -> bool:
        """Whether answers are a number for each class, of which one is right."""
        ...

    def answers_problem(self, shape: tuple[int, ...]) -> str | None:
        """Return why one model's answers cannot have this shape, or None."""
        ...

    def labels_problem(self, labels: _IntArray, outputs: int) -> str | None:
        """Return why these labels do not fit answers of `outputs` values, or None."""
        ...

    def probabilities(self, answers: _Answers, exposure: Exposure) -> _FloatArray:
        """Return the answers as probabilities, float64 of the same shape."""
        ...

    def entropy(self, answers: _Answers, exposure: Exposure) -> _FloatArray:
        """Return the entropy of each record's answer in nats, float64 [records]; 0 where the task has no classes."""
        ...

    def margin(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """Return the margin of the true label over all others, float64 [records]; higher = more member-like.

        Without classes, a function of the loss that is roughly normal over models.
        """
        ...

    def loss(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """Return the training loss of each record, float64 [records]; lower = more member-like."""
        ...

    def loss_of(self, margins: _FloatArray) -> _FloatArray:
        """Return the loss in nats of answers with these margins, float64 of the same shape."""
        ...

    def true_probability(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """Return the clipped probability of the true label, float64 [records]."""
        ...

    def decision(self, answers: _Answers) -> _IntArray:
        """Return the predicted label, int64 [...]. Raises `AttackError` without classes."""
        ...

    def correct(self, answers: _Answers, labels: _IntArray) -> _BoolArray:
        """Return where the predicted label is correct, bool [...]; labels broadcast against the decisions.

        Raises `AttackError` without classes.
        """
        ...
