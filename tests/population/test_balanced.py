"""Draws of equal size that use every unit equally often."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.population.balanced import IntArray, balanced_draw


def orders(n: int, seed: int = 0) -> list[IntArray]:
    return [np.random.default_rng([seed, block]).permutation(n) for block in range(64)]


@pytest.mark.parametrize("n", [2, 7, 10, 61, 180])
def test_no_unit_twice_in_a_draw_and_none_much_more_often_than_another(n: int) -> None:
    for size in range(1, n):
        shuffles = orders(n)
        drawn = np.zeros(n, np.int64)
        for number in range(12):
            units = balanced_draw(n, size, number, shuffles.__getitem__)
            assert len(units) == len(np.unique(units)) == size
            drawn[units] += 1
            assert drawn.max() - drawn.min() <= 1, (size, number)


def test_a_draw_that_straddles_two_shuffles_by_hand() -> None:
    # 5 units, 2 each. Shuffle 0 is a b | c d | e; draw 2 goes on in shuffle 1, d a e b c, with the first unit that is
    # not e: d. Left of it are a e b c: a e | b c.
    shuffles = [np.array([0, 1, 2, 3, 4]), np.array([3, 0, 4, 1, 2])]
    drawn = [balanced_draw(5, 2, k, shuffles.__getitem__).tolist() for k in range(5)]
    assert drawn == [[0, 1], [2, 3], [4, 3], [0, 4], [1, 2]]


def test_every_unit_is_as_likely_as_any_other_in_every_draw() -> None:
    # 3 of 7 units in 2,000 draws of each place: 3/7 = .4286, SE .0111.
    shares = np.zeros((5, 7))
    for seed in range(2000):
        shuffles = orders(7, seed)[:4]
        for number in range(5):
            shares[number, balanced_draw(7, 3, number, shuffles.__getitem__)] += 1 / 2000
    assert np.abs(shares - 3 / 7).max() < 4 * 0.0111


@pytest.mark.parametrize("size", [0, 5])
def test_all_or_none_is_no_draw(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 4 of 5"):
        balanced_draw(5, size, 0, orders(5).__getitem__)
