"""Lower ends that hold together: against numerical integration, and their error rates over related attacks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.decision import Bounds, corrected_level, decide
from edgeaudit.leakage.influence import LinearisedFigure, target_figure
from edgeaudit.leakage.intervals import delong
from edgeaudit.leakage.simultaneous import critical_value, simultaneous_level


def _equal(count: int, rho: float) -> np.ndarray:
    return np.full((count, count), rho) + (1 - rho) * np.eye(count)


@pytest.mark.parametrize(("count", "rho", "more"), [(2, 0.0, 0), (4, 0.7, 0), (10, 0.95, 0), (5, -0.2, 0), (4, 0.7, 3)])
def test_the_critical_value_against_numerical_integration(count: int, rho: float, more: int) -> None:
    found = critical_value(_equal(count, rho).tobytes(), count, more)
    matrix = np.eye(count + more)
    matrix[:count, :count] = _equal(count, rho)
    inside = stats.multivariate_normal.cdf(np.full(count + more, found), cov=matrix, abseps=1e-5, rng=0)
    assert inside == pytest.approx(0.975, abs=4 * 0.0002)


def test_independent_figures_are_sidaks() -> None:
    assert critical_value(b"", 0, 7) == pytest.approx(stats.norm.ppf(0.975 ** (1 / 7)), abs=1e-12)
    assert simultaneous_level([None] * 7, 7) == pytest.approx(2 * 0.975 ** (1 / 7) - 1, abs=1e-12)
    # Those of which nothing is stored count.
    assert simultaneous_level([], 7) == simultaneous_level([None], 7)


def _figure(shares: np.ndarray, units: np.ndarray | None = None) -> LinearisedFigure:
    return LinearisedFigure(0.6, np.arange(len(shares)) if units is None else units, shares)


def test_one_figure_and_the_same_figure_again() -> None:
    shares = np.random.default_rng(0).normal(size=200)
    assert simultaneous_level([None], 1) == 0.95
    # Attacks that answer alike, on another scale, count once.
    assert simultaneous_level([_figure(shares), _figure(3 * shares)], 2) == pytest.approx(0.95, abs=5e-4)
    # A figure that nothing moves is no test, and is counted as an independent one.
    still = simultaneous_level([_figure(shares), _figure(np.zeros(200))], 2)
    assert still == pytest.approx(2 * math.sqrt(0.975) - 1, abs=5e-4)
    with pytest.raises(AttackError, match="at least one attack"):
        simultaneous_level([], 0)


def test_no_more_is_asked_than_of_any_dependence() -> None:
    for count in (2, 5, 25):
        # Negatively related attacks: Bonferroni is nearly exact.
        shares = np.eye(count) - 1 / count
        level = simultaneous_level([_figure(row) for row in shares], count)
        assert 0.95 < level <= corrected_level(count)


def test_records_are_matched_by_unit_and_summed_by_group() -> None:
    rng = np.random.default_rng(1)
    shares = rng.normal(size=100)
    order = rng.permutation(100)
    one = _figure(shares)
    assert simultaneous_level([one, _figure(shares[order], order)], 2) == pytest.approx(0.95, abs=5e-4)
    # Two halves of each share, whose noise cancels within its group.
    noise = rng.normal(size=100)
    halves = np.concatenate([shares / 2 + noise, shares / 2 - noise])
    assert simultaneous_level([one, _figure(halves, np.tile(np.arange(100), 2))], 2) == pytest.approx(0.95, abs=5e-4)
    # Other records: independent.
    apart = simultaneous_level([one, _figure(shares, np.arange(100, 200))], 2)
    assert apart == pytest.approx(2 * math.sqrt(0.975) - 1, abs=5e-4)


def test_related_attacks_fail_more_often_than_by_holm() -> None:
    """Six attacks on the same records, each somewhat beyond the limit; benchmarks/coverage.py has the error rates."""
    rng = np.random.default_rng(3)
    m = 60
    members, units = np.arange(2 * m) < m, np.arange(2 * m)
    limit = float(stats.norm.cdf(1 / math.sqrt(2))) - 0.12
    fails = {"max-t": 0, "holm": 0}
    for _ in range(120):
        common = rng.normal(size=2 * m)
        scores = [math.sqrt(0.9) * common + math.sqrt(0.1) * rng.normal(size=2 * m) + members for _ in range(6)]
        shares = [target_figure(one, members, "auc", units) for one in scores]
        for how, level in (("max-t", simultaneous_level(shares, 6)), ("holm", corrected_level(6))):
            ends = [(delong(one, members), delong(one, members, level).low) for one in scores]
            bounds = {str(i): Bounds(a.auc, a.low, a.high, low) for i, (a, low) in enumerate(ends)}
            fails[how] += decide(limit, bounds).outcome == "fail"
    assert 40 < fails["holm"] < fails["max-t"] - 4 < 110
