"""The classification task; the formulas of loss and margin are tested in tests/attacks/test_signals.py."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.tasks import CLASSIFICATION, Task
from edgeaudit.tasks.classification import true_class_loss, true_class_margin, true_class_probability

TASK: Task = CLASSIFICATION  # mypy checks the class against the protocol
LOGITS = np.array([[2.0, 2.0, -1.0], [0.0, 1.0, 3.0]])
LABELS = np.array([0, 1])


def test_the_first_of_equal_outputs_is_the_decision() -> None:
    np.testing.assert_array_equal(TASK.decision(LOGITS), [0, 2])
    np.testing.assert_array_equal(TASK.correct(LOGITS, LABELS), [True, False])


def test_decisions_of_many_models_are_vectorised() -> None:
    shadows = np.stack((LOGITS, -LOGITS))
    np.testing.assert_array_equal(TASK.decision(shadows), [[0, 2], [2, 0]])
    np.testing.assert_array_equal(TASK.correct(shadows, LABELS), [[True, False], [False, False]])


def test_loss_margin_and_probability_by_hand() -> None:
    # Softmax of (0, log 3): 1/4 and 3/4. Margin log(p / (1 - p)), loss -log p.
    answers, labels = np.array([[0.0, np.log(3)], [0.0, np.log(3)]]), np.array([0, 1])
    np.testing.assert_allclose(TASK.true_probability(answers, labels, "logits", 0.0), [0.25, 0.75])
    np.testing.assert_allclose(TASK.margin(answers, labels, "logits", 0.0), [-np.log(3), np.log(3)])
    np.testing.assert_allclose(TASK.loss(answers, labels, "logits", 0.0), [np.log(4), np.log(4 / 3)])
    np.testing.assert_allclose(TASK.probabilities(answers, "logits").sum(axis=1), 1)


@pytest.mark.parametrize("exposure", ["logits", "probabilities"])
def test_the_methods_equal_the_functions(exposure: str) -> None:
    answers = TASK.probabilities(LOGITS, "logits") if exposure == "probabilities" else LOGITS
    pairs = (
        (TASK.loss, true_class_loss),
        (TASK.margin, true_class_margin),
        (TASK.true_probability, true_class_probability),
    )
    for method, function in pairs:
        arguments = (answers, LABELS, exposure, 1 / 512)
        np.testing.assert_array_equal(method(*arguments), function(*arguments))  # type: ignore[arg-type]


def test_invalid_answers_and_labels_are_named() -> None:
    assert TASK.answers_problem((5, 2)) is None
    for shape in ((5,), (5, 1), (2, 5, 3)):
        problem = TASK.answers_problem(shape)
        assert problem is not None
        assert str(shape) in problem
    assert TASK.labels_problem(np.array([0, 2]), 3) is None
    assert TASK.labels_problem(np.empty(0, dtype=np.int64), 3) is None
    assert TASK.labels_problem(np.array([0, 3]), 3) == "labels run from 0 to 3; there are 3 classes"
    assert TASK.labels_problem(np.array([-1, 1]), 3) == "labels run from -1 to 1; there are 3 classes"
