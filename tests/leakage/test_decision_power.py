"""Planned records: the power that they reach in simulated audits, through the figures and the decision themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.decision import Bounds, Outcome, corrected_level, decide
from edgeaudit.leakage.decision_power import decidable_limit, guessing, records_to_decide
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.operating_points import tpr_at_fpr
from edgeaudit.leakage.roc import BoolArray, FloatArray


def bounds(scores: FloatArray, members: BoolArray, metric: str, threshold: float, attacks: int) -> Bounds:
    if metric.startswith("tpr"):
        # The figures' own function, without the seven figures beside it.
        alpha = float(metric.removeprefix("tpr@fpr="))
        whole = tpr_at_fpr(scores, members, alpha)
        corrected = tpr_at_fpr(scores, members, alpha, level=corrected_level(attacks)).low
        return Bounds(whole.tpr, whole.low, whole.high, corrected)
    row, corrected_row = (
        next(row for row in figures(scores, members, threshold, level=level) if row.metric == metric)
        for level in (0.95, corrected_level(attacks))
    )
    return Bounds(row.value, row.low, row.high, corrected_row.low)


def outcomes(metric: str, limit: float, d: list[float], sizes: tuple[int, int], runs: int) -> list[Outcome]:
    """Audits with one independent normal attack for each d."""
    m, n = sizes
    members = np.arange(m + n) < m
    rng = np.random.default_rng(0)
    found = []
    for _ in range(runs):
        rows = {
            str(i): bounds(rng.normal(size=m + n) + shift * members, members, metric, shift / 2, len(d))
            for i, shift in enumerate(d)
        }
        found.append(decide(limit, rows).outcome)
    return found


def shift(metric: str, value: float) -> float:
    """The normal shift at which a figure has this value (balanced accuracy: at the middle)."""
    if metric == "auc":
        return float(math.sqrt(2) * stats.norm.ppf(value))
    if metric == "balanced_accuracy":
        return float(2 * stats.norm.ppf(value))
    alpha = float(metric.removeprefix("tpr@fpr="))
    return float(stats.norm.isf(alpha) - stats.norm.isf(value))


@pytest.mark.parametrize(
    ("metric", "limit", "truth", "attacks"),
    [
        ("auc", 0.6, 0.5, 1), ("auc", 0.6, 0.5, 5), ("auc", 0.55, 0.62, 1), ("auc", 0.9, 0.85, 1),
        ("balanced_accuracy", 0.58, 0.5, 1), ("balanced_accuracy", 0.55, 0.62, 1),
        ("tpr@fpr=0.05", 0.1, 0.05, 1), ("tpr@fpr=0.05", 0.1, 0.2, 1), ("tpr@fpr=0.01", 0.04, 0.01, 1),
        ("tpr@fpr=0.01", 0.05, 0.12, 1), ("tpr@fpr=0.01", 0.04, 0.01, 4),
    ],
)  # fmt: skip
def test_planned_records_reach_the_power(metric: str, limit: float, truth: float, attacks: int) -> None:
    # 200 audits: standard error of .8 is .028; of a TPR's plan, itself of 250 audits, .025 more.
    sizes = records_to_decide(metric, limit, truth, attacks)
    assert sizes is not None
    found = outcomes(metric, limit, [shift(metric, truth)] * attacks, sizes, 200)
    power = found.count("pass" if truth < limit else "fail") / 200
    error = math.hypot(0.028, 0.025) if metric.startswith("tpr") else 0.028
    assert 0.8 - 3 * error < power < 0.8 + 3 * error


def test_ten_attacks_fail_one_that_leaks() -> None:
    sizes = records_to_decide("auc", 0.55, 0.62, attacks=10)
    assert sizes is not None
    found = outcomes("auc", 0.55, [shift("auc", 0.62)] + [0.0] * 9, sizes, 60)
    assert abs(found.count("fail") / 60 - 0.8) < 3 * 0.052


def test_known_margins() -> None:
    # The smallest margins that a model without leakage passes in 80% of audits: (z_.975 + z_.8) standard errors.
    for n in (500, 10_000):
        assert decidable_limit("auc", 0.5, n, n) == pytest.approx(0.5 + 2.802 * math.sqrt(1 / 6 / n), abs=0.001)
        even = decidable_limit("balanced_accuracy", 0.5, n, n)
        assert even == pytest.approx(0.5 + 2.802 * math.sqrt(0.5 / n) / 2, abs=0.0015)
        assert decidable_limit("advantage", 0.0, n, n) == pytest.approx(2 * even - 1)
    assert decidable_limit("auc", 0.5, 1000, 1000, attacks=10) == pytest.approx(
        0.5 + (1.95996 + stats.norm.ppf(0.8**0.1)) * math.sqrt(1 / 6000), abs=0.001
    )
    assert (
        decidable_limit("auc", 0.7, 1000, 1000, 10, "fail") < decidable_limit("auc", 0.7, 1000, 1000, 1, "fail") < 0.7
    )


def test_the_fewest_records() -> None:
    for metric, limit, truth in (("auc", 0.57, 0.5), ("tpr@fpr=0.01", 0.1, 0.2), ("advantage", 0.2, 0.1)):
        sizes = records_to_decide(metric, limit, truth, nonmembers_per_member=2)
        assert sizes is not None
        m, n = sizes
        assert n == 2 * m
        outcome = "pass" if truth < limit else "fail"
        edges = [decidable_limit(metric, truth, k, 2 * k, 1, outcome) for k in (m, m * 7 // 8)]  # type: ignore[arg-type]
        if outcome == "pass":
            assert edges[0] <= limit < edges[1]
        else:
            assert edges[1] <= limit < edges[0]


def test_more_attacks_need_more() -> None:
    needed = [records_to_decide("auc", 0.55, attacks=attacks) for attacks in (1, 5, 10, 25)]
    members = [sizes[0] for sizes in needed if sizes]
    # (1.96 + z(.8^(1/A)))^2 against (1.96 + .842)^2: 1.67, 2.01 and 2.48.
    assert [m / members[0] for m in members[1:]] == pytest.approx([1.69, 2.01, 2.43], rel=0.03)


def test_what_no_records_decide() -> None:
    assert records_to_decide("auc", 0.6, 0.6) is None
    assert records_to_decide("auc", 0.5001, 0.5) is None
    assert guessing("tpr@fpr=0.001") == 0.001


def test_invalid_plans_are_rejected() -> None:
    for call in (
        lambda: guessing("ppv@prior=0.5"),
        lambda: records_to_decide("ppv@prior=0.5", 0.6),
        lambda: records_to_decide("auc", 0.6, 1.0),
        lambda: records_to_decide("auc", 0.6, nonmembers_per_member=0.0),
        lambda: decidable_limit("auc", 0.5, 1, 100),
        lambda: decidable_limit("auc", 0.5, 100, 100, attacks=0),
        lambda: decidable_limit("auc", 0.5, 100, 100, power=1.0),
    ):
        with pytest.raises(AttackError):
            call()
