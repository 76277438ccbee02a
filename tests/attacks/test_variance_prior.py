from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, special

from edgeaudit.attacks.variance_prior import (
    VariancePrior,
    fit_prior,
    fixed_prior,
    moderate,
    pooled_variance,
    trigamma_inverse,
    variance_floor,
)
from edgeaudit.errors import AttackError


@pytest.mark.parametrize("y", [1e-4, 0.01, 0.3, 1.0, 4.0, 77.0, 1e5, 1e7])
def test_trigamma_inverse_round_trip(y: float) -> None:
    assert trigamma_inverse(float(special.polygamma(1, y))) == pytest.approx(y, rel=1e-6)


def test_trigamma_inverse_by_hand() -> None:
    # trigamma(1) = pi^2 / 6, trigamma(1/2) = pi^2 / 2, trigamma(2) = pi^2 / 6 - 1.
    assert trigamma_inverse(math.pi**2 / 6) == pytest.approx(1)
    assert trigamma_inverse(math.pi**2 / 2) == pytest.approx(0.5)
    assert trigamma_inverse(math.pi**2 / 6 - 1) == pytest.approx(2)
    with pytest.raises(ValueError, match="positive"):
        trigamma_inverse(0.0)


def test_prior_is_recovered_from_scaled_f_variances() -> None:
    # s^2 ~ 3 F(10, 8). Var log F = trigamma(5) + trigamma(4) = .221 + .284; with n = 5000 the estimate of that
    # variance has standard error .505 sqrt(2.5 / 5000) = .011, and d d0 / d excess = 2 / psi''(4) = 25, so d0 has
    # standard error .28. log s0^2 has sqrt(.505 / 5000) = .010 and a part from d0 (slope about .035): .014.
    rng = np.random.default_rng(1)
    df = np.full(5000, 10)
    prior = fit_prior(3 * rng.f(10, 8, size=5000), df)
    assert abs(prior.d0 - 8) < 4 * 0.28
    assert abs(math.log(prior.scale / 3)) < 4 * 0.014


def test_prior_against_a_literal_limma() -> None:
    rng = np.random.default_rng(2)
    df = rng.integers(3, 20, size=300)
    variance = 0.5 * rng.f(df, 5)
    # fitFDist, line by line, with a bracketing root finder in place of Newton.
    e = np.log(variance) - special.digamma(df / 2) + np.log(df / 2)
    excess = ((e - e.mean()) ** 2).sum() / 299 - special.polygamma(1, df / 2).mean()
    d0 = 2 * optimize.brentq(lambda y: special.polygamma(1, y) - excess, 1e-3, 1e3)
    s0 = math.exp(e.mean() + special.digamma(d0 / 2) - math.log(d0 / 2))
    prior = fit_prior(variance, df)
    assert prior.d0 == pytest.approx(d0, rel=1e-9)
    assert prior.scale == pytest.approx(s0, rel=1e-9)


def test_no_excess_scatter_means_infinite_d0_and_pooling() -> None:
    variance, df = np.array([2.0, 2.0, 5.0]), np.array([4, 4, 1])
    # Pooled (4*2 + 4*2 + 1*5) / 9 = 21/9.
    assert pooled_variance(variance, df) == pytest.approx(21 / 9)
    equal = fit_prior(np.full(50, 2.0), np.full(50, 4))
    assert equal == VariancePrior(math.inf, 2.0)
    posterior, total = moderate(np.full(50, 2.0), np.full(50, 4), equal)
    np.testing.assert_array_equal(posterior, 2.0)
    np.testing.assert_array_equal(total, 200.0)


def test_moderate_by_hand() -> None:
    # (2 * 2.5 + 2 * 4) / 4 = 3.25 and (2 * 2.5 + 2 * 1) / 4 = 1.75; a record without df keeps s0^2.
    posterior, total = moderate(np.array([4.0, 1.0, np.nan]), np.array([2, 2, 0]), VariancePrior(2.0, 2.5))
    np.testing.assert_allclose(posterior, [3.25, 1.75, 2.5])
    np.testing.assert_array_equal(total, [4.0, 4.0, 2.0])


def test_fixed_prior_pools() -> None:
    assert fixed_prior(np.array([4.0, 1.0]), np.array([2, 2]), 16.0) == VariancePrior(16.0, 2.5)
    for bad in (-1.0, math.nan):
        with pytest.raises(AttackError, match="d0"):
            fixed_prior(np.array([4.0, 1.0]), np.array([2, 2]), bad)
    with pytest.raises(AttackError, match="d0 = 0"):
        moderate(np.array([4.0, np.nan]), np.array([2, 0]), VariancePrior(0.0, 4.0))


def test_zero_variances() -> None:
    df = np.full(6, 3)
    some = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 3.0])
    # Median of the positive ones is 2.
    assert variance_floor(some, df) == pytest.approx(2e-5)
    prior = fit_prior(some, df)
    assert 0 < prior.d0 < 1
    assert (moderate(some, df, prior)[0] >= 2e-5).all()
    # The fit is free of units: variances 100 times as large give the same d0 and 100 times the scale.
    scaled = fit_prior(100 * some, df)
    assert scaled.d0 == pytest.approx(prior.d0)
    assert scaled.scale == pytest.approx(100 * prior.scale)
    assert fit_prior(np.zeros(6), df) == VariancePrior(math.inf, 1.0)


def test_one_record_and_none() -> None:
    assert fit_prior(np.array([3.0, np.nan]), np.array([5, 0])) == VariancePrior(math.inf, 3.0)
    with pytest.raises(AttackError, match="two OUT shadows"):
        fit_prior(np.array([np.nan]), np.array([0]))
