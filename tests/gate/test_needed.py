"""What a budget needs, against simulated audits and the published formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.cli.plan import budget_text
from edgeaudit.config.budgets import PRESETS
from edgeaudit.gate.needed import budget_needs, factor_that_decides, rounded_up
from edgeaudit.leakage.decision import Bounds
from edgeaudit.leakage.decision_power import decidable_limit, records_to_decide
from tests.gate.cases import spec


def _need(budget: Any, **more: Any) -> Any:
    (need,) = budget_needs(spec({"auc": ["error", budget]}, **more), 1000, 800, 10)
    return need


def test_a_plan_says_what_each_budget_needs() -> None:
    need = _need({"max": 0.55})
    # One attack: (1.960 + .842) standard errors of 1/sqrt(6n) are .05 at n = 523.
    assert (need.alone, need.attacks, need.available) == (530, 3, 800)
    assert (need.records or 0) > 530
    assert need.decides == decidable_limit("auc", 0.5, 1000, 800, 3)
    assert need.decidable
    assert not _need({"max": (need.decides or 0) - 0.001}).decidable
    short = _need({"max": 0.55, "attacks": ["yeom"]})
    assert (short.attacks, short.records) == (1, 530)
    classes = _need({"max": 0.7, "subset": "class:*"})
    assert classes.available == 80
    assert classes.decides == decidable_limit("auc", 0.5, 100, 80, 30)
    assert (classes.records or 0) > (_need({"max": 0.7}).records or 0)
    selected = _need({"max": 0.7, "subset": "abnormal:fraction"})
    assert (selected.available, selected.decides, selected.decidable) == (None, None, True)
    planted = _need({"max": 0.7, "subset": "canaries"}, canaries={"records": 101})
    assert (planted.available, planted.decides) == (50, decidable_limit("auc", 0.5, 50, 51, 3))
    assert "planted canaries and as many held out" in budget_text(planted)
    assert "this audit has 50" in budget_text(planted)
    increase = _need({"max-increase": 0.1, "against": "torch-fp32"})
    assert (increase.records, increase.decidable) == (None, True)


@pytest.mark.parametrize(("targets", "decidable"), [(1, False), (3, False), (4, True)])
def test_a_plan_says_that_a_pipeline_needs_targets(targets: int, decidable: bool) -> None:
    need = _need({"max": 0.6, "scope": "pipeline"}, targets=targets)
    assert need.decidable is decidable
    assert ("raise 'targets'" in need.note) is not decidable


def _deciding(limit: float, bounds: list[Bounds], tests: int, taught: Sequence[Bounds] = ()) -> tuple[float, str]:
    """Return the factor with three digits, and the outcome."""
    found = factor_that_decides(limit, bounds, tests, taught)
    assert found is not None
    return round(found.factor, 3), found.outcome


def test_an_undecided_budget_needs_so_many_times_the_records() -> None:
    """A standard error of .01, half-widths of .0196: a pass .02 from the limit needs (1.960 + .842)^2 / 4 = 1.96."""
    within = Bounds(0.58, 0.58 - 0.0196, 0.58 + 0.0196, None)
    assert _deciding(0.6, [within], 1) == (1.962, "pass")
    # A pass is corrected for nothing, however many figures there are.
    assert factor_that_decides(0.6, [within], 7) == factor_that_decides(0.6, [within], 1)
    # Beyond the limit, with a tail of 2.5% / 5: (2.576 + .842)^2 / 4 = 2.92; one attack suffices for a fail.
    beyond = Bounds(0.62, 0.62 - 0.0196, 0.62 + 0.0196, None)
    assert _deciding(0.6, [within, beyond], 5) == (2.920, "fail")
    # What is taught makes no budget fail, and keeps it from a pass: with it beyond, no number of records passes.
    assert factor_that_decides(0.6, [within], 5, [beyond]) == (math.inf, "pass")
    assert _deciding(0.6, [beyond], 5, [beyond]) == (2.920, "fail")
    # Within, but .01 from the limit: (1.960 + .842)^2 = 7.85.
    near = Bounds(0.59, 0.59 - 0.0196, 0.59 + 0.0196, None)
    assert _deciding(0.6, [within], 5, [near]) == (7.849, "pass")
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
        (name, metric): (f"{metric}` {limit:g}", *(_documented(metric, limit, a) for a in attacks))
        for name, metrics in PRESETS.items()
        for metric, (_, limit) in metrics.items()
    }
    assert {key: tuple(row) for key, row in found.items()} == expected


def _documented(metric: str, limit: float, attacks: int) -> str:
    found = records_to_decide(metric, limit, attacks=attacks)
    assert found is not None
    return f"{rounded_up(found[0]):,}"


def test_a_plan_prints_a_sentence_for_each_budget() -> None:
    enough = budget_text(_need({"max": 0.6}))
    assert enough.startswith("budget auc <= 0.6 (error, this file, 3 attacks): needs ")
    assert "for one attack; all must be within); this audit has 800, enough for a limit of 0.5" in enough
    short = budget_text(_need({"max": 0.51}))
    assert short.endswith(": audit more records, or set a larger limit")
    pipeline = budget_text(_need({"max": 0.6, "scope": "pipeline"}))
    assert pipeline.endswith("nothing can be decided with fewer than 4 targets, and 1 is planned; raise 'targets'")
    assert "are not known beforehand" in budget_text(_need({"max-increase": 0.1, "against": "torch-fp32"}))
    assert "members of each class" in budget_text(_need({"max": 0.7, "subset": "class:*"}))
