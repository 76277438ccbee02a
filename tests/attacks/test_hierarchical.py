"""The model of records: what it estimates is compared with what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgeaudit.attacks.hierarchical import COLUMNS, BivariatePrior, ModelSignals, Moments, RecordModel, Sides, Totals

MEAN, COVARIANCE = np.array([2.0, 1.0]), np.array([[1.0, 0.6], [0.6, 0.8]])
NOISE = np.array([0.5, 1.5])


def drawn(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True means float64 [2, n], margins float64 [k, n] and out mask bool [k, n]; half the models are IN."""
    rng = np.random.default_rng(seed)
    means = rng.multivariate_normal(MEAN, COVARIANCE, size=n).T
    out = rng.permuted(np.repeat(np.arange(k)[:, None] < k // 2, n, axis=1), axis=0)
    noise = rng.normal(size=(k, n)) * np.sqrt(NOISE)[out.astype(int)]
    return means, means[out.astype(int), np.arange(n)] + noise, out


def moments(phi: np.ndarray, out: np.ndarray) -> tuple[Moments, Moments]:
    return Totals.of(phi, ~out).moments(), Totals.of(phi, out).moments()


def test_moments_are_those_of_numpy() -> None:
    _, phi, out = drawn(50, 7)
    inside, outside = moments(phi, out)
    for side, kept in ((inside, ~out), (outside, out)):
        for record in range(50):
            values = phi[kept[:, record], record]
            assert side.count[record] == len(values)
            assert side.mean[record] == pytest.approx(values.mean())
            assert side.squares[record] == pytest.approx(((values - values.mean()) ** 2).sum())


def test_equal_answers_have_no_variance_and_an_empty_side_no_mean() -> None:
    out = np.array([[True, True], [True, True], [False, True]])
    phi = np.array([[0.1, 0.3], [0.1, 0.3], [0.7, 0.3]])
    inside, outside = moments(phi, out)
    np.testing.assert_array_equal(outside.squares, [0.0, 0.0])
    np.testing.assert_array_equal((inside.count[1], inside.mean[1], inside.squares[1]), (0, 0.0, 0.0))
    assert np.isnan(inside.variance).all()


def test_taking_a_model_away_is_never_having_had_it() -> None:
    _, phi, out = drawn(40, 6)
    log_p = -np.exp(-phi)
    whole = Sides.of(phi, log_p, out)
    left = whole.without(phi[2], log_p[2], ~out[2], out[2])
    others = np.delete(np.arange(6), 2)
    fresh = Sides.of(phi[others], log_p[others], out[others])
    for name in Sides.__dataclass_fields__:
        ours, theirs = getattr(left, name).moments(), getattr(fresh, name).moments()
        np.testing.assert_array_equal(ours.count, theirs.count)
        np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-12)
        np.testing.assert_allclose(ours.squares, theirs.squares, atol=1e-10)


def test_the_prior_is_found_again() -> None:
    # 20,000 records of 4 models: standard errors of means .01, of the covariance about .02.
    _, phi, out = drawn(20_000, 4)
    prior = BivariatePrior.fit(*moments(phi, out))
    np.testing.assert_allclose(prior.mean, MEAN, atol=0.04)
    np.testing.assert_allclose(prior.covariance, COVARIANCE, atol=0.06)
    np.testing.assert_allclose(prior.noise, NOISE, rtol=0.05)


def test_the_posterior_is_that_of_normal_theory() -> None:
    prior = BivariatePrior(MEAN, COVARIANCE, NOISE)
    counts, observed = np.array([[2, 0], [3, 1]]), np.array([[1.0, np.pi], [0.5, 2.0]])
    found = prior.posterior(counts, observed)
    precision = np.linalg.inv(COVARIANCE) + np.diag(counts[:, 0] / NOISE)
    covariance = np.linalg.inv(precision)
    mean = covariance @ (np.linalg.inv(COVARIANCE) @ MEAN + counts[:, 0] / NOISE * observed[:, 0])
    np.testing.assert_allclose(found.mean[:, 0], mean)
    np.testing.assert_allclose(found.covariance[..., 0], covariance)
    # Without IN models the IN mean is the regression on what the one OUT model says.
    gain = COVARIANCE[:, 1] / (COVARIANCE[1, 1] + NOISE[1])
    np.testing.assert_allclose(found.mean[:, 1], MEAN + gain * (2.0 - MEAN[1]))


def test_shrunken_means_are_closer_to_the_truth() -> None:
    means, phi, out = drawn(5000, 4)
    inside, outside = moments(phi, out)
    model = RecordModel.fit(Sides.of(phi, -np.exp(-phi), out))
    shrunken = model.margin.of(inside, outside).mean
    plain = np.stack((inside.mean, outside.mean))
    assert (np.mean((shrunken - means) ** 2, axis=1) < 0.8 * np.mean((plain - means) ** 2, axis=1)).all()


def test_the_ratio_is_that_of_the_predictive_distributions() -> None:
    # With many models the posterior is the truth, and the ratio that of the two normal laws.
    means, phi, out = drawn(400, 400)
    model = RecordModel.fit(Sides.of(phi, -np.exp(-phi), out))
    rng = np.random.default_rng(1)
    asked = means[1] + rng.normal(size=400)
    tested = ModelSignals(asked, -np.exp(-asked), np.zeros(400))
    rows = dict(zip(COLUMNS, model.columns(tested, Sides.of(phi, -np.exp(-phi), out)).T, strict=True))
    laws = [stats.norm(mean, np.sqrt(noise)).logpdf(asked) for mean, noise in zip(means, NOISE, strict=True)]
    assert np.corrcoef(rows["llr"], laws[0] - laws[1])[0, 1] > 0.99
    np.testing.assert_allclose(rows["z out"], (asked - means[1]) / np.sqrt(NOISE[1]), atol=0.5)


@pytest.mark.parametrize("k", [4, 5])
def test_constant_answers_are_finite(k: int) -> None:
    out = np.arange(k)[:, None] < np.array([[2, 3, 2, 2]])
    phi = np.full((k, 4), 3.0)
    sides = Sides.of(phi, np.full((k, 4), -0.05), out)
    rows = RecordModel.fit(sides).columns(ModelSignals(np.full(4, 3.0), np.full(4, -0.05), np.zeros(4)), sides)
    assert np.isfinite(rows).all()
