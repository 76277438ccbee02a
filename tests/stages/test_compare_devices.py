"""Formats on devices against one another: what is a test, what is not, and what counts twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from edgeaudit.leakage.paired import auc_difference
from edgeaudit.leakage.rows import Comparison, Place
from edgeaudit.stages.families import Measured, between_devices
from edgeaudit.stages.scores import TargetScores

SERIES = "lira/offline"
MEMBERS = np.arange(400) < 200
RNG = np.random.default_rng(0)
COMMON = RNG.normal(size=400)
STRONG = COMMON + 0.9 * MEMBERS
WEAK = COMMON + 0.3 * MEMBERS + 0.5 * RNG.normal(size=400)


Scores = Mapping[tuple[str, str], np.ndarray[Any, Any]]


def rows(scores: Scores) -> dict[tuple[str, ...], Comparison]:
    """By format, first and second device: differences of AUC."""
    measured = [
        Measured(Place(format_id, device, "matched"), (TargetScores(MEMBERS, {SERIES: values}, {}),))
        for (format_id, device), values in scores.items()
    ]
    found = between_devices(measured, [SERIES], 0)
    return {(row.format, row.first, row.second): row for row in found if row.metric == "auc"}


def test_the_difference_is_the_paired_one_and_has_the_first_devices_sign() -> None:
    found = rows({("a", "local"): STRONG, ("a", "pi"): WEAK})
    row = found["a", "local", "pi"]
    expected = auc_difference(STRONG, WEAK, MEMBERS)
    assert row.value == pytest.approx(expected.value)
    assert (row.low, row.high) == pytest.approx((expected.low, expected.high))
    assert row.value is not None
    assert row.value > 0.05
    assert row.kind == "device"


def test_identical_scores_are_not_tested() -> None:
    row = rows({("a", "local"): STRONG, ("a", "pi"): STRONG.copy()})["a", "local", "pi"]
    assert (row.value, row.low, row.high) == (0, 0, 0)
    assert row.p_value is None
    assert row.first_value is not None
    assert row.second_value is not None
    assert row.first_value == row.second_value > 0.5
    assert row.note == "all scores are identical on both"


def test_identical_devices_do_not_lower_the_significance_of_others() -> None:
    """Three devices alike and one unlike, in two formats of the same scores: one test, and not twelve."""
    scores = {
        (format_id, device): WEAK if device == "haswell" else STRONG
        for format_id in ("a", "b")
        for device in ("local", "pi4", "pi5", "haswell")
    }
    found = rows(scores)
    assert len(found) == 2 * 6
    unlike = [row for (_, _, second), row in found.items() if second == "haswell"]
    assert len(unlike) == 6
    assert len({row.p_value for row in unlike}) == 1
    assert all(row.adjusted_p == row.p_value for row in unlike)


def test_different_tests_are_adjusted_together() -> None:
    other = COMMON + 0.25 * MEMBERS + 0.5 * np.random.default_rng(1).normal(size=400)
    found = rows({("a", "local"): STRONG, ("a", "pi"): WEAK, ("b", "local"): WEAK, ("b", "pi"): other})
    first, second = found["a", "local", "pi"], found["b", "local", "pi"]
    assert set(found) == {("a", "local", "pi"), ("b", "local", "pi")}  # never one format against another
    assert first.p_value is not None
    assert second.p_value is not None
    assert first.adjusted_p == pytest.approx(2 * first.p_value)  # Holm, two tests, the smaller p
    assert second.adjusted_p == pytest.approx(max(2 * first.p_value, second.p_value))
