from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.influence import LinearisedFigure, target_figure
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.multiplicity import holm
from edgeaudit.leakage.roc import BoolArray, FloatArray
from edgeaudit.leakage.targets import (
    TargetMean,
    differences_over_targets,
    mean_over_targets,
    paired_over_targets,
    pipeline_mean,
)


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


def logit_ends(mean: float, se: float, targets: int) -> tuple[float, float]:
    half = stats.t.isf(0.025, targets - 1) * se / (mean * (1 - mean))
    odds = math.log(mean / (1 - mean))
    return 1 / (1 + math.exp(half - odds)), 1 / (1 + math.exp(-half - odds))


def test_pipeline_by_hand() -> None:
    # Four targets of .5 .6 .6 .7: V_T = (.02 / 3) / 4. Record 1 has shares .1 in all, record 2 .1 -.1 .1 -.1:
    # V_R = .4^2 / 16 + 0 = .01; V_I = 8 * .01 / 16 = .005. V_T + V_R - V_I = .00667 is less than V_R.
    shares = [[0.1, 0.1], [0.1, -0.1], [0.1, 0.1], [0.1, -0.1]]
    rows = [
        LinearisedFigure(value, np.array([7, 3]), np.array(share))
        for value, share in zip((0.5, 0.6, 0.6, 0.7), shares, strict=True)
    ]
    mean = pipeline_mean(rows)
    assert (mean.value, mean.se) == pytest.approx((0.6, 0.1))
    assert (mean.targets, mean.missing, mean.note) == (4, 0, None)
    assert (mean.low, mean.high) == pytest.approx(logit_ends(0.6, 0.1, 4))
    # Targets that differ more: V_T by numpy, plus V_R - V_I = .005.
    apart = [
        LinearisedFigure(value, row.units, row.shares) for value, row in zip((0.1, 0.5, 0.7, 0.9), rows, strict=True)
    ]
    assert pipeline_mean(apart).se == pytest.approx(math.sqrt(np.var([0.1, 0.5, 0.7, 0.9], ddof=1) / 4 + 0.005))
    # The order of a target's records does not matter, nor which ids they have.
    turned = [LinearisedFigure(row.value, row.units[::-1], row.shares[::-1]) for row in rows[:2]] + rows[2:]
    assert pipeline_mean(turned) == mean
    # In one group both records are one: sums .2 0 .2 0.
    grouped = pipeline_mean([LinearisedFigure(row.value, np.array([1, 1]), row.shares) for row in rows])
    assert grouped.se == pytest.approx(math.sqrt(max(0.02 / 12 + (0.16 - 0.08) / 16, 0.16 / 16)))


def test_pipeline_of_an_advantage_has_its_limits() -> None:
    rng = np.random.default_rng(3)
    rows = [LinearisedFigure(0.5 + 0.01 * t, np.arange(50), 0.002 * rng.normal(size=50)) for t in range(5)]
    plain = pipeline_mean(rows)
    doubled = [LinearisedFigure(2 * row.value - 1, row.units, 2 * row.shares) for row in rows]
    advantage = pipeline_mean(doubled, limits=(-1.0, 1.0))
    assert advantage.low is not None
    assert advantage.high is not None
    assert ((1 + advantage.low) / 2, (1 + advantage.high) / 2) == pytest.approx((plain.low, plain.high))
    with pytest.raises(AttackError, match="not between 0 and 1"):
        pipeline_mean([LinearisedFigure(-0.1, np.arange(2), np.zeros(2))])


def test_pipelines_without_an_interval() -> None:
    row = LinearisedFigure(0.6, np.arange(3), np.array([0.1, -0.1, 0.0]))
    three = pipeline_mean([row, row, row, None])
    assert (three.value, three.low, three.high, three.targets, three.missing) == (0.6, None, None, 3, 1)
    assert three.note == (
        "not resolvable: an interval of this pipeline needs 4 targets, and there are 3; 1 of 4 targets have no value"
    )
    assert pipeline_mean([]).note == "no targets"
    assert pipeline_mean([None]).note == "1 of 1 targets have no value"
    none = pipeline_mean([LinearisedFigure(0.0, np.arange(3), np.zeros(3))] * 4)
    assert (none.value, none.low, none.high) == (0.0, None, None)
    assert none.note == (
        "not resolvable: the targets' values are at the figure's limit or equal, and no record decides them"
    )
    with pytest.raises(AttackError, match=r"\(3,\) records and \(2,\) shares"):
        pipeline_mean([LinearisedFigure(0.6, np.arange(3), np.zeros(2))] * 4)


def test_targets_alone_are_enough_where_records_are_not_shared() -> None:
    # Other records in each target: V_R = V_I, and the variance is that over targets (never below the records').
    rng = np.random.default_rng(4)
    rows = [
        LinearisedFigure(float(v), 100 * t + np.arange(100), 1e-4 * rng.normal(size=100))
        for t, v in enumerate(rng.normal(0.6, 0.02, 6))
    ]
    assert pipeline_mean(rows).se == pytest.approx(mean_over_targets([row.value for row in rows]).se)


def simulated(rng: np.random.Generator, targets: int, spread: float) -> tuple[list[FloatArray], BoolArray]:
    """Scores of several targets on the same 600 records, half of them members; d differs between targets."""
    members = np.arange(600) < 300
    common = rng.normal(size=600)
    d = 0.8 + spread * rng.normal(size=targets)
    return [0.7 * common + math.sqrt(0.51) * rng.normal(size=600) + shift * members for shift in d], members


@pytest.mark.parametrize("spread", [0.0, 0.15])
def test_the_pipeline_s_auc_is_covered_where_targets_alone_are_not_enough(spread: float) -> None:
    # 250 audits of 6 targets: standard error .0138; of a miss .0099.
    truth = stats.norm.cdf(0.8 / math.sqrt(2 + spread**2))
    rng = np.random.default_rng(5)
    both, alone = [], []
    for _ in range(250):
        scores, members = simulated(rng, 6, spread)
        rows = [target_figure(s, members, "auc", np.arange(600)) for s in scores]
        both.append(_misses(pipeline_mean(rows), truth))
        alone.append(_misses(mean_over_targets([None if row is None else row.value for row in rows]), truth))
    too_high, too_low = np.mean(both, axis=0)
    assert max(too_high, too_low) < 0.03 + 3 * 0.0099
    assert too_high + too_low < 0.05 + 2 * 0.0138
    if not spread:
        # Records are shared, so targets vary less around the truth's estimate than that does.
        assert np.mean(alone, axis=0).sum() > 0.3


def test_the_pipeline_s_tpr_and_balanced_accuracy_are_covered() -> None:
    # 200 audits of 16 targets at 1% and 370 nonmembers, where the rank is rounded from 3.7 to 3: standard error of a
    # miss at 3% .012. Upper ends centred on the figures miss in 11%.
    rng = np.random.default_rng(6)
    truths = {"tpr@fpr=0.01": stats.norm.sf(stats.norm.isf(0.01) - 1), "balanced_accuracy": stats.norm.cdf(0.5)}
    found = {metric: [0, 0] for metric in truths}
    members, ids, naive = np.arange(740) < 370, np.arange(740), 0
    for _ in range(200):
        common = rng.normal(size=740)
        scores = [0.7 * common + math.sqrt(0.51) * rng.normal(size=740) + members for _ in range(16)]
        for metric, truth in truths.items():
            rows = [target_figure(s, members, metric, ids, threshold=0.5) for s in scores]
            high, low = _misses(pipeline_mean(rows), truth)
            found[metric][0] += high
            found[metric][1] += low
            if metric.startswith("tpr"):
                plain = [row and LinearisedFigure(row.value, row.units, row.shares) for row in rows]
                naive += _misses(pipeline_mean(plain), truth)[1]
    for misses in found.values():
        assert max(misses) / 200 < 0.03 + 3 * 0.012
    assert naive / 200 > 0.06


def _misses(mean: TargetMean, truth: float) -> tuple[bool, bool]:
    assert mean.low is not None
    assert mean.high is not None
    return mean.low > truth, mean.high < truth


def test_one_file_s_interval_is_narrower_than_the_pipeline_s_where_targets_differ() -> None:
    scores, members = simulated(np.random.default_rng(7), 8, 0.5)
    rows = [target_figure(s, members, "auc", np.arange(600)) for s in scores]
    one, mean = delong(scores[0], members), pipeline_mean(rows)
    assert mean.low is not None
    assert mean.high is not None
    assert mean.high - mean.low > one.high - one.low
