from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.targets import differences_over_targets, mean_over_targets, paired_over_targets


def test_mean_by_hand() -> None:
    # Mean .6; deviations -.1 0 .1: variance .01, SE .1 / sqrt 3; t(2) at .975 is 4.3027.
    row = mean_over_targets([0.5, None, 0.6, 0.7, math.nan])
    se = 0.1 / math.sqrt(3)
    assert (row.value, row.se, row.low, row.high) == pytest.approx(
        (0.6, se, 0.6 - 4.3027 * se, 0.6 + 4.3027 * se), abs=1e-5
    )
    assert (row.targets, row.missing, row.note) == (3, 2, "2 of 5 targets have no value")


def test_mean_covers_over_targets() -> None:
    # 2000 audits of 5 targets: standard error .0049. A normal interval (1.96) would cover .88.
    rng = np.random.default_rng(0)
    rows = [mean_over_targets(list(rng.normal(0.7, 0.03, 5))) for _ in range(2000)]
    covered = [row.low is not None and row.high is not None and row.low <= 0.7 <= row.high for row in rows]
    assert abs(np.mean(covered) - 0.95) < 4 * 0.0049


def test_means_without_interval() -> None:
    none, one, same = mean_over_targets([None]), mean_over_targets([0.6]), mean_over_targets([0.1 + 0.2, 0.3])
    assert (none.value, none.targets, none.missing) == (None, 0, 1)
    assert (one.value, one.se, one.low, one.note) == (0.6, None, None, "one target has no interval over targets")
    assert (same.se, same.low, same.high) == (0.0, None, None)
    assert "no interval" in str(same.note)
    assert mean_over_targets([]).note == "no targets"


def test_paired_against_scipy() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(0.7, 0.05, 8)
    second = first - rng.normal(0.02, 0.02, 8)
    row = paired_over_targets(list(first), list(second))
    theirs = stats.ttest_rel(first, second)
    interval = theirs.confidence_interval()
    assert row.p_value == pytest.approx(theirs.pvalue)
    assert (row.low, row.high) == pytest.approx((interval.low, interval.high))
    assert row.value == pytest.approx((first - second).mean())
    assert row.wilcoxon_p == pytest.approx(stats.wilcoxon(first, second, method="exact").pvalue)
    back = paired_over_targets(list(second), list(first))
    assert (back.value, back.p_value) == pytest.approx((-(first - second).mean(), row.p_value))


def test_wilcoxon_by_hand() -> None:
    # Four differences of one sign: 2 / 2^4. With one tie and a zero: |d| 1 1 2, all positive: 2 / 2^3.
    assert paired_over_targets([1.0, 2.0, 3.0, 4.5], [0.0] * 4).wilcoxon_p == pytest.approx(0.125)
    assert paired_over_targets([0.1, 0.3 - 0.2, 0.2, 0.0], [0.0] * 4).wilcoxon_p == pytest.approx(0.25)
    # .1 + .2 - .3 is 6e-17 in floats and no difference.
    assert paired_over_targets([0.1, 0.2, 0.4, 0.1 + 0.2], [0.0, 0.0, 0.0, 0.3]).wilcoxon_p == pytest.approx(0.25)


def test_pairs_without_both_figures_are_counted() -> None:
    row = paired_over_targets([0.6, None, 0.8, 0.9], [0.5, 0.5, math.nan, 0.7])
    # Pairs .1 and .2: mean .15, SE .05, t = 3 with 1 degree of freedom: p = 2 (1/2 - atan(3)/pi).
    assert (row.targets, row.missing, row.note) == (2, 2, "2 of 4 pairs have no value")
    assert (row.value, row.se) == pytest.approx((0.15, 0.05))
    assert row.p_value == pytest.approx(1 - 2 * math.atan(3) / math.pi)


def test_degenerate_pairs() -> None:
    same = paired_over_targets([0.6, 0.7, 0.8], [0.6, 0.7, 0.8])
    assert (same.value, same.low, same.p_value, same.wilcoxon_p) == (0.0, None, 1.0, 1.0)
    # Always .1 more: t would be infinite; three equal signs have p = 2 / 2^3.
    shifted = paired_over_targets([0.6, 0.7, 0.8], [0.5, 0.6, 0.7])
    assert shifted.value == pytest.approx(0.1)
    assert shifted.low is None
    assert (shifted.p_value, shifted.wilcoxon_p) == (0.25, 0.25)
    one = paired_over_targets([0.6], [0.5])
    assert one.value == pytest.approx(0.1)
    assert (one.se, one.p_value, one.wilcoxon_p) == (None, None, None)
    assert paired_over_targets([None], [0.5]).value is None


def test_paired_tests_hold_their_level_where_targets_differ_much() -> None:
    # Targets differ by sd 1, formats by nothing but noise of sd .1: 1000 runs at .05, standard error .0069. Wilcoxon
    # with 6 targets has the attainable levels .03125 and .0625, so it rejects at .03125 (standard error .0055).
    rng = np.random.default_rng(2)
    common = rng.normal(size=(1000, 6, 1))
    runs = common + 0.1 * rng.normal(size=(1000, 6, 2))
    rows = [paired_over_targets(list(run[:, 0]), list(run[:, 1])) for run in runs]
    assert abs(np.mean([row.p_value is not None and row.p_value <= 0.05 for row in rows]) - 0.05) < 4 * 0.0069
    wilcoxon = [row.wilcoxon_p is not None and row.wilcoxon_p <= 0.05 for row in rows]
    assert abs(np.mean(wilcoxon) - 0.03125) < 4 * 0.0055


def test_a_family_is_holm_adjusted_with_all_its_members() -> None:
    rng = np.random.default_rng(3)
    base = list(rng.normal(0.7, 0.02, 6))
    family = {
        "int8": (base, list(np.array(base) - rng.normal(0.05, 0.01, 6))),
        "pruned": (base, list(np.array(base) - rng.normal(0.01, 0.01, 6))),
        "unresolved": ([None] * 6, base),
    }
    rows = differences_over_targets(family)
    raw = [paired_over_targets(*family[name]).p_value for name in ("int8", "pruned")]
    expected = holm(np.array([*raw, 1.0], dtype=np.float64))
    assert [rows[name].adjusted_p for name in ("int8", "pruned")] == pytest.approx(expected[:2])
    assert rows["int8"].adjusted_p == pytest.approx(3 * min(p for p in raw if p is not None))
    assert rows["unresolved"].adjusted_p is None
    assert differences_over_targets({}) == {}


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(AttackError, match="same targets twice: 2 and 1"):
        paired_over_targets([0.1, 0.2], [0.1])
    with pytest.raises(AttackError, match="infinite"):
        mean_over_targets([0.1, math.inf])
    with pytest.raises(AttackError, match=r"^int8: "):
        differences_over_targets({"int8": ([0.1], [])})
