from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks.evidence import Evidence, Exposure, FloatArray
from edgeaudit.attacks.output_offsets import OutputOffsets, answers_without
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


def found(one: Evidence) -> FloatArray:
    offsets = OutputOffsets.of(one.shadow_answers)
    assert offsets is not None
    return offsets.of_target(one.target)


@pytest.mark.parametrize("exposure", ["logits", "probabilities"])
@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_offsets_are_found_and_removed(exposure: Exposure, slope: float) -> None:
    one = evidence(exposure=exposure)
    target = moved(one, slope)
    np.testing.assert_allclose(found(target), MOVED - MOVED.mean(), atol=0.15 * slope)
    wanted = softmax(slope * (one.target if exposure == "logits" else np.log(one.target)))
    answers = answers_without(target, found(target))
    np.testing.assert_allclose(softmax(answers) if exposure == "logits" else answers, wanted, atol=0.06 * slope)


def test_a_target_like_its_shadows_is_left_as_it_is() -> None:
    sizes = []
    for seed in range(30):
        one = evidence(seed=seed)
        offsets = OutputOffsets.of(one.shadow_answers, one.out)
        assert offsets is not None
        sizes.append(np.abs(offsets.of_target(one.target)).max())
        assert answers_without(one, np.zeros(len(MOVED))) is one.target
    # Of noise, offsets have a deviation of .5 / sqrt(400) sqrt(1 + 1/4) = .03.
    assert np.median(sizes) == 0
    assert max(sizes) < 0.1


def test_only_answers_that_are_counted_matter() -> None:
    one = evidence()
    inside = np.where(one.out[..., None], one.shadows, one.shadows + 50 * np.arange(len(MOVED)))
    changed = replace(moved(one), shadows=inside)
    offsets, plain = (OutputOffsets.of(e.shadow_answers, one.out) for e in (changed, moved(one)))
    assert offsets is not None
    assert plain is not None
    np.testing.assert_array_equal(offsets.of_target(changed.target), plain.of_target(changed.target))


def test_outputs_at_the_floor_have_no_offset() -> None:
    one = evidence(exposure="probabilities")

    def without_one(p: FloatArray) -> FloatArray:
        return np.where(np.arange(len(MOVED)) == 1, 0.0, p)

    target = replace(one, target=without_one(moved(one).target), shadows=without_one(one.shadows))
    offsets = found(target)
    assert offsets[1] == 0
    kept = np.array([0, 2, 3, 4])
    np.testing.assert_allclose(offsets[kept], MOVED[kept] - MOVED[kept].mean(), atol=0.2)
    assert np.isfinite(answers_without(target, offsets)).all()
