"""Records far from 0 keep what they differ in, or are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.errors import DataError
from edgeaudit.population.base import scaled
from edgeaudit.population.collapse import require_variation

X = np.random.default_rng(0).integers(0, 16, (200, 3)).astype(np.float64)
PLAIN = ([0.0] * 3, [1.0] * 3)


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_an_offset_changes_no_standardised_record(dtype: type[np.generic]) -> None:
    moved = (X + 1.7e9).astype(dtype)
    numbers = moved.mean(axis=0).tolist(), moved.std(axis=0).tolist()
    expected = (X - X.mean(axis=0)) / X.std(axis=0)
    assert scaled(moved, *numbers) == pytest.approx(expected, abs=1e-5)
    require_variation(moved, numbers)


def test_columns_that_lose_their_variation_are_named() -> None:
    # At 1.7e9 float32 moves in steps of 128, so that 0..15 become one value; at 1e6 in steps of 1/16.
    x = X + np.array([0.0, 1.7e9, 1e6])
    with pytest.raises(DataError, match=r"column 1 \(from 0\) loses in float32 .* around 1.7e\+09 .* standardise"):
        require_variation(x, PLAIN)
    with pytest.raises(DataError, match=r"column 0 \(from 0\), like 2 other columns, loses"):
        require_variation(X + 1.7e9, PLAIN)


def test_channels_of_images() -> None:
    images = np.stack([X.reshape(50, 2, 6), X.reshape(50, 2, 6) + 1.7e9], axis=1)
    with pytest.raises(DataError, match=r"channel 1 \(from 0\) loses"):
        require_variation(images, ([0.0] * 2, [1.0] * 2))


def test_constant_columns_and_narrow_types_lose_nothing() -> None:
    require_variation(np.column_stack([X, np.full(200, 1.7e9 + 1)]), ([0.0] * 4, [1.0] * 4))
    require_variation((X * 16).astype(np.uint8), ([0.0] * 3, [255.0] * 3))
