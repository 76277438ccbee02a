from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeaudit.attacks.signals import shadow_losses, shadow_margins, target_losses, target_margins
from edgeaudit.tasks.classification import (
    probabilities,
    softmax,
    true_class_loss,
    true_class_margin,
    true_class_probability,
)

from .conftest import MakeEvidence

LABEL = np.array([0])


def test_margin_and_loss_of_probabilities_by_hand() -> None:
    # p_y = .8: margin log(.8/.2) = log 4, loss -log .8 = log 1.25.
    answers = np.array([[0.8, 0.15, 0.05]])
    assert true_class_margin(answers, LABEL, "probabilities", 1e-3)[0] == pytest.approx(math.log(4))
    assert true_class_loss(answers, LABEL, "probabilities", 1e-3)[0] == pytest.approx(math.log(1.25))
    assert true_class_probability(answers, LABEL, "probabilities", 1e-3)[0] == 0.8


def test_margin_and_loss_of_logits_by_hand() -> None:
    # z = (log 6, log 1, log 2), y = 0: margin log 6 - log(1 + 2) = log 2; p = 6/9, loss log 1.5.
    answers = np.log(np.array([[6.0, 1.0, 2.0]]))
    assert true_class_margin(answers, LABEL, "logits", 1e-3)[0] == pytest.approx(math.log(2))
    assert true_class_loss(answers, LABEL, "logits", 1e-3)[0] == pytest.approx(math.log(1.5))
    assert true_class_probability(answers, LABEL, "logits", 1e-3)[0] == pytest.approx(2 / 3)


def test_both_exposures_agree_where_nothing_is_clipped(evidence_of: MakeEvidence) -> None:
    raw, _ = evidence_of(0, floor=1e-12)
    soft, _ = evidence_of(0, floor=1e-12, exposure="probabilities")
    np.testing.assert_allclose(target_margins(raw), target_margins(soft), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(shadow_losses(raw.shadow_answers), shadow_losses(soft.shadow_answers), rtol=1e-9)
    one, two = (shadow_margins(part.shadow_answers) for part in (raw, soft))
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(target_losses(raw), target_losses(soft), rtol=1e-9)


def test_floor_clips_both_ends_alike_in_both_exposures() -> None:
    floor = 1 / 512
    sure, hopeless = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    top = math.log((1 - floor) / floor)
    assert true_class_margin(sure, LABEL, "probabilities", floor)[0] == pytest.approx(top)
    assert true_class_margin(hopeless, LABEL, "probabilities", floor)[0] == pytest.approx(-top)
    for answers, exposure in ((sure, "probabilities"), (np.array([[99.0, 0.0]]), "logits")):
        assert true_class_loss(answers, LABEL, exposure, floor)[0] == pytest.approx(-math.log(1 - floor))  # type: ignore[arg-type]
    for answers, exposure in ((hopeless, "probabilities"), (np.array([[-99.0, 0.0]]), "logits")):
        assert true_class_loss(answers, LABEL, exposure, floor)[0] == pytest.approx(-math.log(floor))  # type: ignore[arg-type]


def test_logit_margin_is_unclipped_and_stable() -> None:
    # Two classes: the margin is the difference of the logits, here far beyond what exp can hold.
    answers = np.array([[5000.0, -5000.0], [-5000.0, 5000.0]])
    labels = np.array([0, 0])
    np.testing.assert_array_equal(true_class_margin(answers, labels, "logits", 0.1), [10000.0, -10000.0])
    # Without a floor the loss keeps its digits where p is 1 to every digit: -log p = log(1 + e^-50) = e^-50.
    confident = np.array([[50.0, 0.0]])
    assert true_class_loss(confident, LABEL, "logits", 0.0)[0] == pytest.approx(math.exp(-50), rel=1e-12)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3), st.floats(-300, 300))
def test_adding_a_constant_to_logits_changes_nothing(row: list[float], constant: float) -> None:
    plain, moved = np.array([row]), np.array([row]) + constant
    # The moved logits are themselves rounded to about 350 * 2^-52 = 8e-14.
    for signal in (true_class_margin, true_class_loss):
        np.testing.assert_allclose(
            signal(moved, LABEL, "logits", 1 / 512), signal(plain, LABEL, "logits", 1 / 512), rtol=0, atol=1e-12
        )
    np.testing.assert_allclose(softmax(moved), softmax(plain), atol=1e-12)


def test_quantised_probabilities_are_not_renormalised() -> None:
    # Steps of 1/256 that sum to 255/256: p_y stays 200/256, and the margin uses 1 - p_y, not the row's rest.
    answers = np.array([[200.0, 40.0, 15.0]]) / 256
    np.testing.assert_array_equal(probabilities(answers, "probabilities"), answers)
    assert true_class_margin(answers, LABEL, "probabilities", 1 / 512)[0] == pytest.approx(math.log(200 / 56))


def test_softmax_is_float64_from_float32() -> None:
    answers = softmax(np.array([[1000.0, 0.0], [0.0, 0.0]], dtype=np.float32))
    assert answers.dtype == np.float64
    np.testing.assert_array_equal(answers, [[1.0, 0.0], [0.5, 0.5]])
