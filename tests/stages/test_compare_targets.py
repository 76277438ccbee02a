"""Means over targets that a budget on the pipeline is judged on: their intervals are over targets and records."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.rows import AcrossTargets, Place, Series, TargetFigure
from edgeaudit.leakage.targets import mean_over_targets
from edgeaudit.stages.compare import CompareSettings, run_compare
from edgeaudit.stages.families import Measured
from edgeaudit.stages.scores import TargetScores

SERIES = Series(Place("litert-int8", "local", "matched"), "yeom", "loss", "probabilities")
N = 600


def _rows(targets: Sequence[np.ndarray], members: np.ndarray) -> dict[str, AcrossTargets]:
    """The means over targets of these scores, by metric."""
    of_targets = [[SERIES.row("all", f) for f in figures(s, members, 0.5)] for s in targets]
    scores = tuple(TargetScores(members, {SERIES.name: s}, {}, np.arange(N) + 1000, np.zeros(N, bool)) for s in targets)
    further = tuple(tuple(row.of_target() for row in rows) for rows in of_targets[1:])
    assert all(isinstance(row, TargetFigure) for rows in further for row in rows)
    measured = Measured(SERIES.place, scores, tuple(of_targets[0]), further)
    settings = CompareSettings("probabilities", tuple(map(str, range(len(targets)))), (SERIES.name,), 0)
    return {row.metric: row for row in run_compare(settings, [measured], [], []).across_targets}


def test_targets_that_share_records_know_no_more_about_records_than_one() -> None:
    """Targets that answer almost alike: over targets alone the interval would be a hundred times too short."""
    rng = np.random.default_rng(0)
    members = np.arange(N) < N // 2
    common = rng.normal(size=N) + members
    rows = _rows([common + 1e-3 * rng.normal(size=N) for _ in range(5)], members)
    one = delong(common, members)
    auc = rows["auc"]
    assert auc.low is not None
    assert auc.high is not None
    assert auc.high - auc.low > one.high - one.low
    assert auc.value == pytest.approx(one.auc, abs=1e-3)
    for metric in ("tpr@fpr=0.01", "balanced_accuracy", "advantage"):
        row = rows[metric]
        assert row.low is not None
        assert row.high is not None
        assert 0 < row.low < (row.value or 0.0) < row.high
    assert rows["ppv@prior=0.5"].targets == 5  # other figures keep the interval over targets


def test_the_standard_error_has_both_parts() -> None:
    """Targets of independent noise on shared records: se^2 is at least that of the records and that of the targets."""
    rng = np.random.default_rng(1)
    members = np.arange(N) < N // 2
    common = rng.normal(size=N)
    scores = [common + rng.normal(size=N) + shift * members for shift in (0.3, 0.8, 1.3, 1.8, 2.3)]
    areas = [delong(s, members).auc for s in scores]
    row = _rows(scores, members)["auc"]
    over = mean_over_targets(areas)
    assert row.value == pytest.approx(over.value)
    assert row.se is not None
    assert over.se is not None
    assert row.se >= over.se
    assert row.se < math.hypot(over.se, max(math.sqrt(delong(s, members).variance) for s in scores))


def test_fewer_than_four_targets_have_no_interval() -> None:
    rng = np.random.default_rng(2)
    members = np.arange(N) < N // 2
    rows = _rows([rng.normal(size=N) + members for _ in range(3)], members)
    assert (rows["auc"].low, rows["auc"].high) == (None, None)
    assert "needs 4 targets" in (rows["auc"].note or "")


def test_a_rate_that_no_target_resolves_has_a_mean_and_no_interval() -> None:
    rng = np.random.default_rng(3)
    members = np.arange(N) >= 150  # 150 nonmembers: a rank of 1 at 1%
    row = _rows([rng.normal(size=N) + members for _ in range(5)], members)["tpr@fpr=0.01"]
    assert row.value is not None
    assert (row.low, row.high) == (None, None)
    assert "no target has enough nonmembers" in (row.note or "")
