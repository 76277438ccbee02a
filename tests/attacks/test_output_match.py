from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy

from edgeaudit.attacks.evidence import Evidence, Exposure, FloatArray
from edgeaudit.attacks.output_match import Affine, OutputMatch
from edgeaudit.tasks.classification import softmax

MOVED = np.array([3.0, -1.0, 0.0, 0.0, 2.0])


def evidence(n: int = 400, k: int = 8, exposure: Exposure = "logits", seed: int = 0) -> Evidence:
    """Logits that models have in common, and noise of each."""
    rng = np.random.default_rng(seed)
    outputs = len(MOVED)
    logits = 2 * rng.normal(size=(n, outputs)) + 0.5 * rng.normal(size=(1 + k, n, outputs))
    answers = softmax(logits) if exposure == "probabilities" else logits
    out = rng.permuted(np.repeat(np.arange(k)[:, None] < k // 2, n, axis=1), axis=0)
    return Evidence(answers[0], answers[1:], out, rng.integers(0, outputs, n), exposure, 1e-6)


def moved(one: Evidence, slope: float = 1.0) -> Evidence:
    if one.exposure == "logits":
        return replace(one, target=slope * one.target + MOVED)
    return replace(one, target=softmax(slope * np.log(one.target) + MOVED))


def found(one: Evidence) -> Affine:
    match = OutputMatch.of(one.shadow_answers)
    assert match is not None
    return match.of_target(one.target)


@pytest.mark.parametrize("exposure", ["logits", "probabilities"])
@pytest.mark.parametrize("slope", [0.3, 1.0, 3.0])
def test_temperatures_and_offsets_are_found_and_removed(exposure: Exposure, slope: float) -> None:
    one = evidence(exposure=exposure)
    target = moved(one, slope)
    change = found(target)
    assert change.slope == pytest.approx(slope, rel=0.06)
    np.testing.assert_allclose(change.offsets, MOVED - MOVED.mean(), atol=0.15 * max(slope, 1))
    answers = change.undone(target.target, exposure)
    wanted = softmax(one.target) if exposure == "logits" else one.target
    np.testing.assert_allclose(softmax(answers) if exposure == "logits" else answers, wanted, atol=0.1)


@pytest.mark.parametrize("slope", [0.3, 3.0])
def test_margins_of_another_temperature_are_ordered_as_before(slope: float) -> None:
    """No change of margins does that: they depend on how the other outputs share what is left."""
    one = evidence()
    target = replace(one, target=slope * one.target)
    before, moved_, after = (
        one.task.margin(answers, one.labels, "logits", 0.0)
        for answers in (one.target, target.target, found(target).undone(target.target, "logits"))
    )
    assert scipy.stats.kendalltau(before, moved_).statistic < 0.97
    assert scipy.stats.kendalltau(before, after).statistic > 0.985


def test_a_target_like_its_shadows_is_left_as_it_is() -> None:
    changes = []
    for seed in range(30):
        one = evidence(seed=seed)
        match = OutputMatch.of(one.shadow_answers, one.out)
        assert match is not None
        changes.append(match.of_target(one.target))
    sizes = [np.abs(one.offsets).max() for one in changes]
    # Of noise, offsets have a deviation of .5 / sqrt(400) sqrt(1 + 1/4) = .03.
    assert np.median(sizes) == 0
    assert max(sizes) < 0.15
    assert np.median([one.slope for one in changes]) == 1
    assert max(abs(np.log(one.slope)) for one in changes) < 0.1
    one = evidence()
    assert Affine(1.0, np.zeros(len(MOVED))).undone(one.target, "logits") is one.target


def test_only_answers_that_are_counted_matter() -> None:
    one = evidence()
    inside = np.where(one.out[..., None], one.shadows, one.shadows + 50 * np.arange(len(MOVED)))
    changed = replace(moved(one), shadows=inside)
    match, plain = (OutputMatch.of(e.shadow_answers, one.out) for e in (changed, moved(one)))
    assert match is not None
    assert plain is not None
    np.testing.assert_array_equal(match.of_target(changed.target).offsets, plain.of_target(changed.target).offsets)


def test_outputs_at_the_floor_have_no_offset() -> None:
    one = evidence(exposure="probabilities")

    def without_one(p: FloatArray) -> FloatArray:
        return np.where(np.arange(len(MOVED)) == 1, 0.0, p)

    target = replace(one, target=without_one(moved(one).target), shadows=without_one(one.shadows))
    change = found(target)
    assert change.offsets[1] == 0
    kept = np.array([0, 2, 3, 4])
    np.testing.assert_allclose(change.offsets[kept], MOVED[kept] - MOVED[kept].mean(), atol=0.3)
    assert np.isfinite(change.undone(target.target, "probabilities")).all()


@pytest.mark.parametrize("answers", [np.full((400, 5), 0.2), np.eye(5)[np.arange(400) % 5]])
def test_answers_without_an_entropy_to_change_are_taken(answers: FloatArray) -> None:
    one = replace(evidence(exposure="probabilities"), target=answers)
    undone = found(one).undone(one.target, "probabilities")
    assert np.isfinite(undone).all()
    np.testing.assert_allclose(undone.sum(axis=1), 1)
