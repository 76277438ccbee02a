from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.outputs import Granularity, OutputGrid, granularity, output_grid, output_step
from edgeaudit.leakage.roc import FloatArray


def test_by_hand() -> None:
    # Values .5 (twice), .9 (three times), .1: three distinct, five of six records share theirs.
    assert granularity(np.array([0.5, 0.9, 0.1, 0.9, 0.5, 0.9])) == Granularity(3, 5 / 6)


def test_continuous_and_constant() -> None:
    assert granularity(np.random.default_rng(0).random(1000)) == Granularity(1000, 0.0)
    assert granularity(np.zeros(10)) == Granularity(1, 1.0)


def test_rounding_to_a_byte_ties() -> None:
    values = np.random.default_rng(1).random(10_000)
    coarse = granularity(np.round(values * 256) / 256)
    assert coarse.distinct == 257
    assert coarse.tie_mass == 1.0


@pytest.mark.parametrize("bad", [[], [0.1, np.nan]])
def test_nothing_to_count(bad: list[float]) -> None:
    with pytest.raises(AttackError):
        granularity(np.array(bad))


def dequantised(
    values: FloatArray, scale: float, zero: int, low: int = -128, high: int = 127
) -> npt.NDArray[np.float32]:
    """What an integer output answers: float32(scale) * (q - zero), q clipped to [low, high]."""
    q = np.clip(np.rint(values / scale) + zero, low, high)
    return np.asarray(np.float32(scale) * (q - zero).astype(np.float32), dtype=np.float32)


@pytest.mark.parametrize("scale", [0.0837, 0.2519843, 1 / 3, 7.31e-4, 55.5])
@pytest.mark.parametrize("zero", [-128, 0, 17, 127])
def test_the_step_of_dequantised_answers_is_their_scale(scale: float, zero: int) -> None:
    # Values within the range of the type: (q - zero) * scale for q in [-128, 127].
    rng = np.random.default_rng(2)
    wanted = scale * (rng.uniform(-128, 127, size=(2000, 10)) - zero)
    answers = dequantised(wanted, scale, zero)
    assert output_step(answers) == pytest.approx(scale, rel=1e-6)
    grid = output_grid(answers)
    assert (grid.low, grid.high) == pytest.approx((scale * (-128 - zero), scale * (127 - zero)), rel=1e-6, abs=1e-12)


def test_the_step_of_16_bits() -> None:
    wanted = np.random.default_rng(3).normal(scale=4, size=(30_000, 10))
    assert output_step(dequantised(wanted, 5e-4, 0, -32768, 32767)) == pytest.approx(5e-4, rel=1e-6)


def test_few_answers_show_a_multiple_of_the_scale_or_the_scale() -> None:
    # Levels 2, 4 and 7: no two differ by one, but 7 - 4 - 2 does. Levels 2, 4, 8: a grid of 2 holds them all.
    assert output_step(np.float32(0.1) * np.array([[2, 4, 7]] * 3, dtype=np.float32)) == pytest.approx(0.1, rel=1e-6)
    assert output_step(np.float32(0.1) * np.array([[2, 4, 8]] * 3, dtype=np.float32)) == pytest.approx(0.2, rel=1e-6)


def test_the_grid_of_an_integer_softmax() -> None:
    # LiteRT: scale 1/256, zero -128, so p runs from 0 to 255/256; ONNX: scale 1/255, from 0 to 1.
    p = np.random.default_rng(4).dirichlet(np.full(10, 0.1), size=3000)
    grid = output_grid(dequantised(p, 1 / 256, -128))
    assert (grid.step, grid.low, grid.high) == (1 / 256, 0.0, 255 / 256)
    grid = output_grid(dequantised(p, 1 / 255, -128))
    assert (grid.step, grid.low, grid.high) == pytest.approx((1 / 255, 0.0, 1.0), rel=1e-6)
    # A model that is never sure does not reach the end of its grid.
    grid = output_grid(dequantised(np.minimum(p, 0.6), 1 / 256, -128))
    assert (grid.step, grid.low, grid.high) == (1 / 256, 0.0, math.inf)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_continuous_answers_have_no_step(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(scale=5, size=(2000, 10))
    exp = np.exp(2 * logits - 2 * logits.max(axis=1, keepdims=True))
    for answers in (logits, exp / exp.sum(axis=1, keepdims=True), np.repeat(logits[:7], 50, axis=0)):
        assert output_step(answers.astype(dtype)) == 0
        assert output_grid(answers.astype(dtype)) == OutputGrid()


@pytest.mark.parametrize("answers", [np.zeros((5, 2)), np.eye(4), np.empty((0, 3)), np.array([[0.1, 0.2], [0.3, 0.4]])])
def test_too_few_answers_to_estimate_a_grid(answers: FloatArray) -> None:
    assert output_step(answers) == 0
