"""How answers of two places differ: counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.leakage.differing import Differing, differing

HERE = np.array([[1, 2, 3], [4, 5, 5], [7, 8, 9], [0, 0, 1]], np.float32)


def test_rows_the_largest_difference_and_other_top_classes_are_counted() -> None:
    there = HERE.copy()
    there[0, 0] = 1.25  # another value, the same top class
    there[2] = [9.5, 8, 9]  # another top class
    assert differing(HERE, there) == Differing(records=4, rows=2, max_abs=2.5, top1=1)


def test_equal_answers_differ_in_nothing() -> None:
    assert differing(HERE, HERE.copy()) == Differing(4, 0, 0.0, 0)


def test_the_smallest_step_of_a_float_is_a_difference() -> None:
    there = HERE.copy()
    there[3, 2] = np.nextafter(np.float32(1), np.float32(2))
    found = differing(HERE, there)
    assert (found.rows, found.top1) == (1, 0)
    assert 0 < found.max_abs < 1e-6


def test_the_first_of_several_largest_classes_is_the_top_one() -> None:
    there = HERE.copy()
    there[1] = [5, 5, 5]
    assert differing(HERE, there).top1 == 1


def test_answers_on_other_records_are_rejected() -> None:
    with pytest.raises(ValueError, match="must have the same shape"):
        differing(HERE, HERE[:2])
