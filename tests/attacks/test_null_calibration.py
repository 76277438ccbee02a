"""p-values of nonmembers on data where H0 holds by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeaudit.attacks.null_tests import ModeratedNull, ecdf, pchip

N, K = 20_000, 19


def within(rate: float, expected: float, n: int = N) -> bool:
    """Four standard errors of a binomial rate."""
    return abs(rate - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def exchangeable(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Skewed losses with a location and scale per record; target and shadows alike."""
    rng = np.random.default_rng(seed)
    losses = rng.gamma(2.0, size=N) + rng.gamma(1.0, size=N) * rng.exponential(size=(K + 1, N))
    return losses[0], losses[1:], np.ones((K, N), dtype=np.bool_)


@pytest.mark.parametrize("level", [0.05, 0.1, 0.17, 0.5, 0.93])
def test_ecdf_is_exact_for_continuous_losses(level: float) -> None:
    rate = float((ecdf(*exchangeable(0)) <= level).mean())
    assert within(rate, math.floor(level * (K + 1) + 1e-9) / (K + 1))


@pytest.mark.parametrize("level", [0.05, 0.1, 0.5])
def test_ecdf_stays_valid_with_ties(level: float) -> None:
    target, shadows, out = exchangeable(1)
    coarse = np.round(target), np.round(shadows), out
    p = ecdf(*coarse)
    assert len(np.unique(coarse[0])) < 60
    rate = float((p <= level).mean())
    assert 0 < rate < level + 4 * math.sqrt(level * (1 - level) / N)
    # Ties cost power, or this data would not test anything.
    assert rate < 0.9 * level


def test_ecdf_is_valid_with_a_count_per_record() -> None:
    target, shadows, _ = exchangeable(2)
    out = np.random.default_rng(3).random((K, N)) < 0.6
    p = ecdf(target, shadows, out)
    for count in (8, 11, 14):
        group = out.sum(axis=0) == count
        level = 3 / (count + 1)
        assert within(float((p[group] <= level).mean()), level, int(group.sum()))


@pytest.mark.parametrize("level", [0.05, 0.1, 0.31, 0.5])
def test_pchip_is_valid_up_to_one_rank(level: float) -> None:
    # With j losses <= L: (j - 1/2)/K <= F(L), so p <= a needs j <= aK + 1/2: P <= (floor(aK + 1/2) + 1) / (K + 1).
    # L <= u_j with (j - 1/2)/K <= a suffices for p <= a (where a >= 1/(K+1)), so P >= floor(aK + 1/2) / (K + 1).
    rate = float((pchip(*(part[..., :4000] for part in exchangeable(4))) <= level).mean())
    steps = math.floor(level * K + 0.5)
    slack = 4 * math.sqrt(0.25 / 4000)
    assert steps / (K + 1) - slack < rate < (steps + 1) / (K + 1) + slack


@pytest.mark.parametrize("prior_df", [4.0, math.inf])
def test_t_is_uniform_on_gaussian_margins(prior_df: float) -> None:
    # Variances from the model that the prior fits (or all equal). Kolmogorov-Smirnov: sqrt(n) D < 1.95 at .001.
    rng = np.random.default_rng(6)
    scale = np.ones(N) if math.isinf(prior_df) else np.sqrt(prior_df / rng.chisquare(prior_df, size=N))
    margins = rng.normal(size=N) + scale * rng.normal(size=(9, N))
    p = np.sort(ModeratedNull.fit(margins[1:], np.ones((8, N), dtype=np.bool_)).test(margins[0]).p_value)
    grid = np.arange(N) / N
    distance = max(float((p - grid).max()), float((grid + 1 / N - p).max()))
    assert math.sqrt(N) * distance < 1.95
    assert within(float((p <= 0.01).mean()), 0.01)


def test_all_tests_find_members_more_often() -> None:
    rng = np.random.default_rng(7)
    n = 4000
    margins = rng.normal(size=n) + rng.normal(size=(20, n))
    target, shadows, out = margins[0] + 1.5, margins[1:], np.ones((19, n), dtype=np.bool_)
    losses = np.logaddexp(0, -target), np.logaddexp(0, -shadows), out
    # Power at .05 of a shift of 1.5 sd: Phi(1.5 - 1.645 sqrt(1 + 1/19)) = Phi(-.19) = .43 at best; far above .05.
    for p in (ecdf(*losses), pchip(*losses), ModeratedNull.fit(shadows, out).test(target).p_value):
        assert 0.3 < float((p <= 0.05).mean()) < 0.6
