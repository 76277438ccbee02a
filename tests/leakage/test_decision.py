"""Decisions of budgets: by hand, against Holm's method, and their error rates over correlated attacks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.decision import Bounds, corrected_level, decide
from edgeaudit.leakage.multiplicity import holm


def at(low: float, high: float, corrected: float | None = None) -> Bounds:
    return Bounds((low + high) / 2, low, high, low if corrected is None else corrected)


def test_every_attack_must_be_within() -> None:
    near, far = at(0.5, 0.58), at(0.45, 0.52)
    assert decide(0.6, {"far": far, "near": near}) == ("pass", "near")
    # The limit itself is allowed.
    assert decide(0.58, {"far": far, "near": near}) == ("pass", "near")
    assert decide(0.57, {"far": far, "near": near}) == ("inconclusive", "near")


def test_one_attack_beyond_fails() -> None:
    assert decide(0.6, {"a": at(0.5, 0.55), "b": at(0.61, 0.7), "c": at(0.63, 0.66)}) == ("fail", "c")
    # At the limit it is not beyond; beyond before the correction alone is not enough.
    assert decide(0.6, {"a": at(0.6, 0.7)}) == ("inconclusive", "a")
    assert decide(0.6, {"a": at(0.61, 0.7, corrected=0.59)}) == ("inconclusive", "a")


def test_what_has_no_interval_blocks_a_pass_and_no_fail() -> None:
    none = Bounds(None, None, None, None, "needs 99 nonmembers")
    assert decide(0.6, {"a": at(0.5, 0.55), "none": none}) == ("inconclusive", "none")
    assert decide(0.6, {"a": at(0.5, 0.65), "none": none}) == ("inconclusive", "a")
    assert decide(0.6, {"none": none, "a": at(0.65, 0.7)}) == ("fail", "a")
    assert decide(0.6, {"none": none}) == ("inconclusive", "none")
    # An upper end alone is enough: few nonmembers may pass a loose budget.
    assert decide(0.1, {"few": Bounds(None, 0.0, 0.06, 0.0)}) == ("pass", "few")
    assert decide(0.1, {}) == ("inconclusive", None)


@settings(derandomize=True)
@given(st.lists(st.floats(-4, 4), min_size=1, max_size=30), st.floats(-1, 1))
def test_a_fail_is_a_smallest_holm_adjusted_p(estimates: list[float], limit: float) -> None:
    # Normal estimates of standard error 1: one-sided p of "at most limit".
    level = corrected_level(len(estimates))
    z, z_corrected = stats.norm.isf(0.025), stats.norm.isf((1 - level) / 2)
    bounds = {str(i): Bounds(x, x - z, x + z, x - z_corrected) for i, x in enumerate(estimates)}
    smallest = holm(stats.norm.sf(np.array(estimates) - limit)).min()
    outcome, attack = decide(limit, bounds)
    if abs(smallest - 0.025) > 1e-9:
        assert (outcome == "fail") == (smallest <= 0.025)
    assert (outcome == "pass") == all(x + z <= limit for x in estimates)
    # Two estimates may be equal once the half width is added.
    assert attack is not None
    assert estimates[int(attack)] == pytest.approx(max(estimates), abs=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_error_rates(rho: float) -> None:
    # 10 attacks, 20,000 audits: standard error of .025 is .0011.
    rng = np.random.default_rng(0)
    draws = math.sqrt(rho) * rng.normal(size=(20_000, 1)) + math.sqrt(1 - rho) * rng.normal(size=(20_000, 10))
    z, z_corrected = stats.norm.isf(0.025), stats.norm.isf(0.0025)

    def rates(truth: np.ndarray, audits: int) -> dict[str, float]:
        found = [
            decide(0.0, {str(i): Bounds(x, x - z, x + z, x - z_corrected) for i, x in enumerate(row)}).outcome
            for row in (draws[:audits] + truth).tolist()
        ]
        return {name: found.count(name) / audits for name in ("pass", "fail", "inconclusive")}

    # One attack just above the limit, the others far within: it alone decides, and is missed in .025.
    one = np.array([0.0] + [-9.0] * 9)
    assert rates(one, 4000)["pass"] == pytest.approx(0.025, abs=4 * 0.0025)
    # All just within: a fail in at most .025, however they are related.
    all_at = rates(np.zeros(10), 20_000)
    assert all_at["fail"] < 0.025 + 4 * 0.0011
    assert all_at["pass"] < 0.01
    # Far away the records decide.
    assert rates(np.full(10, -9.0), 500)["pass"] == 1.0
    assert rates(np.array([9.0] + [-9.0] * 9), 500)["fail"] == 1.0


def test_levels() -> None:
    assert corrected_level(1) == pytest.approx(0.95)
    assert corrected_level(25) == pytest.approx(0.998)
    with pytest.raises(AttackError, match="at least one attack"):
        corrected_level(0)


def test_what_is_no_interval_is_rejected() -> None:
    with pytest.raises(AttackError, match="limit"):
        decide(math.nan, {"a": at(0.1, 0.2)})
    with pytest.raises(AttackError, match="lira: an end"):
        decide(0.5, {"lira": at(math.nan, 0.2)})
    with pytest.raises(AttackError, match=r"lira: .* not in order: 0\.3, 0\.1, 0\.2"):
        decide(0.5, {"lira": at(0.1, 0.2, corrected=0.3)})
