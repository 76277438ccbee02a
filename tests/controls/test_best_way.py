"""The best way to feed and to read a file is found among the usual ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.controls.best_way import best_readings, settled
from edgeaudit.controls.target_check import Sample

CLASSES, N = 4, 400


def _answers(labels: npt.NDArray[np.int64], right: float, height: float, seed: int) -> npt.NDArray[np.float32]:
    """Logits of so many right answers, whose label leads by `height`."""
    rng = np.random.default_rng(seed)
    told = np.where(rng.random(N) < right, labels, (labels + 1) % CLASSES)
    logits = rng.normal(0, 0.1, (N, CLASSES)).astype(np.float32)
    logits[np.arange(N), told] += height
    return logits


@pytest.fixture
def sample() -> Sample:
    labels = np.random.default_rng(0).integers(0, CLASSES, N)
    return Sample(labels, np.arange(N) < N // 2)


def test_the_most_accurate_inputs_come_first(sample: Sample) -> None:
    given = {"raw": _answers(sample.labels, 0.3, 4, 1), "unit": _answers(sample.labels, 0.9, 4, 2)}
    first, second = best_readings(given, sample, CLASSES, inside=False)
    assert (first.inputs, second.inputs) == ("unit", "raw")
    assert first.outputs == (0, 1, 2, 3)
    assert first.members == pytest.approx(0.9, abs=0.05)


def test_the_loss_tells_a_scale_on_which_no_decision_depends(sample: Sample) -> None:
    sure = _answers(sample.labels, 0.9, 4, 1)
    given = {"raw": sure * 255, "unit": sure}  # wrong answers cost 255 times as much
    assert best_readings(given, sample, CLASSES, inside=False)[0].inputs == "unit"


def test_outputs_before_the_first_label(sample: Sample) -> None:
    background = np.full((N, 2), -9, np.float32)
    given = {"raw": np.concatenate([background, _answers(sample.labels, 0.9, 4, 1)], axis=1)}
    assert best_readings(given, sample, CLASSES, inside=False)[0].outputs == (2, 3, 4, 5)


def test_an_order_of_the_labels_that_the_audit_would_name(sample: Sample) -> None:
    given = {"raw": _answers(sample.labels, 0.9, 4, 1)[:, [2, 0, 3, 1]]}  # output 0 is label 2
    first = best_readings(given, sample, CLASSES, inside=False)[0]
    found = settled(first, given, sample, inside=False, as_declared=frozenset(given))
    assert found.outputs == (1, 3, 0, 2)
    assert found.accuracy == pytest.approx(0.9, abs=0.05)
    assert not found.by_chance


def test_answers_that_know_nothing_are_said_to(sample: Sample) -> None:
    rng = np.random.default_rng(3)
    given = {name: rng.normal(size=(N, CLASSES)).astype(np.float32) for name in ("raw", "unit")}
    first = best_readings(given, sample, CLASSES, inside=False)[0]
    assert settled(first, given, sample, inside=False, as_declared=frozenset(given)).by_chance
