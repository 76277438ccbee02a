"""What a task says about answers: how they are checked, compared with the truth, and read as a decision.

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
    """The meaning of answers [..., outputs] and of labels, one a record. Implementations are frozen and hold no data.

    `exposure` says what answers are: `logits` (unnormalised) or `probabilities`. `floor` bounds probabilities away
    from 0 and 1, see `edgeaudit.attacks.evidence.ShadowAnswers.floor`.
    """

    @property
    def name(self) -> str:
        """In messages and reports."""
        ...

    def answers_problem(self, shape: tuple[int, ...]) -> str | None:
        """What is wrong with one model's answers of this shape, or None."""
        ...

    def labels_problem(self, labels: _IntArray, outputs: int) -> str | None:
        """What is wrong with these labels for answers of `outputs` values, or None."""
        ...

    def probabilities(self, answers: _Answers, exposure: Exposure) -> _FloatArray:
        """Answers as probabilities, float64 of the same shape."""
        ...

    def margin(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """How clearly the true label wins, float64 [records]; higher = more member-like."""
        ...

    def loss(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """The training loss of each record, float64 [records]; lower = more member-like."""
        ...

    def true_probability(self, answers: _Answers, labels: _IntArray, exposure: Exposure, floor: float) -> _FloatArray:
        """The clipped probability of the true label, float64 [records]."""
        ...

    def decision(self, answers: _Answers) -> _IntArray:
        """The predicted label, int64 [...]."""
        ...

    def correct(self, answers: _Answers, labels: _IntArray) -> _BoolArray:
        """Where the decision is the label, bool [...]; labels broadcast against the decisions."""
        ...
