"""Tasks without classes: how outputs are read with the truth, and what attacks see of them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from edgeaudit.errors import AttackError
from edgeaudit.tasks import Task, find_task
from edgeaudit.tasks.audited import Scale
from edgeaudit.tasks.classification import as_classes, softmax
from edgeaudit.tasks.record_loss import LabelsLoss, SquaredError, squared_error

ONE = Scale(np.zeros(1), np.ones(1))
NO_LABELS = np.zeros(2, np.int64)
_protocol: list[Task] = [LabelsLoss(), SquaredError("regression")]  # mypy checks the classes against the protocol


def test_one_logit_is_the_second_class_against_nothing() -> None:
    # The sigmoid of log 3 is 3/4, and so is the softmax of (0, log 3).
    logits = np.array([[np.log(3)], [0.0]])
    np.testing.assert_allclose(softmax(as_classes(logits, "logits")), [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(as_classes(np.array([[0.75]]), "probabilities"), [[0.25, 0.75]])
    two = np.array([[1.0, 2.0]])
    assert as_classes(two, "logits") is two


def test_classes_of_one_output_are_read_at_the_exposure_of_the_audit() -> None:
    task, truth = find_task("classification"), np.array([1, 0])
    outputs = np.array([[np.log(3)], [-1.0]], np.float32)
    found = task.read(outputs, truth, ONE, "logits", "probabilities")
    np.testing.assert_allclose(found[0], [0.25, 0.75], rtol=1e-6)
    np.testing.assert_array_equal(task.right(outputs, truth, ONE, "logits"), [True, True])
    decisions = task.decisions(outputs, inside=False)
    assert decisions is not None
    np.testing.assert_array_equal(decisions, [1, 0])
    inside = task.decisions(np.array([[0.6], [0.4]]), inside=True)
    assert inside is not None
    np.testing.assert_array_equal(inside, [1, 0])


def test_a_model_of_two_classes_may_have_one_output_and_of_three_not() -> None:
    task = find_task("classification")
    assert task.width_problem(1, 2) is None
    assert task.width_problem(2, 2) is None
    assert "3 logits" in str(task.width_problem(1, 3))
    assert "1 for the second class" in str(task.width_problem(4, 2))


def test_several_labels_have_the_sum_of_their_cross_entropies() -> None:
    # Logits log 3 and 0: probabilities 3/4 and 1/2. Of labels 1, 0 the loss is log 4/3 + log 2; of 0, 1 log 4 + log 2.
    task = find_task("multi-label")
    outputs, truth = np.array([[np.log(3), 0.0]] * 2), np.array([[1, 0], [0, 1]], np.float32)
    scale = task.scale(truth)
    wanted = np.log([[8 / 3], [8.0]])
    np.testing.assert_allclose(task.read(outputs, truth, scale, "logits", "probabilities"), wanted)
    sigmoids = 1 / (1 + np.exp(-outputs))
    np.testing.assert_allclose(task.read(sigmoids, truth, scale, "probabilities", "probabilities"), wanted)
    np.testing.assert_array_equal(task.right(outputs, truth, scale, "logits"), [True, False])


def test_probabilities_of_labels_that_an_integer_output_rounds_to_nothing_are_half_its_step() -> None:
    # Steps of 1/4: the least probability that is not 0 is 1/4, so that 0 counts as 2^-11, the half of 2^-10.
    task, truth = find_task("multi-label"), np.array([[1.0], [1.0]], np.float32)
    found = task.read(np.array([[0.0], [0.25]]), truth, ONE, "probabilities", "probabilities")
    np.testing.assert_allclose(found[:, 0], [11 * np.log(2), np.log(4)])


def test_the_margin_of_several_labels_is_the_log_odds_of_all_together() -> None:
    # A loss of log 4 is a probability of 1/4 and a margin of -log 3; of log 4/3 it is log 3.
    answers = np.log([[4.0], [4 / 3]])
    task = LabelsLoss()
    margins = task.margin(answers, NO_LABELS, "logits", 0.0)
    np.testing.assert_allclose(margins, [-np.log(3), np.log(3)])
    np.testing.assert_allclose(task.loss_of(margins), answers[:, 0])
    np.testing.assert_allclose(task.true_probability(answers, NO_LABELS, "logits", 0.0), [0.25, 0.75])
    assert np.isfinite(task.margin(np.array([[0.0], [1e4]]), NO_LABELS, "logits", 0.0)).all()


def test_values_have_errors_in_deviations_of_each() -> None:
    # Deviations 2 and 10; off by (2, 0) and (0, 10): both one deviation in one of two values, a mean square of 1/2.
    task = find_task("regression")
    truth = np.array([[-2.0, 0.0], [2.0, 20.0]], np.float32)
    scale = task.scale(truth)
    np.testing.assert_allclose(scale.deviation, [2, 10])
    outputs = np.array([[0.0, 0.0], [2.0, 10.0]])
    np.testing.assert_allclose(task.read(outputs, truth, scale, "logits", "logits")[:, 0], [0.5, 0.5])
    # The mean (0, 10) is off by one deviation in each value.
    np.testing.assert_allclose(task.knowing_nothing(truth, scale), [1.0, 1.0])
    np.testing.assert_array_equal(task.right(outputs, truth, scale, "logits"), [True, True])


def test_reconstructed_records_have_errors_in_the_units_of_the_input() -> None:
    task = find_task("reconstruction")
    truth = np.array([[0.0, 4.0], [2.0, 0.0]], np.float32)
    np.testing.assert_allclose(task.read(truth + 2, truth, task.scale(truth), "logits", "logits")[:, 0], [4.0, 4.0])


def test_the_loss_of_errors_is_the_normal_one() -> None:
    # One output with errors N(0, 3^2): squares have the mean 9 and the variance 2 * 81, one degree of freedom.
    errors = np.random.default_rng(0).normal(0, 3, 200_000) ** 2
    task = squared_error("regression", errors)
    assert task.noise == pytest.approx(9, rel=0.02)
    assert task.freedom == pytest.approx(1, rel=0.05)
    exact = SquaredError("regression", 9.0, 1.0)
    shown = exact.loss(np.array([[36.0]]), NO_LABELS[:1], "logits", 0.0)
    wanted = scipy.stats.norm.logpdf(0, 0, 3) - scipy.stats.norm.logpdf(6, 0, 3)
    np.testing.assert_allclose(shown, [wanted])


@pytest.mark.parametrize("outputs", [1, 4, 64])
def test_margins_of_errors_are_roughly_normal_for_any_number_of_outputs(outputs: int) -> None:
    errors = (np.random.default_rng(1).normal(size=(20_000, outputs)) ** 2).mean(axis=1)
    task = squared_error("regression", errors)
    assert task.freedom == pytest.approx(outputs, rel=0.1)
    margins = task.margin(errors[:, None], np.zeros(len(errors), np.int64), "logits", 0.0)
    logs = -np.log(errors)
    # Of one squared normal the skewness is -.42, and that of its logarithm 1.5.
    assert abs(float(scipy.stats.skew(margins))) < 0.5
    assert abs(float(scipy.stats.skew(margins))) < 0.5 * abs(float(scipy.stats.skew(logs)))
    np.testing.assert_allclose(task.loss_of(margins), task.nats(errors))


def test_models_without_error_have_a_unit_all_the_same() -> None:
    assert squared_error("regression", np.zeros(5)) == SquaredError("regression")
    assert squared_error("regression", np.ones(5)).freedom == 200


def test_there_is_no_predicted_class() -> None:
    for task in _protocol:
        assert not task.has_classes
        with pytest.raises(AttackError, match="no predicted class"):
            task.decision(np.ones((2, 1)))
        with pytest.raises(AttackError, match="no predicted class"):
            task.correct(np.ones((2, 1)), NO_LABELS)
        assert "one number a record" in str(task.answers_problem((2, 3)))
