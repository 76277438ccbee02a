"""A classifier that is taught memberships finds what shadows do not show, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.taught import FEWEST, taught_scores


def _area(features: npt.NDArray[np.float64], members: npt.NDArray[np.bool_], seed: int = 0) -> float:
    odds = taught_scores(features, members, None, seed)
    assert odds is not None
    return delong(odds, members).auc


@pytest.mark.parametrize("n", [150, 1500])
def test_members_at_one_margin_are_found(n: int) -> None:
    """75% of members lie where few others do, in the middle of all: no order of margins tells them."""
    rng = np.random.default_rng(n)
    members = np.arange(2 * n) < n
    margins = rng.normal(size=2 * n)
    held = members & (rng.random(2 * n) < 0.75)
    margins[held] = 0.3 + 0.02 * rng.normal(size=int(held.sum()))
    assert abs(delong(margins, members).auc - 0.5) < 0.15
    # Nonmembers are as dense there as 75% of members are for 1 in 40.
    assert _area(margins[:, None], members) > 0.8


def test_nothing_is_found_where_answers_do_not_depend_on_membership() -> None:
    areas = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        members = rng.permutation(np.arange(400) < 200)
        areas.append(_area(rng.normal(size=(400, 9)), members, seed))
    assert abs(np.mean(areas) - 0.5) < 0.02


def test_related_records_do_not_teach_one_another() -> None:
    """Each answer is there five times; were copies in other folds, memberships would be read off."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(200), 5)
    members = groups < 100
    answers = rng.normal(size=(200, 3))[groups]
    odds = taught_scores(answers, members, groups, 0)
    apart = taught_scores(answers, members, None, 0)
    assert odds is not None
    assert apart is not None
    assert delong(odds, members).auc < 0.65
    assert delong(apart, members).auc > 0.95


def test_sides_of_unequal_size_have_odds_as_if_equal() -> None:
    rng = np.random.default_rng(1)
    members = np.arange(2000) < 1800
    odds = taught_scores(rng.normal(size=(2000, 2)), members, None, 0)
    assert odds is not None
    assert abs(np.median(odds)) < 0.3


@pytest.mark.parametrize("sides", [(FEWEST - 1, 100), (100, FEWEST - 1), (0, 100)])
def test_too_few_records_teach_nothing(sides: tuple[int, int]) -> None:
    members = np.arange(sum(sides)) < sides[0]
    assert taught_scores(np.zeros((sum(sides), 2)), members, None, 0) is None
    groups = np.arange(sum(sides)) // 4 * 4
    assert taught_scores(np.zeros((sum(sides), 2)), members, groups, 0) is None


def test_answers_that_are_all_equal_are_no_error() -> None:
    members = np.arange(100) < 50
    odds = taught_scores(np.ones((100, 4)), members, None, 0)
    assert odds is not None
    assert np.ptp(odds) < 1e-9
