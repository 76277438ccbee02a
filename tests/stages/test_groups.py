"""Related records count as one draw in every figure that a stage computes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeaudit.attacks.registry import find_attack
from edgeaudit.attacks.spec import Scores
from edgeaudit.attacks.threshold import Threshold
from edgeaudit.leakage.comparisons import compare_family
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.rows import Place, Series
from edgeaudit.leakage.verdicts import verdict_figures
from edgeaudit.stages.calibration import calibration_leaks
from edgeaudit.stages.evidence import Case
from edgeaudit.stages.families import Measured
from edgeaudit.stages.figures import epsilon_bounds, leakage, null_control
from edgeaudit.stages.p_values import calibrate
from edgeaudit.stages.scores import TargetScores
from tests.stages.test_measure import evidence

COPIES, GROUPS = 5, 60
N = COPIES * GROUPS
PLACE = Place("f", "local", "matched")
SERIES = Series(PLACE, "yeom", "loss", "logits")


@pytest.fixture
def case() -> Case:
    """60 records, each five times, half of them members."""
    groups = np.repeat(np.arange(GROUPS), COPIES)
    answered = evidence(0, N)
    return Case("target", answered, answered, groups % 2 == 0, np.arange(0, N, 3), 10, groups)


@pytest.fixture
def scores(case: Case) -> Scores:
    """The same for every copy; members' are a little higher."""
    noise = np.random.default_rng(1).normal(size=GROUPS)
    assert case.groups is not None
    return Scores((noise + 0.4 * (np.arange(GROUPS) % 2 == 0))[case.groups])


def _alone(case: Case) -> Case:
    return replace(case, groups=None)


def test_figures_are_over_groups_in_every_subset(case: Case, scores: Scores) -> None:
    subsets = {"all": np.ones(N, np.bool_), "some": np.arange(N) < 250, "first": np.arange(N) % COPIES == 0}
    rows = {(row.subset, row.metric): row for row in leakage(case, subsets, Threshold(0.0), scores, SERIES)}
    for subset, mask in subsets.items():
        expected = figures(scores.score[mask], case.members[mask], 0.0, None, case.groups[mask])  # type: ignore[index]
        for figure in expected:
            row = rows[subset, figure.metric]
            assert (row.low, row.high) == (figure.low, figure.high)
    plain = {row.metric: row for row in leakage(_alone(case), {"all": subsets["all"]}, Threshold(0.0), scores, SERIES)}
    for metric in ("auc", "balanced_accuracy"):
        whole, alone = rows["all", metric], plain[metric]
        assert whole.value == alone.value
        # Five copies of a record say as much as one: the interval is sqrt(5) = 2.2 times as wide.
        assert whole.high - whole.low > 1.8 * (alone.high - alone.low)  # type: ignore[operator]
    assert case.groups_of(subsets["first"]) is None  # one record of each group


def test_a_null_target_is_tested_by_group(case: Case, scores: Scores) -> None:
    row, plain = null_control(case, scores, SERIES), null_control(_alone(case), scores, SERIES)
    assert row.value == plain.value
    assert row.p_value is not None
    assert plain.p_value is not None
    assert row.p_value > 3 * plain.p_value


def test_a_leak_of_calibration_records_is_tested_by_group(case: Case, scores: Scores) -> None:
    for row, plain in zip(
        calibration_leaks(case, np.arange(N), scores, SERIES),
        calibration_leaks(_alone(case), np.arange(N), scores, SERIES),
        strict=True,
    ):
        assert (row.value, row.low) != (plain.value, plain.low)


def test_bounds_of_epsilon_take_one_record_of_a_group(case: Case) -> None:
    # Members are above all others: with 30 records a side a bound is far from what 150 a side would allow.
    perfect = Scores(case.members.astype(float))
    for row, plain in zip(
        epsilon_bounds(case, perfect, SERIES, 0, members_drawn=True),
        epsilon_bounds(_alone(case), perfect, SERIES, 0, members_drawn=True),
        strict=True,
    ):
        assert (row.n_members, row.n_nonmembers) == (30, 30)
        assert row.value is not None
        assert plain.value is not None
        assert row.value < plain.value
        assert "one record of each group" in (row.note or "")


def test_verdicts_have_intervals_over_groups(case: Case) -> None:
    accused = case.members & (np.arange(N) // COPIES % 4 == 0)
    by_group = {f.metric: f for f in verdict_figures(accused, case.members, "0.05", case.groups)}
    once = {f.metric: f for f in verdict_figures(accused[::COPIES], case.members[::COPIES], "0.05")}
    plain = {f.metric: f for f in verdict_figures(accused, case.members, "0.05")}
    for metric in ("coverage@0.05", "recall@0.05", "fpr@0.05"):
        found, alone = by_group[metric], once[metric]
        assert found.value == pytest.approx(alone.value) == pytest.approx(plain[metric].value)
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.02)
        assert found.high > plain[metric].high + 0.01  # type: ignore[operator]
    assert by_group["recall@0.05"].n_members == N // 2


def test_p_values_are_checked_on_one_record_of_each_group(case: Case) -> None:
    rng = np.random.default_rng(0)
    p_of_group = rng.random(GROUPS)
    null = replace(case, role="null-target")
    scores = Scores(np.zeros(N), p_value=p_of_group[null.groups], known=500)
    rows, _ = calibrate(
        find_attack("cm-mia").spec, replace(SERIES, attack="cm-mia", variant="calibrated"), [(null, scores)]
    )
    assert {row.n for row in rows} == {GROUPS}


def test_differences_are_tested_by_group(case: Case, scores: Scores) -> None:
    noise = np.random.default_rng(2).normal(size=GROUPS)

    def measured(groups: np.ndarray | None) -> Measured:
        both = {"a/x": scores.score, "b/x": scores.score + noise[case.groups]}
        return Measured(PLACE, (TargetScores(case.members, both, {}, groups=groups),))

    by_group, plain = (
        compare_family({"pair": (m.scored("a/x"), m.scored("b/x"))}, ["auc"], lambda *_: np.random.default_rng(0))
        for m in (measured(case.groups), measured(None))
    )
    row, alone = by_group["pair", "auc"], plain["pair", "auc"]
    assert row.value == alone.value
    assert row.high - row.low > 1.8 * (alone.high - alone.low)  # type: ignore[operator]
