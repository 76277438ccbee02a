"""The figures of agreement on answers made up for each of the ways to be wrong."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from edgeaudit.errors import AgreementError
from edgeaudit.filetypes.agreement import agreement, comparable, require_agreement

# 2000 quantiles of a normal distribution of deviation 4, shuffled.
QUANTILES = 4 * norm.ppf((np.arange(2000) + 0.5) / 2000)
LOGITS = np.random.default_rng(0).permutation(QUANTILES).reshape(200, 10).astype(np.float32)
NOISE = np.random.default_rng(1).normal(0, 4, (200, 10)).astype(np.float32)


def test_figures_by_hand() -> None:
    """Entries 0 2 / 0 2 / 0 2: median 1, deviation 1. The answers are off by 0.5 in the second class only.

    rel_rms = sqrt(mean(0, .25)) / 1 = sqrt(.125); worst class = .5 / the floor of a quarter of 1 = 2, because no
    class varies; reach from the median: low 1 of 1, high 1.5 of 1.
    """
    torch = np.tile(np.array([[0.0, 2.0]]), (3, 1))
    found = agreement(torch, torch + np.array([0, 0.5]))
    assert found.records == 3
    assert found.max_abs == 0.5
    assert found.rel_rms == pytest.approx(0.125**0.5)
    assert found.worst_class == pytest.approx(2)
    assert found.top1 == 1
    assert found.range_ratio == pytest.approx(1.5)


def test_the_same_answers_agree_perfectly() -> None:
    found = agreement(LOGITS, LOGITS.copy())
    assert (found.max_abs, found.rel_rms, found.worst_class, found.top1, found.range_ratio) == (0, 0, 0, 1, 1)


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.1])
def test_rounding_noise_keeps_the_range(noise: float) -> None:
    found = require_agreement(LOGITS, LOGITS + noise * NOISE, what="int8", tolerance=0.2)
    assert found.rel_rms == pytest.approx(noise, rel=0.05)
    assert found.range_ratio == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("low", "high"), [(-7, 7), (-20, 7), (-7, 20)], ids=["both-ends", "highest-only", "lowest-only"]
)
def test_clipping_is_called_clipping(low: float, high: float) -> None:
    """The highest 1% of a normal distribution has its mean at 2.665 deviations, here 10.66; 7 is 66% of that."""
    clipped = LOGITS.clip(low, high)
    found = agreement(LOGITS, clipped)
    assert found.top1 is not None
    assert found.top1 > 0.5
    assert found.rel_rms < 0.2  # the RMS alone would let it pass
    assert found.range_ratio == pytest.approx(7 / 10.66, abs=0.01)
    with pytest.raises(
        AgreementError, match=r"^int8 clips the model's outputs: their range is 6[56]\.\d% of the trained model's, "
    ):
        require_agreement(LOGITS, clipped, what="int8", tolerance=0.2)


DEAD = LOGITS * (np.arange(10) != 3)
SWAPPED = LOGITS[:, [1, 0, *range(2, 10)]]


@pytest.mark.parametrize(
    "answers",
    [NOISE, LOGITS[::-1], LOGITS * 0, -LOGITS, LOGITS * 1.3, LOGITS + 10, DEAD, SWAPPED],
    ids=["noise", "other-records", "zero", "negated", "stretched", "shifted", "dead-class", "swapped-classes"],
)
def test_garbage_is_refused(answers: np.ndarray) -> None:
    with pytest.raises(AgreementError, match=r"^litert-int8 .* the limit is .* Recreate the artifact"):
        require_agreement(LOGITS, answers, what="litert-int8", tolerance=0.2)


def test_a_dead_class_among_many_is_detected_by_worst_class() -> None:
    many = np.random.default_rng(2).normal(0, 4, (200, 100))
    dead = many * (np.arange(100) != 42)
    assert agreement(many, dead).rel_rms < 0.2
    with pytest.raises(AgreementError, match=r"of the worst class 1, the limit is 0\.6"):
        require_agreement(many, dead, what="int8", tolerance=0.2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity(bad: float) -> None:
    answers = LOGITS.copy()
    answers[[3, 5], 0] = bad
    with pytest.raises(
        AgreementError, match=r"int8 does not agree .*: the outputs for 2 of 200 records contain NaN or infinity"
    ):
        require_agreement(LOGITS, answers, what="int8", tolerance=0.2)


@pytest.mark.parametrize("answers", [LOGITS[:-1], LOGITS[:, :-1], LOGITS[0]], ids=["records", "classes", "rank"])
def test_answers_of_another_shape(answers: np.ndarray) -> None:
    with pytest.raises(AgreementError, match="cannot be compared with the trained model's"):
        agreement(LOGITS, answers)


def test_no_records() -> None:
    with pytest.raises(AgreementError, match="cannot be compared"):
        agreement(LOGITS[:0], LOGITS[:0])


def test_a_model_with_constant_outputs() -> None:
    constant = np.ones((5, 3))
    assert agreement(constant, constant).rel_rms == 0
    with pytest.raises(AgreementError, match="relative RMS error inf"):
        require_agreement(constant, constant + 1e-9, what="odd", tolerance=0.2)


def test_probabilities_have_no_lower_end() -> None:
    probabilities = comparable(LOGITS, softmax_inside=True)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert comparable(LOGITS, softmax_inside=False) is LOGITS
    rounded = np.round(probabilities * 256) / 256
    found = require_agreement(probabilities, rounded, what="int8", tolerance=0.2)
    assert found.range_ratio == pytest.approx(1, abs=0.01)


def test_softmax_of_large_logits_is_finite() -> None:
    found = comparable(np.array([[1000.0, 0.0]]), softmax_inside=True)
    np.testing.assert_array_equal(found, [[1, 0]])
