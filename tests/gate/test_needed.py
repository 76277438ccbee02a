"""What a budget needs, against simulated audits and the published formulas."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeaudit.config.budgets import PRESETS
from edgeaudit.gate.needed import (
    budget_needs,
    factor_that_decides,
    pass_probability,
    records_to_pass,
    rounded_up,
)
from edgeaudit.leakage.decision import Bounds
from edgeaudit.leakage.metrics import figures
from tests.gate.cases import spec


def _passes(metric: str, limit: float, n: int, attacks: int, repetitions: int = 200) -> float:
    """Share of simulated audits that pass: scores that know nothing and correlate by .7 between attacks."""
    rng = np.random.default_rng(0)
    members = np.arange(2 * n) < n
    passed = 0
    for _ in range(repetitions):
        common = rng.normal(size=2 * n)
        scores = (math.sqrt(0.7) * common + math.sqrt(0.3) * rng.normal(size=2 * n) for _ in range(attacks))
        highs = [{f.metric: f.high for f in figures(s, members, 0.0)}[metric] for s in scores]
        passed += all(high is not None and high <= limit for high in highs)
    return passed / repetitions


@pytest.mark.parametrize(
    ("metric", "limit", "n", "attacks"),
    [
        ("auc", 0.55, 500, 1),
        ("auc", 0.55, 500, 5),
        ("balanced_accuracy", 0.55, 400, 1),
        ("tpr@fpr=0.01", 0.03, 1000, 1),
        ("tpr@fpr=0.01", 0.03, 1000, 5),
        ("tpr@fpr=0.01", 0.05, 400, 1),
    ],
)
def test_the_chance_of_a_pass_is_that_of_simulated_audits(metric: str, limit: float, n: int, attacks: int) -> None:
    """Within three standard errors of 200 simulated audits, .1, and what the approximation costs."""
    assert pass_probability(metric, limit, n, n, attacks) == pytest.approx(_passes(metric, limit, n, attacks), abs=0.12)


def test_records_are_those_of_the_formula_for_one_attack() -> None:
    """Standard error 1/sqrt(6n) of an AUC of .5; (1.960 + .842) of them is the margin: n = 7.849 / (6 .05^2) = 523."""
    assert records_to_pass("auc", 0.55) == 530
    # Balanced accuracy at a threshold in the middle: sqrt(1 / 8n), n = 7.849 / (8 .05^2) = 392.
    assert records_to_pass("balanced_accuracy", 0.55) == 400
    assert records_to_pass("advantage", 0.1) == 400


def test_all_attacks_cost_more_records_than_one() -> None:
    """1.6 times for ten attacks that correlate by .7."""
    ratio = records_to_pass("auc", 0.52, attacks=10) / records_to_pass("auc", 0.52)
    assert ratio == pytest.approx(1.6, abs=0.05)


def test_more_records_pass_more_often_and_classes_less() -> None:
    chances = [pass_probability("tpr@fpr=0.01", 0.03, n, n, 4) for n in (200, 500, 1000, 3000)]
    assert chances == sorted(chances)
    assert pass_probability("auc", 0.55, 500, 500, 1, classes=10) == pytest.approx(
        pass_probability("auc", 0.55, 500, 500, 1) ** 10
    )


def _need(budget: Any, **more: Any) -> Any:
    (need,) = budget_needs(spec({"auc": ["error", budget]}, **more), 1000, 800, 10)
    return need


def test_a_plan_says_what_each_budget_needs() -> None:
    need = _need({"max": 0.55})
    assert (need.records, need.alone, need.attacks, need.available) == (records_to_pass("auc", 0.55, 3), 530, 3, 800)
    assert need.chance == pytest.approx(pass_probability("auc", 0.55, 1000, 800, 3))
    short = _need({"max": 0.55, "attacks": ["yeom"]})
    assert (short.attacks, short.records) == (1, 530)
    classes = _need({"max": 0.7, "subset": "class:*"})
    assert classes.available == 80
    assert classes.records == records_to_pass("auc", 0.7, 3, 10)
    increase = _need({"max-increase": 0.1, "against": "torch-fp32"})
    assert (increase.records, increase.decidable) == (None, True)


@pytest.mark.parametrize(("targets", "decidable"), [(1, False), (3, False), (4, True)])
def test_a_plan_says_that_a_pipeline_needs_targets(targets: int, decidable: bool) -> None:
    need = _need({"max": 0.6, "scope": "pipeline"}, targets=targets)
    assert need.decidable is decidable
    assert ("raise 'targets'" in need.note) is not decidable


def test_an_undecided_budget_needs_so_many_times_the_records() -> None:
    """A standard error of .01, half-widths of .0196: a pass .02 from the limit needs (1.960 + .842)^2 / 4 = 1.96."""
    within = Bounds(0.58, 0.58 - 0.0196, 0.58 + 0.0196, None)
    assert factor_that_decides(0.6, [within], 1) == pytest.approx(1.962, rel=2e-3)
    # Beyond the limit, with a tail of 2.5% / 5: (2.576 + .842)^2 / 4 = 2.92; one attack suffices for a fail.
    beyond = Bounds(0.62, 0.62 - 0.0196, 0.62 + 0.0196, None)
    assert factor_that_decides(0.6, [within, beyond], 5) == pytest.approx(2.920, rel=2e-3)
    assert factor_that_decides(0.6, [within, Bounds(None, None, 0.7, None)], 5) is None


def test_numbers_are_rounded_up_to_two_digits() -> None:
    assert [rounded_up(x) for x in (7, 99.2, 1234, 1200)] == [7, 100, 1300, 1200]


def test_the_documented_records_are_those_that_are_computed(root_folder: Path) -> None:
    lines = (root_folder / "docs" / "verdict.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("| ").split("|")] for line in lines]
    head = next(row for row in rows if row[:2] == ["preset", "limit"])
    attacks = [int(cell.split()[0]) for cell in head[2:]]
    found = {(row[0], row[1].split("`")[0]): row[1:] for row in rows if row[0] in PRESETS and len(row) == len(head)}
    expected = {
        (name, metric): (f"{metric}` {limit:g}", *(f"{records_to_pass(metric, limit, a):,}" for a in attacks))
        for name, metrics in PRESETS.items()
        for metric, (_, limit) in metrics.items()
    }
    assert {key: tuple(row) for key, row in found.items()} == expected
