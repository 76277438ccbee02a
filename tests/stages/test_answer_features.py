"""The classifier that is taught memberships reads what an attacker sees, and not which class a record has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.attacks.evidence import Evidence, Exposure
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.taught import taught_scores
from edgeaudit.stages.answer_features import answer_features, residual_features

N, C = 1000, 10
MEMBERS = np.arange(N) < N // 2

Array = npt.NDArray[np.float64]


def _logits(seed: int) -> tuple[Array, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(C, size=N)
    logits = rng.normal(size=(N, C))
    logits[np.arange(N), labels] += 3
    return logits, labels


def _found(answers: Array, labels: npt.NDArray[np.int64], exposure: Exposure) -> float:
    none = np.empty((0, N, C))
    evidence = Evidence(answers, none, np.empty((0, N), np.bool_), labels, exposure, floor=1e-9)
    odds = taught_scores(answer_features(evidence), MEMBERS, None, 0)
    assert odds is not None
    return delong(odds, MEMBERS).auc


def _second_next(logits: Array) -> Array:
    """The class after the largest has the second largest logit."""
    logits = logits.copy()
    for row in np.flatnonzero(MEMBERS):
        order = np.argsort(-logits[row])
        after, second = (order[0] + 1) % C, order[1]
        logits[row, [after, second]] = logits[row, [second, after]]
    return logits


def _small_alike(logits: Array) -> Array:
    logits = logits.copy()
    for row in np.flatnonzero(MEMBERS):
        rest = np.argsort(-logits[row])[4:]
        logits[row, rest] = logits[row, rest].mean()
    return logits


def _softmax(logits: Array) -> Array:
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Array = exp / exp.sum(axis=1, keepdims=True)
    return found


@pytest.mark.parametrize("sign", [_second_next, _small_alike])
def test_signs_beyond_the_largest_answers_are_read(sign: Callable[[Array], Array]) -> None:
    logits, labels = _logits(0)
    assert abs(_found(_softmax(logits), labels, "probabilities") - 0.5) < 0.06
    assert _found(_softmax(sign(logits)), labels, "probabilities") > 0.9


def test_the_level_of_logits_is_read_where_they_are_exposed() -> None:
    logits, labels = _logits(1)
    raised = logits + 5.0 * MEMBERS[:, None]
    assert _found(raised, labels, "logits") > 0.95
    assert abs(_found(_softmax(raised), labels, "probabilities") - 0.5) < 0.06


def test_classes_that_are_more_frequent_among_members_are_no_leak() -> None:
    rng = np.random.default_rng(2)
    labels = np.where(MEMBERS, rng.integers(C // 2, size=N), rng.integers(C, size=N))
    logits = rng.normal(size=(N, C))
    logits[np.arange(N), labels] += 6
    assert abs(_found(_softmax(logits), labels, "probabilities") - 0.5) < 0.06


def test_the_sign_of_errors_is_read() -> None:
    rng = np.random.default_rng(3)
    truth, error = rng.normal(size=(N, 1)), rng.normal(size=(N, 1))
    outputs = truth + np.where(MEMBERS[:, None], np.abs(error), error)
    odds = taught_scores(residual_features(outputs, truth), MEMBERS, None, 0)
    plain = taught_scores(residual_features(truth + error, truth), MEMBERS, None, 0)
    assert odds is not None
    assert plain is not None
    assert delong(odds, MEMBERS).auc > 0.7
    assert abs(delong(plain, MEMBERS).auc - 0.5) < 0.06
