"""A threshold that is found again accuses the records that the stored figure accused."""

from __future__ import annotations

import numpy as np
import pytest

from edgeaudit.leakage.metrics import figures
from edgeaudit.leakage.thresholds import threshold_of


@pytest.mark.parametrize("threshold", [-9.0, -0.3, 0.0, 0.7, 2.0, 9.0])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("metric", ["balanced_accuracy", "advantage"])
def test_the_same_records_are_accused(threshold: float, ties: bool, metric: str) -> None:
    rng = np.random.default_rng(0)
    members = np.arange(700) < 400
    scores = np.asarray(rng.normal(size=700) + 0.8 * members, dtype=np.float64)
    scores = np.round(scores, 1).astype(np.float64) if ties else scores
    stored = next(f for f in figures(scores, members, threshold) if f.metric == metric)
    found = threshold_of(metric, stored.value, stored.realised_fpr, scores, members)
    assert found is not None
    np.testing.assert_array_equal(scores >= found, scores >= threshold)


def test_other_figures_have_none() -> None:
    scores, members = np.array([2.0, 1.0]), np.array([True, False])
    assert threshold_of("auc", 1.0, None, scores, members) is None
    assert threshold_of("advantage", None, 0.0, scores, members) is None
