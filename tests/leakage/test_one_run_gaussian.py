from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from edgeaudit.errors import AttackError
from edgeaudit.leakage.one_run import one_run_epsilon
from edgeaudit.leakage.one_run_gaussian import gaussian_epsilon, one_run_mu, rejects_mu


def _correct(rng: np.random.Generator, m: int, guesses: int, mu: float) -> int:
    """Guesses on the records whose answer is the most extreme, of a mechanism that is mu-GDP for every flip."""
    included = rng.random(m) < 0.5
    answer = rng.normal(size=m) + mu * (included - 0.5)
    chosen = np.argsort(-np.abs(answer))[:guesses]
    return int((included[chosen] == (answer[chosen] > 0)).sum())


@pytest.mark.parametrize(("m", "guesses"), [(500, 500), (1000, 100), (2000, 20)])
@pytest.mark.parametrize("mu", [0.0, 0.5, 2.0])
def test_the_bound_is_above_the_truth_in_at_most_a_twentieth(m: int, guesses: int, mu: float) -> None:
    # 400 runs: a rate of .05 has a standard error of .011.
    rng = np.random.default_rng(0)
    above = np.mean([rejects_mu(m, guesses, _correct(rng, m, guesses, mu), mu) for _ in range(400)])
    assert above < 0.05 + 3 * 0.011


@pytest.mark.parametrize(("m", "guesses", "mu"), [(1000, 200, 1.0), (10_000, 500, 1.0), (1000, 1000, 0.5)])
def test_it_is_tighter_than_the_bound_of_epsilon_and_delta(m: int, guesses: int, mu: float) -> None:
    rng = np.random.default_rng(1)
    ours, theirs = [], []
    for _ in range(10):
        correct = _correct(rng, m, guesses, mu)
        ours.append(gaussian_epsilon(one_run_mu(m, guesses, correct), 1e-5))
        theirs.append(one_run_epsilon(m, guesses, correct, 1e-5))
    assert np.mean(ours) > 1.25 * np.mean(theirs)
    assert np.mean(ours) < gaussian_epsilon(mu, 1e-5)


def test_more_correct_guesses_and_more_confidence_move_the_bound() -> None:
    bounds = [one_run_mu(1000, 200, correct) for correct in (100, 130, 150, 180, 200)]
    assert bounds[0] == 0.0
    assert (np.diff(bounds) > 0).all()
    assert one_run_mu(1000, 200, 150, level=0.99) < one_run_mu(1000, 200, 150)
    assert one_run_mu(1000, 200, 0) == 0.0


def test_all_guessed_right_by_hand() -> None:
    # One flip, one guess, right: r_1 = .05, h_1 = 0, h_0 = Phi(Phi^-1(.05) - mu), r_0 = .05. Above 1 for no mu.
    assert not rejects_mu(1, 1, 1, 0.0)
    # Ten of ten at mu = 0: h_i = r_(i+1) and r_i = r_(i+1) + i / (10 - i) (h_i - h_(i+1)).
    r, h = 0.05 / 1, 0.0
    for i in range(9, -1, -1):
        last, h = h, max(h, r)
        r += i / (10 - i) * (h - last)
    assert rejects_mu(10, 10, 10, 0.0) == (r + h > 1)


@pytest.mark.parametrize("mu", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("delta", [1e-8, 1e-5, 0.01])
def test_epsilon_of_a_gaussian_mechanism(mu: float, delta: float) -> None:
    epsilon = gaussian_epsilon(mu, delta)
    if epsilon:
        upper = stats.norm.cdf(-epsilon / mu + mu / 2)
        assert upper - math.exp(epsilon) * stats.norm.cdf(-epsilon / mu - mu / 2) == pytest.approx(delta, rel=1e-3)
    assert gaussian_epsilon(mu, delta / 10) > epsilon
    assert gaussian_epsilon(0.0, delta) == 0.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [((10, 11, 5, 1.0), "11 guesses <= 10"), ((10, 5, 6, 1.0), "6 correct <= 5"), ((10, 5, 5, math.nan), "mu nan")],
)
def test_impossible_counts_are_refused(arguments: Any, words: str) -> None:
    with pytest.raises(AttackError, match=words):
        rejects_mu(*arguments)


def test_a_delta_of_0_has_no_epsilon() -> None:
    with pytest.raises(AttackError, match="delta above 0"):
        gaussian_epsilon(1.0, 0.0)
