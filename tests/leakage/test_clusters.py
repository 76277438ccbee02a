"""Groups of related records: variances by hand, effective sizes of constructed groups."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeaudit.errors import AttackError
from edgeaudit.leakage.clusters import FEWEST, Side, sides, too_few_groups


def test_groups_of_one_have_the_usual_variance() -> None:
    values = np.array([1.0, 4.0, 2.0, 7.0])
    side = Side(np.array([2, 0, 3, 1]))
    assert side.single
    assert side.count == 4
    assert side.variance_of_mean(values) == pytest.approx(values.var(ddof=1) / 4)
    assert side.effective_size(np.array([1.0, 0.0, 0.0, 1.0])) == 4.0


def test_variance_by_hand() -> None:
    # Mean 3; deviations -2 -1 | 0 | 3: sums -3 0 3. 3/2 * 18 / 16.
    side = Side(np.array([0, 0, 1, 2]))
    assert side.sizes.tolist() == [2, 1, 1]
    assert side.variance_of_mean(np.array([1.0, 2.0, 3.0, 6.0])) == pytest.approx(27 / 16)
    assert math.isnan(Side(np.zeros(4, np.int64)).variance_of_mean(np.arange(4.0)))


def test_groups_that_agree_count_once() -> None:
    # 50 groups of 4 equal indicators, 20 of them 1: rate .4, binomial variance .24/200; by group 50/49 * .24/50.
    side = Side(np.repeat(np.arange(50), 4))
    flags = np.repeat(np.arange(50) < 20, 4).astype(np.float64)
    assert side.effective_size(flags) == pytest.approx(200 / (4 * 50 / 49))
    assert side.equivalent == 50


def test_groups_of_unrelated_records_lose_nothing() -> None:
    # Every group has one 1 and one 0: sums of deviations are 0, and the design effect is taken as 1 at least.
    side = Side(np.repeat(np.arange(30), 2))
    assert side.effective_size(np.tile([0.0, 1.0], 30)) == 60.0


def test_a_constant_indicator_leaves_the_sizes() -> None:
    # 10 groups of 1 and one of 10: 20^2 / (10 + 100) = 3.636.
    side = Side(np.concatenate((np.arange(10), np.full(10, 10))))
    for flags in (np.zeros(20), np.ones(20)):
        assert side.effective_size(flags) == pytest.approx(400 / 110)
    assert Side(np.zeros(7, np.int64)).effective_size(np.repeat([1.0, 0.0], [3, 4])) == pytest.approx(1.0)


def test_effective_size_is_what_variance_says() -> None:
    # Simulated: the variance of the mean of an indicator over draws of 60 groups of 5 is p (1 - p) / effective size.
    # 2000 draws: relative standard error of a variance sqrt(2/2000) = .032.
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 5)
    draws = rng.normal(size=(2000, 60))[:, groups] + rng.normal(size=(2000, 300)) > 0.7
    side = Side(groups)
    sizes = [side.effective_size(draw.astype(np.float64)) for draw in draws]
    p = draws.mean()
    assert draws.mean(axis=1).var() == pytest.approx(p * (1 - p) / np.median(sizes), rel=4 * 0.032)


def test_sides_are_numbered_by_themselves() -> None:
    members = np.array([True, False, True, False, True])
    inside, outside = sides(members, np.array([9, 9, -4, 7, 9]))
    assert inside.groups.tolist() == [1, 0, 1]
    # Group 9 has records on both sides: one group on each.
    assert outside.groups.tolist() == [1, 0]
    alone = sides(members, None)
    assert alone[0].single
    assert (alone[0].count, alone[1].count) == (3, 2)


def test_what_is_no_group_is_rejected() -> None:
    members = np.arange(4) < 2
    for groups in (np.arange(3), np.arange(4.0), np.ones(4, np.bool_)):
        with pytest.raises(AttackError, match="must be one integer for each of 4 records"):
            sides(members, groups)  # type: ignore[arg-type]


def test_few_groups_are_named() -> None:
    many, few, alone = (
        Side(np.repeat(np.arange(FEWEST), 2)),
        Side(np.repeat(np.arange(FEWEST - 1), 2)),
        Side(np.arange(3)),
    )
    assert too_few_groups((many, many)) is None
    assert too_few_groups((alone, alone)) is None
    assert "19 groups of related members and 20 of nonmembers" in str(too_few_groups((few, many)))
    assert "20 groups of related members and 3 of nonmembers" in str(too_few_groups((many, alone)))
