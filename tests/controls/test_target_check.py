"""The statistics of the check of targets: what is refused, and that what is good is not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.controls.target_check import Sample, by_chance, clearly_worse, find_better, is_stated, majority

Answers = npt.NDArray[np.float32]
N = 600
"""Records, half of them members."""
CLASSES = 5


def _sample(labels: npt.NDArray[np.int64]) -> Sample:
    return Sample(labels, np.arange(len(labels)) % 2 == 0)


def _logits(labels: npt.NDArray[np.int64], accuracy: float, seed: int = 0, height: float = 3.0) -> Answers:
    """Logits of that height for the label in a share `accuracy` of the records, and else for the next class."""
    rng = np.random.default_rng(seed)
    said = np.where(rng.random(len(labels)) < accuracy, labels, (labels + 1) % CLASSES)
    answers: Answers = rng.normal(size=(len(labels), CLASSES)).astype(np.float32) * np.float32(0.1)
    answers[np.arange(len(labels)), said] += np.float32(height)
    return answers


BALANCED = _sample(np.arange(N) // 2 % CLASSES)


def test_the_share_of_the_most_frequent_label() -> None:
    assert majority(np.repeat(np.arange(4), (40, 20, 20, 20))) == 0.4


def test_a_model_of_the_records_is_not_by_chance() -> None:
    assert not by_chance(_logits(BALANCED.labels, 0.35), BALANCED, inside=False)


@pytest.mark.parametrize("by_heart", [True, False])
def test_members_decide(by_heart: bool) -> None:
    """A model that is right on them alone is one; members that are answered worse than others were not trained on."""
    answers = _logits(BALANCED.labels, 1.0)
    wrong = BALANCED.members != by_heart
    answers[wrong] = np.roll(answers[wrong], 1, axis=1)
    assert by_chance(answers, BALANCED, inside=False) is not by_heart


def test_answers_that_say_nothing() -> None:
    assert by_chance(np.zeros((N, CLASSES), np.float32), BALANCED, inside=False)
    assert by_chance(np.roll(_logits(BALANCED.labels, 1.0), 1, axis=1), BALANCED, inside=False)
    rng = np.random.default_rng(1)
    drawn = [rng.normal(size=(N, CLASSES)).astype(np.float32) for _ in range(200)]
    # Random answers: 5% by the members' accuracy and at most 2% by the others'.
    assert sum(by_chance(answers, BALANCED, inside=False) for answers in drawn) >= 180


def test_always_the_most_frequent_label_is_by_chance() -> None:
    labels = (np.arange(N) % 20 == 0).astype(np.int64)
    answers = np.tile(np.array([0.95, 0.05], np.float32), (N, 1))
    assert by_chance(answers, _sample(labels), inside=True)


def _rare(recall: float, false: float) -> tuple[Answers, Sample]:
    """Probabilities of a model of a class that 10% of 600 records have: 60, and 540 others."""
    labels = (np.arange(N) // 2 % 10 == 0).astype(np.int64)
    said = np.zeros(N, np.int64)
    said[np.flatnonzero(labels == 1)[: round(recall * 60)]] = 1
    said[np.flatnonzero(labels == 0)[: round(false * 540)]] = 1
    p = np.where(said == 1, 0.7, 0.05)
    return np.stack([1 - p, p], axis=1).astype(np.float32), _sample(labels)


def test_a_rare_class_is_shown_by_the_loss() -> None:
    """24 of 60 found and 11 of 540 wrongly: accuracy (24 + 529) / 600 = 92.2%, against 90% no significant gain.

    Loss (24 ln(1/.7) + 36 ln(1/.05) + 11 ln(1/.3) + 529 ln(1/.95)) / 600 = .261, and that of the shares
    -.9 ln .9 - .1 ln .1 = .325.
    """
    answers, sample = _rare(0.4, 0.02)
    assert (answers.argmax(axis=1) == sample.labels).mean() == pytest.approx(0.9217, abs=1e-3)
    assert not by_chance(answers, sample, inside=True)


def test_a_model_with_weights_for_its_classes_is_shown_by_its_recall() -> None:
    """54 of 60 found and 108 of 540 wrongly: 81% right, fewer than always the frequent label; mean recall .85."""
    answers, sample = _rare(0.9, 0.2)
    assert not by_chance(answers, sample, inside=True)


def test_records_of_one_label_show_nothing_and_are_taken() -> None:
    assert not by_chance(np.zeros((4, 2), np.float32), Sample(np.zeros(4, np.int64), np.arange(4) < 2), inside=False)


def test_other_inputs_that_are_answered_better() -> None:
    found = find_better(
        _logits(BALANCED.labels, 0.75, 1),
        {"unit": _logits(BALANCED.labels, 0.95, 2), "raw": _logits(BALANCED.labels, 0.5, 3)},
        BALANCED,
        inside=False,
    )
    assert found is not None
    assert (found.inputs, found.shift, found.order, found.records) == ("unit", 0, None, N)
    assert list(found.accuracy) == [pytest.approx(0.75, abs=0.05), pytest.approx(0.95, abs=0.03)]
    assert found.loss[1] < found.loss[0]


def test_of_inputs_that_are_about_as_accurate_the_surer_is_named() -> None:
    """Bytes where 0..1 are meant: as accurate, and wrong answers are certain."""
    unit = _logits(BALANCED.labels, 0.95)
    raw = np.float32(255) * unit
    raw[:5] = 255 * np.eye(CLASSES)[BALANCED.labels[:5]]  # a little more accurate, by chance
    found = find_better(_logits(BALANCED.labels, 0.7, 1), {"raw": raw, "unit": unit}, BALANCED, inside=False)
    assert found is not None
    assert found.inputs == "unit"


def test_inputs_that_are_answered_as_well_are_not_better() -> None:
    for seed in range(50):
        others = {str(i): _logits(BALANCED.labels, 0.8, 100 * seed + i) for i in range(8)}
        assert find_better(_logits(BALANCED.labels, 0.8, 100 * seed + 99), others, BALANCED, inside=False) is None


def test_an_overfitted_model_is_not_refused_for_being_sure() -> None:
    """Smaller inputs give it less loss on others, larger ones less on members; neither is what it was trained on."""
    labels, members = BALANCED.labels, BALANCED.members
    answers = _logits(labels, 0.6, height=8.0)
    answers[members] = _logits(labels, 1.0, height=8.0)[members]
    for factor in (0.1, 0.3, 3.0, 30.0):
        assert find_better(answers, {"other": np.float32(factor) * answers}, BALANCED, inside=False) is None


def test_far_less_loss_at_the_same_accuracy_is_better() -> None:
    """Logits 255 times too large: wrong ones of 3 * 255 nats, where the model itself has 3."""
    answers = _logits(BALANCED.labels, 0.95)
    found = find_better(np.float32(255) * answers, {"unit": answers}, BALANCED, inside=False)
    assert found is not None
    assert found.inputs == "unit"
    # And as small: log(5) = 1.61 nats for all.
    found = find_better(answers / np.float32(255), {"raw": answers}, BALANCED, inside=False)
    assert found is not None
    assert found.loss[0] == pytest.approx(np.log(5), abs=0.02)


def test_inputs_that_are_too_large_are_found_where_all_members_are_right() -> None:
    """Then they lower the members' loss, to 0, and the others' wrong answers become certain."""
    answers = _logits(BALANCED.labels, 1.0)
    answers[~BALANCED.members] = _logits(BALANCED.labels, 0.9)[~BALANCED.members]
    found = find_better(np.float32(255) * answers, {"unit": answers}, BALANCED, inside=False)
    assert found is not None
    # A tenth of 300 is wrong by more than ln(1e9) = 20.7 nats each, which is where it is cut.
    assert list(found.loss) == [pytest.approx(0.05 * 20.7, abs=0.4), pytest.approx(0.3, abs=0.1)]


def test_zeros_of_an_integer_output_are_not_certain() -> None:
    """Sure of members, wrong on half of the others, in steps of 1/256: 0 is anything below 1/512."""
    right = np.where(BALANCED.members | (np.arange(N) % 4 == 1), BALANCED.labels, (BALANCED.labels + 1) % CLASSES)
    sure = np.full((N, CLASSES), 0, np.float32)
    sure[np.arange(N), right] = 1
    sure[0] = np.array([253, 1, 1, 1, 0]) / 256
    less = 0.9 * sure + np.float32(0.02)
    assert find_better(sure, {"other": less}, BALANCED, inside=True) is None


@pytest.mark.parametrize("shift", [-1, 1])
def test_labels_that_are_one_off(shift: int) -> None:
    inside = (BALANCED.labels + shift >= 0) & (BALANCED.labels + shift < CLASSES)
    sample = BALANCED.first(inside)
    found = find_better(_logits(sample.labels + shift, 0.9), {}, sample, inside=False)
    assert found is not None
    assert (found.shift, found.order) == (shift, None)


def test_outputs_in_another_order() -> None:
    """Label k is output order[k]; two of five agree by chance."""
    order = np.array([0, 3, 2, 4, 1])
    found = find_better(_logits(BALANCED.labels, 0.9)[:, np.argsort(order)], {}, BALANCED, inside=False)
    assert found is not None
    assert found.order == tuple(order)
    assert found.inputs is None


def test_an_order_that_is_fitted_to_noise_is_not_better() -> None:
    rng = np.random.default_rng(2)
    few = _sample(rng.integers(0, 20, 200))
    for _ in range(100):
        assert find_better(rng.normal(size=(200, 20)).astype(np.float32), {}, few, inside=False) is None


def test_inputs_and_order_together() -> None:
    order = np.array([1, 2, 3, 4, 0])
    right = _logits(BALANCED.labels, 0.95)[:, np.argsort(order)]
    found = find_better(_logits(BALANCED.labels, 0.2, 5), {"unit": right}, BALANCED, inside=False)
    assert found is not None
    assert (found.inputs, found.order) == ("unit", tuple(order))


def test_inputs_that_are_clearly_worse() -> None:
    declared = _logits(BALANCED.labels, 0.9)
    assert clearly_worse(declared, _logits(BALANCED.labels, 0.3, 1), BALANCED, inside=False)
    assert not clearly_worse(declared, _logits(BALANCED.labels, 0.88, 1), BALANCED, inside=False)
    turned = np.roll(_logits(BALANCED.labels, 0.9, 1), 1, axis=1)  # wrong as it is read, right in another order
    assert not clearly_worse(declared, turned, BALANCED, inside=False)


def test_a_stated_accuracy() -> None:
    """90 of 100: 99.9% Clopper-Pearson is about [.76, .97], two points more on each side."""
    right = np.arange(100) < 90
    assert is_stated(right, 0.9)[0]
    assert is_stated(right, 0.76)[0]
    assert not is_stated(right, 0.7)[0]
    assert not is_stated(right, 1.0)[0]


def test_few_wrong_answers_show_that_inputs_are_far_too_large() -> None:
    """An overfitted model given bytes: right on all members, as accurate on others, and certain where it is wrong."""
    labels, members = np.arange(200) % CLASSES, np.arange(200) < 100
    said = labels.copy()
    said[100:110] = (labels[100:110] + 1) % CLASSES
    usual = np.zeros((200, CLASSES), np.float32)
    usual[np.arange(200), said] = 6.0
    found = find_better(usual * 255, {"with less": usual}, Sample(labels, members), inside=False)
    assert found is not None
    assert found.inputs == "with less"
    assert find_better(usual, {"with more": usual * 255}, Sample(labels, members), inside=False) is None


def test_what_is_far_more_accurate_is_better_whatever_its_loss() -> None:
    """A model of raw values given 0..1: answers say nothing, but its wrong answers at its own inputs are sure ones."""
    labels = BALANCED.labels
    near = np.random.default_rng(4).normal(size=(N, CLASSES)).astype(np.float32) * np.float32(0.01)
    mostly = _logits(labels, 0.65, height=60.0)
    for sure in (False, True):
        found = find_better(near, {"otherwise": mostly}, BALANCED, inside=False, sure=sure)
        assert found is not None
        assert found.inputs == "otherwise"
        assert found.gain > 0.25
        assert found.loss[1] > found.loss[0] + 1


def test_a_model_that_is_likely_fed_right_is_refused_for_large_differences_alone() -> None:
    labels = BALANCED.labels
    declared, better = _logits(labels, 0.7), _logits(labels, 0.82)
    assert find_better(declared, {"more contrast": better}, BALANCED, inside=False) is not None
    assert find_better(declared, {"more contrast": better}, BALANCED, inside=False, sure=True) is None
